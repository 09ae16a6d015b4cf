"""The recommended score of audits before and now, on planted wrong labels of small sets: training and all.

    python -m benchmarks.recommended train FOLDER [X.npz ...] --draws 10 11 12       a file each; resumable
    python -m benchmarks.recommended measure FOLDER --draws 10 11 12 [--out X.csv]

Sets are digits, breast cancer, wine, and tables of `features` and `labels`; models what an audit trains
(`mlp`), the same over-trained, and a linear head. Files are named set+model+noise+draw.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_wine

from benchmarks.wrong_labels import average_precision, noises, out_of_fold, share_for, tables, two_models
from swaypoint.data.dataset import Dataset
from swaypoint.data.splitting import Split
from swaypoint.models.predictor import ModelOptions, Objective, Rows, Training, prepare
from swaypoint.scorers.recommended import of_training
from swaypoint.scoring.fitness import accuracy_of, by_heart, memorisation
from swaypoint.scoring.options import Solving
from swaypoint.scoring.rank import rank
from swaypoint.scoring.trained_model import Course, last_third

MODELS = {
    "mlp": ("rows", ModelOptions("mlp")),
    "mlp, over-trained": ("rows", ModelOptions("mlp", epochs=250)),
    "linear head": ("features", ModelOptions("head")),
}
FEWEST = 4
"""Wrong labels among the ranked below which a file says nothing."""


def sets(paths: list[Path]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    yield from tables(paths)
    yield "wine", *load_wine(return_X_y=True)


def train(folder: Path, paths: list[Path], draws: list[int], models: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, x, labels in sets(paths):
        classes = int(labels.max()) + 1
        weak = out_of_fold(two_models(x)["weak"], labels, classes, 0)
        for draw in draws:
            for noise, given in noises(labels, weak, draw):
                for model in models:
                    kind, options = MODELS[model]
                    file = folder / f"{name}+{model}+{noise}+{draw}.npz"
                    if not file.exists():
                        np.savez(file, **trained(x, labels, given, kind, options, draw))
                        print(file.stem, flush=True)


def trained(x, labels, given, kind, options: ModelOptions, seed: int) -> dict[str, np.ndarray]:
    """What an audit of these labels knows of each ranked point."""
    classes = tuple(map(str, range(int(labels.max()) + 1)))
    columns = tuple(f"x{i}" for i in range(x.shape[1]))
    inputs = (x - x.mean(0)) / (x.std(0) + 1e-9) if kind == "features" else x
    dataset = Dataset(
        "table", kind, inputs.astype(np.float32), given.astype(np.int64), classes, columns,
        np.arange(len(x)), (), (), "",
    )  # fmt: skip
    held = Split.of(len(x), seed=seed, share=0.2).held_out(np.arange(len(x)))
    rows = Rows(np.flatnonzero(~held), np.flatnonzero(held))
    with tempfile.TemporaryDirectory() as scratch:
        training = Training(Path(scratch), seed, "cpu")
        made = prepare(dataset, rows, options, Objective(), training=training)
    solving = Solving().of_the_head(fit=made.fit)
    ranking, solution = rank(made.head.weights, made.train, solving, probabilities=True)
    accuracies = [accuracy_of(solution.risk, part) for part in (made.train, made.validation)]
    unseen = torch.cat([chunk.terms.probabilities for chunk in solution.risk.chunks(made.validation)])
    failed = any(check.verdict != "fit" for check in memorisation(*accuracies, len(rows.validation)))
    course = made.course
    recorded = {} if course is None else {name: getattr(course, name) for name in vars(course)}
    return recorded | {
        "left_out": ranking.probabilities, "loo_loss": ranking.loo_loss, "loss": ranking.loss,
        "given": given[rows.train], "true": labels[rows.train],
        "unseen": unseen.numpy(), "unseen_given": given[rows.validation],
        "unseen_true": labels[rows.validation],
        "failed": np.array(failed), "accuracy": np.array(accuracies),
    }  # fmt: skip


def before(stored: dict[str, np.ndarray]) -> np.ndarray:
    """`auto` until now: the mean of the leave-one-out loss and of the losses of the training's last third; of
    a model that fails the check "Memorisation" the mean of all losses."""
    if "losses" not in stored:
        return stored["loo_loss"]
    losses = stored["losses"].astype(np.float64)
    if stored["failed"]:
        return losses.mean(1)
    return 0.5 * (stored["loo_loss"] + losses[:, last_third(losses.shape[1]) :].mean(1))


def now(stored: dict[str, np.ndarray]) -> np.ndarray:
    course = None
    if "losses" in stored:
        course = Course(*(stored[name] for name in ("margins", "losses", "probabilities", "whole")))
    heart = course is not None and by_heart(*stored["accuracy"].tolist(), len(stored["unseen"]))
    return of_training(stored["left_out"], stored["given"], course, by_heart=heart).score


SCORES = {"before": before, "now": now, "loss": lambda stored: stored["loss"]}


def measure(folder: Path, draws: list[int], out: Path | None) -> None:
    rows, found = [], defaultdict(list)
    for path in sorted(folder.glob("*.npz")):
        name, model, noise, draw = path.stem.split("+")
        if int(draw) not in draws:
            continue
        stored = dict(np.load(path))
        wrong = stored["given"] != stored["true"]
        if wrong.sum() < FEWEST:
            continue
        values = {score: function(stored) for score, function in SCORES.items()}
        for score, value in values.items():
            figures = average_precision(value, wrong), share_for(value, wrong)
            rows.append((name, model, noise, draw, score, int(wrong.sum()), *figures))
        found[noise, model].append([average_precision(value, wrong) for value in values.values()])
        found[noise, "all"].append(found[noise, model][-1])
    rng = np.random.default_rng(0)
    for (noise, model), values in sorted(found.items()):
        old, new, loss = np.array(values).T
        low, high = np.quantile(rng.choice(new - old, (2000, len(old))).mean(1), [0.025, 0.975])
        print(
            f"{noise:36s} {model:20s} n={len(old):3d} before {old.mean():.4f} now {new.mean():.4f}"
            f" loss {loss.mean():.4f} now - before {(new - old).mean():+.4f} [{low:+.4f}, {high:+.4f}]"
        )
    if out is not None:
        with out.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("set", "model", "noise", "draw", "score", "wrong", "ap", "share_for_90"))
            writer.writerows((*row[:6], f"{row[6]:.4f}", f"{row[7]:.4f}") for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["train", "measure"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("tables", type=Path, nargs="*")
    parser.add_argument("--draws", type=int, nargs="+", required=True)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.what == "train":
        train(options.folder, options.tables, options.draws, options.models)
    else:
        measure(options.folder, options.draws, options.out)


if __name__ == "__main__":
    main()
