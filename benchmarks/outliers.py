"""Records that belong to no class, planted: found, beside cleanlab's Datalab on the same features.

    python -m benchmarks.outliers prepare AUDITS SOURCES          audits of sets with 1 % foreign records
    python -m benchmarks.outliers measure AUDITS --digits demo-audit --out docs/findings-outliers.json

SOURCES holds what was planted and among what: ``cifar10.parquet`` (columns img, label), ``foods.parquet``
(text, label), ``german/`` (files of texts with lines of % between them: Debian's fortunes-de) and tables
``LetterRecognition``, ``Satellite`` and ``income`` ``.parquet`` with a column label. A foreign record has the
label of a class drawn at random. Of tables, ``permuted`` has each value from another row, so that only the
dependence between columns is foreign; ``other`` has rows of another table, each column brought to the
quantiles of one here.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from cleanlab import Datalab
from sklearn.metrics import roc_auc_score

from swaypoint import audit
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers import read_dataset
from swaypoint.findings.outliers import (
    LEARNED,
    LEVEL,
    find_outliers,
    foreign_p_values,
    tail_p_values,
)
from swaypoint.findings.regions.folder import inputs_file
from swaypoint.findings.significance import benjamini_hochberg
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.tensors import map_tensor

SHARE = 0.01


# -- planting ---------------------------------------------------------------------------------------


def _planted(dataset: Dataset, foreign: np.ndarray, seed: int) -> Dataset:
    """``dataset`` with ``foreign`` inputs after its own, each of a random class, all in random order; the
    ``index`` of the foreign ones is len(dataset) and more."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([dataset.labels, generator.integers(0, len(dataset.classes), len(foreign))])
    inputs = np.concatenate([dataset.inputs, foreign.astype(dataset.inputs.dtype)])
    order = generator.permutation(len(labels))
    return replace(
        dataset, inputs=inputs[order], labels=labels[order], index=order.astype(np.int64), raw=None,
        names=(), split=None, treatments={}, fingerprint=f"{dataset.fingerprint}-{seed}",
    )  # fmt: skip


def _count(dataset: Dataset) -> int:
    return max(3, round(SHARE * len(dataset)))


def _photographs(sources: Path, rows: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    column = pq.read_table(sources / "cifar10.parquet", columns=["img"])["img"].take(rows)
    pictures = [Image.open(io.BytesIO(value["bytes"])) for value in column.to_pylist()]
    return np.stack([np.asarray(picture.convert("RGB").resize((side, side))) for picture in pictures])


def _digits_among(sources: Path, kind: str, seed: int) -> Dataset:
    digits, generator = read_dataset("sklearn:digits", options=ReadOptions()), np.random.default_rng(seed)
    count, shape = _count(digits), digits.inputs.shape[1:]
    if kind == "noise":
        foreign = np.repeat(generator.integers(0, 256, (count, *shape[:2], 1)), 3, axis=3)
    else:
        grey = _photographs(sources, generator.integers(0, 50_000, count), shape[0]).mean(3, keepdims=True)
        foreign = np.repeat(grey, 3, axis=3)
    return _planted(digits, foreign, seed)


def _photographs_and(sources: Path, kind: str, seed: int) -> Dataset:
    from PIL import Image

    generator = np.random.default_rng(seed)
    options = ReadOptions(label="label", limit=5_000, spread=True)
    photographs = read_dataset(str(sources / "cifar10.parquet"), options=options)
    count = _count(photographs)
    if kind == "noise":
        foreign = generator.integers(0, 256, (count, 32, 32, 3))
    else:
        digits = read_dataset("sklearn:digits", options=ReadOptions()).inputs
        chosen = digits[generator.choice(len(digits), count, replace=False)]
        foreign = np.stack([np.asarray(Image.fromarray(picture).resize((32, 32))) for picture in chosen])
    return _planted(photographs, foreign, seed)


def _texts(sources: Path, seed: int) -> Dataset:
    texts = read_dataset(str(sources / "foods.parquet"), options=ReadOptions(text="text", label="label"))
    german = [
        text.strip()
        for file in sorted((sources / "german").iterdir())
        if file.suffix == ".u8"
        for text in file.read_text(encoding="utf-8", errors="replace").split("\n%")
        if 100 <= len(text.strip()) <= 1000
    ]
    chosen = np.random.default_rng(seed).choice(len(german), _count(texts), replace=False)
    return _planted(texts, np.array([[german[i]] for i in chosen], dtype=object), seed)


def _rows(sources: Path, table: str, kind: str, seed: int) -> Dataset:
    if table.startswith("sklearn:"):
        rows = read_dataset(table, options=ReadOptions())
    else:
        rows = read_dataset(str(sources / f"{table}.parquet"), options=ReadOptions(label="label"))
    generator, count, values = np.random.default_rng(seed), _count(rows), rows.inputs
    if kind == "permuted":
        picked = generator.integers(0, len(values), (count, values.shape[1]))
        return _planted(rows, np.take_along_axis(values, picked, axis=0), seed)
    other = read_dataset(str(sources / "Satellite.parquet"), options=ReadOptions(label="label")).inputs
    ranks = np.argsort(np.argsort(other[:, : values.shape[1]], axis=0, kind="stable"), axis=0) / len(other)
    places = (ranks[generator.choice(len(other), count, replace=False)] * len(values)).astype(np.int64)
    return _planted(rows, np.take_along_axis(np.sort(values, axis=0), places, axis=0), seed)


SETS: dict[str, Callable[[Path, int], Dataset]] = {
    "digits, noise": lambda sources, seed: _digits_among(sources, "noise", seed),
    "digits, photographs": lambda sources, seed: _digits_among(sources, "photographs", seed),
    "photographs, noise": lambda sources, seed: _photographs_and(sources, "noise", seed),
    "photographs, digits": lambda sources, seed: _photographs_and(sources, "digits", seed),
    "reviews, German": _texts,
    "letters, other": lambda sources, seed: _rows(sources, "LetterRecognition", "other", seed),
    "letters, permuted": lambda sources, seed: _rows(sources, "LetterRecognition", "permuted", seed),
    "satellite, permuted": lambda sources, seed: _rows(sources, "Satellite", "permuted", seed),
    "income, permuted": lambda sources, seed: _rows(sources, "income", "permuted", seed),
    "breast cancer, permuted": lambda sources, seed: _rows(
        sources, "sklearn:breast_cancer", "permuted", seed
    ),
}  # fmt: skip


def prepare(audits: Path, sources: Path, seeds: int, only: list[str]) -> None:
    for name in only or SETS:
        for seed in range(seeds):
            path = audits / f"{name}, {seed}".replace(", ", "-").replace(" ", "_")
            if not (path / "manifest.json").is_file():
                started = time.perf_counter()
                audit(SETS[name](sources, seed), path, options=AuditOptions(seed=seed))
                print(path.name, f"{time.perf_counter() - started:.0f} s", flush=True)


# -- measuring --------------------------------------------------------------------------------------


def _datalab(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Datalab's outlier score, larger for an outlier, and which records it calls one."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        lab = Datalab({"row": list(range(len(points)))})
        lab.find_issues(features=np.asarray(points), issue_types={"outlier": {}})
    found = lab.get_issues("outlier")
    return -found["outlier_score"].to_numpy(), found["is_outlier_issue"].to_numpy()


def measured(path: Path) -> dict[str, object]:
    folder = AuditFolder(path)
    scores, classes = folder.scores(), folder.manifest().data.classes
    n, index = len(scores), scores["index"].to_numpy()
    planted = max(3, round(SHARE * n / (1 + SHARE)))
    foreign = index >= n - planted
    place = inputs_file(folder) or (path / "features.safetensors", "features")
    points = map_tensor(*place, n)
    assert points is not None
    assert classes
    named = np.zeros(n, dtype=bool)
    for finding in find_outliers(folder):
        named[finding.index] = True
    started = time.perf_counter()
    labels, split = scores["label"].to_numpy(), np.array(scores["split"].to_pylist())
    p = foreign_p_values(points, labels, split, learned=folder.manifest().data.kind == LEARNED)
    seconds, started = time.perf_counter() - started, time.perf_counter()
    score, called = _datalab(points)
    return {
        "set": path.name, "n": n, "columns": points.shape[1], "of": place[1], "foreign": planted,
        "AUROC": roc_auc_score(foreign, -p), "seconds": seconds,
        "named": int(named.sum()), "recall": float(named[foreign].mean()),
        "precision": float(foreign[named].mean()) if named.any() else None,
        "AUROC Datalab": roc_auc_score(foreign, score), "seconds Datalab": time.perf_counter() - started,
        "named Datalab": int(called.sum()), "recall Datalab": float(called[foreign].mean()),
        "precision Datalab": float(foreign[called].mean()) if called.any() else None,
    }  # fmt: skip


def _clean(kind: str, generator: np.random.Generator) -> np.ndarray:
    noise = generator.standard_normal((1_200, 8))
    if kind == "heavy tails":
        return generator.standard_t(4, (1_200, 8))
    return np.exp(noise / 2) if kind == "skewed" else noise


def false_alarms(digits: Path | None) -> dict[str, object]:
    """Share of 200 clean draws with a finding; of random halves of an audit without foreign records too."""
    found: dict[str, object] = {}
    split = np.where(np.arange(1_200) < 960, "train", "held_out")
    for kind in ("normal", "heavy tails", "skewed"):
        alarms = 0
        for draw in range(200):
            generator = np.random.default_rng(draw)
            labels = generator.integers(0, 4, 1_200)
            points = _clean(kind, generator) + 4 * np.eye(8)[labels]
            p = foreign_p_values(points.astype(np.float32), labels, split)
            alarms += bool(benjamini_hochberg(p, LEVEL).any())
        found[kind] = alarms / 200
    alarms = 0
    for draw in range(20):  # of many records, whose tail is known so well that its model must be right
        distance = 0.5 * np.log(np.random.default_rng(draw).chisquare(64, 40_000))
        alarms += bool(benjamini_hochberg(tail_p_values(distance), LEVEL).any())
    found["40,000 distances in 64 dimensions"] = alarms / 20
    if digits is not None:
        scores = AuditFolder(digits).scores()
        points = map_tensor(digits / "features.safetensors", "features", len(scores))
        assert points is not None
        labels, parts, alarms = scores["label"].to_numpy(), np.array(scores["split"].to_pylist()), 0
        for draw in range(200):
            half = np.sort(np.random.default_rng(draw).permutation(len(scores))[: len(scores) // 2])
            p = foreign_p_values(points[half], labels[half], parts[half], learned=True)
            alarms += bool(benjamini_hochberg(p[~np.isnan(p)], LEVEL).any())
        found["halves of the digits"] = alarms / 200
    return found


def measure(audits: Path, out: Path, digits: Path | None) -> None:
    sets = []
    for path in sorted(audits.iterdir()):
        if (path / "scores.parquet").is_file():
            sets.append(measured(path))
            print(json.dumps(sets[-1]), flush=True)
    found = {"level": LEVEL, "sets": sets, "false alarms": false_alarms(digits)}
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(found["false alarms"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare")
    command.add_argument("audits", type=Path)
    command.add_argument("sources", type=Path)
    command.add_argument("--seeds", type=int, default=2)
    command.add_argument("--only", action="append", default=[])
    command = commands.add_parser("measure")
    command.add_argument("audits", type=Path)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--digits", type=Path, help="an audit of sklearn:digits, for false alarms")
    given = parser.parse_args()
    if given.command == "prepare":
        prepare(given.audits, given.sources, given.seeds, given.only)
    else:
        measure(given.audits, given.out, given.digits)


if __name__ == "__main__":
    main()
