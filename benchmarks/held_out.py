"""Are planted wrong labels found as well among the points held out as among those trained on?

    python benchmarks/held_out.py --out held-out [--sets features,rows] [--draws 10]

Each draw plants wrong labels in all records and audits them, from another seed: other labels are wrong, and
other records are held out. Of either part the recall is the share of its planted labels among the first 5 %
of the ranking of all records; their difference is paired by the draw, its interval Student's. Prints a table
and writes ``held-out.json``. Interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn.datasets import load_digits

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset
from swaypoint.data.readers import read_dataset
from swaypoint.models.predictor import ModelOptions

FIRST, FLIP, LEVEL = 0.05, 0.02, 0.95
ORDERS = {"auto": "the recommended score", "cook": "Cook's distance"}


def features() -> Dataset:
    """Digits: their pixels as features of a convex head."""
    x, _ = load_digits(return_X_y=True)
    images = read_dataset("sklearn:digits")
    return replace(
        images,
        kind="features",
        inputs=(x / 16.0).astype(np.float32),
        columns=tuple(f"pixel {i}" for i in range(64)),
        pictures=images.inputs,
    )


def rows() -> Dataset:
    """Breast cancer, a table: a perceptron, and trees beside it."""
    return read_dataset("sklearn:breast_cancer")


def numbers() -> Dataset:
    """Digits, their pixels as a table's columns, likewise."""
    return replace(features(), kind="rows", pictures=None)


def images() -> Dataset:
    """Digits: a ResNet-20."""
    return read_dataset("sklearn:digits")


SETS: dict[str, tuple[Callable[[], Dataset], int | None]] = {
    "features": (features, None),
    "rows": (rows, None),
    "numbers": (numbers, None),
    "images": (images, None),
}
"""By name, with the epochs of the training, None: the recipe's."""


def recalls(folder: Path, dataset: Dataset, epochs: int | None, seed: int) -> dict[str, dict[str, float]]:
    """Of one draw, by order and split."""
    options = AuditOptions(
        model=ModelOptions(epochs=epochs), flip=FLIP, seed=seed, scores=("auto",), keep_features=False, top=1
    )
    scores = swaypoint.audit(dataset, folder, options=options).scores().to_pandas()
    wrong = (scores["label"] != dataset.labels[scores["index"]]).to_numpy()
    found = {}
    for order in ORDERS:
        rank = np.argsort(np.argsort(-scores[order].to_numpy(), kind="stable"), kind="stable")
        first = rank < np.ceil(FIRST * len(scores))
        parts = {split: (scores["split"] == split).to_numpy() for split in ("train", "held_out")}
        found[order] = {split: float(first[wrong & part].mean()) for split, part in parts.items()}
    return found


def summary(draws: list[dict[str, dict[str, float]]], order: str) -> dict[str, float]:
    train, held = (np.array([draw[order][split] for draw in draws]) for split in ("train", "held_out"))
    apart = held - train
    half = stats.t.ppf((1 + LEVEL) / 2, len(apart) - 1) * stats.sem(apart)
    mean = float(apart.mean())
    return {
        "train": float(train.mean()),
        "held_out": float(held.mean()),
        "difference": mean,
        "low": mean - float(half),
        "high": mean + float(half),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", default="features,rows,numbers,images")
    parser.add_argument("--draws", type=int, default=10)
    given = parser.parse_args()
    results = {}
    for name in given.sets.split(","):
        make, epochs = SETS[name]
        dataset = make()
        draws = [recalls(given.out / f"{name}-{seed}", dataset, epochs, seed) for seed in range(given.draws)]
        results[name] = {"about": make.__doc__, "records": len(dataset), "draws": draws}
        results[name] |= {order: summary(draws, order) for order in ORDERS}
        (given.out / "held-out.json").write_text(json.dumps(results, indent=1) + "\n")
    print("| data | order | trained on | held out | difference (95 % interval) |\n|---|---|---|---|---|")
    for name, found in results.items():
        for order, words in ORDERS.items():
            one = found[order]
            apart = f"{100 * one['difference']:+.1f} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"
            print(f"| {name} | {words} | {one['train']:.1%} | {one['held_out']:.1%} | {apart} |")


if __name__ == "__main__":
    main()
