"""How many planted near copies are found, and what is found where none are planted.

    python -m benchmarks.duplicates --cifar FOLDER --texts FILE.parquet --tables FILE.parquet … \
        --out docs/findings-duplicates.json

Digits are scikit-learn's; FOLDER has CIFAR-10 as train.parquet and test.parquet (columns img and label), a
file of texts a column text, one of a table numbers. Of each set a share is planted again: pictures saved as
JPEG, resized, brighter or darker, mirrored, cropped to 90 % of the side; texts without a tenth or a fifth of
their words; rows rounded to three digits. Recall is of the planted pairs; precision that of the pairs with a
planted record in them, right where both are copies of one record. Clean: records that are said to have a near
copy in 20 random halves of each set, from which nothing is known to be missing. With --sheet FILE.png, pairs
of CIFAR-10 between test and training are drawn, a hundred drawn by chance.

cleanlab's Datalab (near_duplicate, its defaults) is given the same pictures' grey pixels as features, or the
texts' TF-IDF brought to 100 dimensions, or the rows' standardised values, where cleanlab is installed; and
imagededup's perceptual hash (its default distance of 10) the same pictures, where that is.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits

from swaypoint.findings.duplicates.nearest import near_rows
from swaypoint.findings.duplicates.pictures import near_pictures, sketched
from swaypoint.findings.duplicates.texts import near_texts
from swaypoint.folder.writing import write_json

SHARE, HALVES, SHOWN = 0.02, 20, 100
Change = Callable[[Any, np.random.Generator], Any]
Find = Callable[[list[Any]], np.ndarray]
"""Of records the pairs that are near copies, ``(p, 2)`` positions, the smaller first."""


def _jpeg(quality: int) -> Change:
    def saved(pixels: np.ndarray, _: np.random.Generator) -> np.ndarray:
        shown, buffer = Image.fromarray(pixels), io.BytesIO()
        shown.save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer).convert(shown.mode))

    return saved


def _resized(pixels: np.ndarray, _: np.random.Generator) -> np.ndarray:
    shown = Image.fromarray(pixels)
    smaller = shown.resize((3 * shown.width // 4, 3 * shown.height // 4), Image.Resampling.BICUBIC)
    return np.asarray(smaller.resize(shown.size, Image.Resampling.BICUBIC))


def _brightness(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    factor = float(generator.choice([0.7, 0.8, 1.2, 1.3]))
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(factor))


def _mirrored(pixels: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.ascontiguousarray(pixels[:, ::-1])


def _cropped(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    shown = Image.fromarray(pixels)
    width, height = round(0.9 * shown.width), round(0.9 * shown.height)
    left, top = generator.integers(0, [shown.width - width + 1, shown.height - height + 1]).tolist()
    part = shown.crop((left, top, left + width, top + height))
    return np.asarray(part.resize(shown.size, Image.Resampling.BICUBIC))


def _without(share: float) -> Change:
    def fewer(text: str, generator: np.random.Generator) -> str:
        return " ".join(word for word in text.split() if generator.random() >= share)

    return fewer


def _rounded(row: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.array([float(f"{value:.3g}") for value in row], dtype=np.float32)


PICTURES: dict[str, Change] = {
    "JPEG 90": _jpeg(90),
    "JPEG 75": _jpeg(75),
    "JPEG 50": _jpeg(50),
    "resized": _resized,
    "brightness": _brightness,
    "mirrored": _mirrored,
    "cropped": _cropped,
}
TEXTS: dict[str, Change] = {"a tenth left out": _without(0.1), "a fifth left out": _without(0.2)}
ROWS: dict[str, Change] = {"rounded": _rounded}


def pictures(given: list[Any]) -> np.ndarray:
    return near_pictures(sketched(given))


def rows(given: list[Any]) -> np.ndarray:
    return near_rows(np.stack(given), tolerance=True)


def planted(
    given: list[Any], changes: dict[str, Change], find: Find, others: dict[str, Find], seed: int = 0
) -> dict:
    """Recall of each kind of ``changes``, precision and seconds."""
    generator = np.random.default_rng(seed)
    n, each = len(given), max(40, round(SHARE * len(given) / len(changes)))
    chosen = generator.choice(n, each * len(changes), replace=False)
    kinds = np.repeat(np.arange(len(changes)), each)
    made = [list(changes.values())[kind](given[i], generator) for i, kind in zip(chosen, kinds, strict=True)]
    every = [*given, *made]
    natural = {tuple(pair) for pair in find(given).tolist()}
    return {"records": n, "planted": len(made)} | {
        name: _counted(way, every, n, chosen, kinds, list(changes), natural)
        for name, way in {"swaypoint": find, **others}.items()
    }


def _counted(
    way: Any, every: list[Any], n: int, chosen: Any, kinds: Any, names: list[str], natural: Any
) -> dict:
    start = time.perf_counter()
    pairs = way(every)
    seconds = time.perf_counter() - start
    known = {tuple(pair) for pair in pairs.tolist()}
    hit = np.array([(int(i), n + k) in known for k, i in enumerate(chosen)])
    with_planted = pairs[(pairs >= n).any(1)]
    of = np.concatenate([np.arange(n), chosen])
    origin = np.sort(of[with_planted], axis=1)
    right = (origin[:, 0] == origin[:, 1]) | [tuple(pair) in natural for pair in origin.tolist()]
    return {
        "recall": {name: float(hit[kinds == kind].mean()) for kind, name in enumerate(names)},
        "precision": float(right.mean()) if len(right) else None,
        "pairs of the set itself": len(pairs) - len(with_planted),
        "seconds": round(seconds, 2),
    }


def clean(given: list[Any], find: Any) -> list[int]:
    """Records with a near copy in each of 20 random halves."""
    generator = np.random.default_rng(1)
    halves = (generator.permutation(len(given))[: len(given) // 2] for _ in range(HALVES))
    return [len(np.unique(find([given[i] for i in half]))) for half in halves]


def _datalab(features: Callable[[list[Any]], np.ndarray]) -> dict[str, Find]:
    try:
        from cleanlab import Datalab
    except ImportError:
        return {}

    def find(given: list[Any]) -> np.ndarray:
        lab = Datalab({"x": list(range(len(given)))}, verbosity=0)
        lab.find_issues(features=features(given), issue_types={"near_duplicate": {}})
        sets = lab.get_issues("near_duplicate")["near_duplicate_sets"]
        return _pairs((i, int(j)) for i, near in enumerate(sets) for j in near)

    return {"Datalab": find}


def _imagededup() -> dict[str, Find]:
    try:
        from imagededup.methods import PHash
    except ImportError:
        return {}

    def find(given: list[Any]) -> np.ndarray:
        hashing = PHash(verbose=False)
        shown = [one if one.ndim == 3 else np.repeat(one[..., None], 3, axis=2) for one in given]
        known = {str(i): hashing.encode_image(image_array=one) for i, one in enumerate(shown)}
        near = hashing.find_duplicates(encoding_map=known)
        return _pairs((int(i), int(j)) for i, others in near.items() for j in others)

    return {"imagededup": find}


def _pairs(found: Iterable[tuple[int, int]]) -> np.ndarray:
    return np.unique(np.sort(np.array(list(found), dtype=np.int64).reshape(-1, 2)), axis=0)


def _grey(given: list[Any]) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(one).convert("L"), np.float32).ravel() for one in given])


def _tfidf(given: list[Any]) -> np.ndarray:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TruncatedSVD(100, random_state=0).fit_transform(
        TfidfVectorizer(sublinear_tf=True).fit_transform(given)
    )


def _standardised(given: list[Any]) -> np.ndarray:
    values = np.stack(given).astype(np.float64)
    return (values - values.mean(0)) / np.maximum(values.std(0), 1e-12)


def decoded(file: Path) -> np.ndarray:
    cells = pq.read_table(file, columns=["img"])["img"].to_pylist()
    return np.stack([np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")) for cell in cells])


def cifar(folder: Path, sheet: Path | None) -> dict:
    """CIFAR-10's own near copies between test and training."""
    test, train = decoded(folder / "test.parquet"), decoded(folder / "train.parquet")
    every = np.concatenate([test, train])
    start = time.perf_counter()
    pairs = near_pictures(sketched(every))
    seconds = time.perf_counter() - start
    across = pairs[(pairs[:, 0] < len(test)) & (pairs[:, 1] >= len(test))]
    if sheet is not None:
        draw(every, across, sheet)
    return {
        "pictures": len(every),
        "pairs": len(pairs),
        "pairs across": len(across),
        "test pictures with one in training": len(np.unique(across[:, 0])),
        "seconds": round(seconds, 1),
    }


def draw(every: np.ndarray, pairs: np.ndarray, file: Path, columns: int = 10) -> None:
    """Ten in a row, of each test picture the first pair."""
    first = pairs[np.unique(pairs[:, 0], return_index=True)[1]]
    chosen = first[np.random.default_rng(0).permutation(len(first))[:SHOWN]]
    sheet = np.full((-(-len(chosen) // columns) * 38, columns * 72, 3), 255, dtype=np.uint8)
    for place, (one, other) in enumerate(chosen.tolist()):
        top, left = place // columns * 38, place % columns * 72
        sheet[top : top + 32, left : left + 64] = np.concatenate([every[one], every[other]], axis=1)
    Image.fromarray(sheet).quantize(256).save(file, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Planted near copies, and CIFAR-10's own.")
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--tables", type=Path, nargs="*", default=[])
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--own", action="store_true", help="CIFAR-10's own copies, of all 60,000")
    parser.add_argument("--limit", type=int, default=5000, help="records of a set")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    digits = list((load_digits().images * 255 / 16).round().astype(np.uint8))
    peers = _datalab(_grey) | _imagededup()
    sets: dict[str, tuple] = {"digits": (digits, PICTURES, pictures, peers)}
    if asked.cifar is not None:
        shown = list(decoded(asked.cifar / "train.parquet")[: asked.limit])
        sets["CIFAR-10"] = (shown, PICTURES, pictures, peers)
    if asked.texts is not None:
        said = pq.read_table(asked.texts, columns=["text"])["text"].to_pylist()
        said = list(dict.fromkeys(said))[: asked.limit]
        sets[asked.texts.stem] = (said, TEXTS, near_texts, _datalab(_tfidf))
    for file in asked.tables:
        table = pq.read_table(file).to_pandas().drop(columns="label").select_dtypes("number").dropna()
        values = np.unique(table.to_numpy(np.float32), axis=0)
        kept = np.random.default_rng(0).permutation(len(values))[: asked.limit]
        sets[file.stem] = (list(values[kept]), ROWS, rows, _datalab(_standardised))
    result: dict[str, Any] = {}
    for name, (given, changes, find, others) in sets.items():
        result[name] = planted(given, changes, find, others) | {"clean halves": clean(given, find)}
        print(name, result[name], flush=True)
    if asked.cifar is not None and asked.own:
        result["CIFAR-10's own"] = cifar(asked.cifar, asked.sheet)
        print(result["CIFAR-10's own"], flush=True)
    write_json(asked.out, result)


if __name__ == "__main__":
    main()
