"""Trees beside the default perceptron of tables: accuracy, and planted wrong labels found.

    python -m benchmarks.tables measure OUT.csv [FOLDER] [--rows 1000] [--draws 8 9]    resumable
    python -m benchmarks.tables report OUT.csv

Tables are scikit-learn's digits, wine and breast cancer, and the parquet and CSV files of FOLDER (its label
column is called label). Of each, ``--rows`` points at random. A quarter of them, with their labels as given,
is for the accuracy; of the rest 5 % get wrong labels: uniform, to any other class; or class-dependent, in a
third of the classes only, and each of these to one other.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from benchmarks.wrong_labels import average_precision
from swaypoint.auditing.second import trees_first
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers import read_dataset
from swaypoint.models.out_of_bag import out_of_bag
from swaypoint.models.out_of_fold import accuracy, grown, out_of_fold_probabilities
from swaypoint.models.predictor import ModelOptions, Objective, Rows, Training, prepare
from swaypoint.scorers.recommended import auto, averaged, geometric_mean, recommended
from swaypoint.scoring.fitness import accuracy_of
from swaypoint.scoring.options import Solving
from swaypoint.scoring.wrong_labels import wrong_labels

BUILT_IN = ("sklearn:wine", "sklearn:breast_cancer", "sklearn:digits")
NOISES = ("uniform", "class-dependent")
FIELDS = ("table", "n", "columns", "classes", "noise", "draw", "what", "value")


def tables(folder: Path | None, rows: int) -> Iterator[tuple[str, Dataset]]:
    """Of each, ``rows`` points at random, the inputs as swaypoint encodes them."""
    sources = [
        *BUILT_IN,
        *([] if folder is None else sorted(folder.glob("*.parquet")) + sorted(folder.glob("*.csv"))),
    ]
    for source in sources:
        dataset = read_dataset(str(source), options=ReadOptions())
        if dataset.kind == "images":  # the digits, pixel by pixel
            flat = dataset.inputs[..., 0].reshape(len(dataset), -1).astype(np.float32)
            names = tuple(f"pixel {i}" for i in range(flat.shape[1]))
            dataset = replace(dataset, kind="rows", inputs=flat, columns=names, names=())
        chosen = np.random.default_rng(0).permutation(len(dataset))[:rows]
        yield Path(str(source).replace("sklearn:", "")).stem, dataset.subset(np.sort(chosen))


def noisy(labels: np.ndarray, classes: int, noise: str, generator: np.random.Generator) -> np.ndarray:
    if noise == "uniform":
        other = (labels + generator.integers(1, classes, len(labels))) % classes
        return np.where(generator.random(len(labels)) < 0.05, other, labels)
    some = generator.permutation(classes)[: max(1, round(classes / 3))]
    to = (np.arange(classes) + generator.integers(1, classes, classes)) % classes
    rate = 0.05 / max(np.isin(labels, some).mean(), 0.05)
    flip = np.isin(labels, some) & (generator.random(len(labels)) < rate)
    return np.where(flip, to[labels], labels)


def measured(dataset: Dataset, noise: str, draw: int) -> dict[str, float]:
    """Seconds, accuracy and average precision of everything on one draw of noise and parts."""
    generator, classes = np.random.default_rng((draw, len(noise))), len(dataset.classes)
    order = generator.permutation(len(dataset))
    test, train = np.sort(order[: len(order) // 4]), np.sort(order[len(order) // 4 :])
    given = dataset.labels.copy()
    given[train] = noisy(dataset.labels[train], classes, noise, generator)
    wrong = (given != dataset.labels)[train]
    found: dict[str, float] = {"wrong": float(wrong.sum())}
    x, y = dataset.inputs[train], given[train]

    def judged(name: str, score: np.ndarray) -> None:
        found[f"AP {name}"] = average_precision(score, wrong)

    def took(name: str, since: float) -> None:
        found[f"seconds {name}"] = time.perf_counter() - since

    views, truth = {}, dataset.labels[test]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        training = Training(Path(folder), draw, "cpu")
        parts, options = Rows(train, test), ModelOptions("mlp")
        predictor = prepare(replace(dataset, labels=given), parts, options, Objective(), training=training)
        trained = predictor.trained(predictor.head.weights, Solving())
        left_out = trained.influence.scores(probabilities=True).probabilities
        assert left_out is not None
        views["perceptron"] = averaged(left_out, y, trained.course)
        took("perceptron", start)
        found["accuracy perceptron"] = accuracy_of(trained.influence.risk, predictor.validation) or 0.0
        judged("auto of the perceptron", auto(trained))
        assert predictor.validation is not None
        chunks = trained.influence.risk.chunks(predictor.validation)
        held = torch.cat([chunk.terms.probabilities for chunk in chunks]).numpy()
    start = time.perf_counter()
    views["boosted trees"] = out_of_fold_probabilities(x, y, seed=draw, classes=classes)
    took("boosted trees", start)
    found["accuracy boosted trees"] = accuracy(grown(x, y, seed=draw), dataset.inputs[test], truth)
    start = time.perf_counter()
    views["randomised trees"], others = out_of_bag(x, y, dataset.inputs[test], classes=classes, seed=draw)
    took("randomised trees", start)
    found["accuracy randomised trees"] = float((others.argmax(1) == truth).mean())
    trees = [(views["randomised trees"], y), (others, given[test])]
    first = [(views["perceptron"], y), (held, given[test])]
    joined = trees_first(first, trees)
    audited = (recommended(first) if joined is None else joined.wrong)[0]
    judged("in an audit", audited.score)
    found["expected / wrong"] = audited.expected / wrong.sum()
    for count in (1, 2, 3):
        for chosen in combinations(views, count):
            mean = geometric_mean([views[name] for name in chosen])
            judged(" x ".join(chosen), wrong_labels(mean, y).score)
    return found


def measure(out: Path, folder: Path | None, rows: int, draws: list[int]) -> None:
    done = set()
    if out.exists():
        with out.open() as lines:
            done = {(row["table"], row["noise"], row["draw"]) for row in csv.DictReader(lines)}
    else:
        out.write_text(",".join(FIELDS) + "\n")
    read = list(tables(folder, rows))
    for draw in draws:
        for name, dataset in read:
            for noise in NOISES:
                if (name, noise, str(draw)) in done:
                    continue
                cell = (name, len(dataset), len(dataset.columns), len(dataset.classes), noise, draw)
                found = measured(dataset, noise, draw)
                with out.open("a", newline="") as lines:  # a cell at once, so that none is half there
                    csv.writer(lines, lineterminator="\n").writerows(
                        (*cell, what, f"{value:.6g}") for what, value in found.items()
                    )
                print(*cell, {what: round(value, 3) for what, value in found.items()}, flush=True)


def report(out: Path) -> None:
    """Means, and paired differences."""
    cells: dict[tuple[str, ...], dict[str, float]] = {}
    with out.open() as lines:
        for row in csv.DictReader(lines):
            key = row["table"], row["noise"], row["draw"]
            cells.setdefault(key, {})[row["what"]] = float(row["value"])
    print(f"{len(cells)} cells of {len({key[0] for key in cells})} tables")
    summary(cells)
    by_table(cells)


BESIDE = {
    "AP": ("AP auto of the perceptron", "AP perceptron x boosted trees", "AP perceptron x randomised trees"),
    "accuracy": ("accuracy perceptron",),
    "seconds": (),
    "expected": (),
}
"""What each kind of figure is compared with, paired."""


def summary(cells: dict[tuple[str, ...], dict[str, float]]) -> None:
    generator = np.random.default_rng(0)
    names = sorted({what for cell in cells.values() for what in cell if not what.startswith("wrong")})
    for what in names:
        for noise in ("", *NOISES) if what.startswith("AP") else ("",):
            of = [cell for key, cell in cells.items() if noise in ("", key[1]) and what in cell]
            values = np.array([cell[what] for cell in of])
            print(f"{what:40s} {noise or 'all':16s} mean {values.mean():.4f} median {np.median(values):.4f}")
            for other in BESIDE[what.split()[0]]:
                if other == what:
                    continue
                gain = values - np.array([cell[other] for cell in of])
                low, high = np.quantile(generator.choice(gain, (2000, len(gain))).mean(1), [0.025, 0.975])
                print(
                    f"    minus {other:28s} {gain.mean():+.4f} [{low:+.4f}, {high:+.4f}],"
                    f" better in {(gain > 0).sum()} of {len(gain)}"
                )


def by_table(cells: dict[tuple[str, ...], dict[str, float]]) -> None:
    columns = [
        *(f"accuracy {name}" for name in ("perceptron", "boosted trees", "randomised trees")),
        "AP auto of the perceptron",
        *(f"AP {name}" for name in ("boosted trees", "randomised trees")),
        *(f"AP perceptron x {name}" for name in ("boosted trees", "randomised trees")),
        "AP in an audit",
        *(f"seconds {name}" for name in ("perceptron", "boosted trees", "randomised trees")),
    ]
    print("| table | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    for table in dict.fromkeys(key[0] for key in cells):
        of = [cell for key, cell in cells.items() if key[0] == table]
        print(
            f"| {table} | " + " | ".join(f"{np.median([c[name] for c in of]):.3f}" for name in columns) + " |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["measure", "report"])
    parser.add_argument("out", type=Path)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--draws", type=int, nargs="+", default=[8, 9])
    options = parser.parse_args()
    if options.what == "measure":
        measure(options.out, options.folder, options.rows, options.draws)
    else:
        report(options.out)


if __name__ == "__main__":
    main()
