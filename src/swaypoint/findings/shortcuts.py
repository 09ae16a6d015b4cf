"""What tells the label without being the object: brightness, length, a column, the file's name, the order."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from swaypoint.errors import reading, require
from swaypoint.findings.base import Finding, Severity, findings
from swaypoint.findings.regions.folder import inputs_file
from swaypoint.findings.regions.table import Table
from swaypoint.findings.significance import halves, holm
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.documents import REMEDY
from swaypoint.folder.manifest import HELD_OUT, TRAIN, Manifest
from swaypoint.folder.tensors import map_tensor

LEVEL = 0.05
"""Probability of any finding by chance, over all attributes of an audit."""
_MOST, _FEWEST = 10_000, 100
_BINS, _BY_CLASS, _IN_BIN = 32, 8, 20
_MEDIUM, _HIGH = 1 / 3, 2 / 3
"""Shares of the model's skill that something beside the object reaches by itself."""
_GIVEN_AWAY, _CERTAIN = 0.95, 0.98
"""Skill of one column of a table from which on it gives the label away: a good column is no leak."""
_LEAST, _SORTED = 0.1, 0.9
"""Least skill of anything that is named; skill of the place in a source that is sorted by label."""


@dataclass(frozen=True, eq=False)
class Attribute:
    """Something known of every record: ``values`` (n,) numbers, or codes of categories."""

    name: str
    kind: str
    values: np.ndarray
    categories: bool = False


@dataclass(frozen=True, eq=False)
class Guess:
    """How well an attribute alone tells the label.

    Attributes:
        accuracy: the mean over the classes of the share guessed right, on records other than it was made of.
        p: of guesses as good, were the label independent of the attribute.
        right: ``(n,)`` bool, which records are guessed right; ``sure``: ``(n,)`` how much more frequent the
            guessed class is, among those alike, than it would be by chance.
    """

    accuracy: float
    p: float
    right: np.ndarray
    sure: np.ndarray


def find_shortcuts(folder: AuditFolder) -> list[Finding]:
    """What else than the object tells the label, each attribute by itself.

    Of pictures brightness, contrast, colours, border and size of the file as the audit stored it; of texts
    length and kinds of characters; of tables every column; of all the file's name and folder, and the place
    in the source. Each by :func:`guess`, Holm's procedure at 5 % over all of them, and where the effect
    matters: by skill, the balanced accuracy from chance 0 to 1, as a share of the model's own, at least a
    third; of a column of a table 0.95 itself. And columns of one value, or that number the records.

    Real-valued labels count as above or below their median. At most 10,000 records are looked at, evenly
    spaced; O(n columns). None of streamed audits.

    Raises:
        InputError: a damaged folder.
        MissingExtra: pictures, and pillow is not installed.
    """
    if folder.streamed:
        return []
    manifest, scores = folder.manifest(), folder.scores()
    rows = np.arange(0, len(scores), -(-len(scores) // _MOST))
    scores = scores.take(rows)
    table = sampled_table(folder, manifest, rows)
    found = [] if table is None else _columns(table)
    if len(rows) < _FEWEST:
        return found
    label = scores["label"].to_numpy()
    label = label if manifest.data.classes else (label > np.median(label)).astype(np.int64)
    attributes = [*placed(scores), *_recorded(folder, manifest, rows, label)]
    if table is not None:
        attributes += [Attribute(name, "column", *_values(table, name)) for name in table.source]
    tried = [(each, guess(each, label)) for each in attributes if len(np.unique(each.values)) > 1]
    kept = holm(np.array([each.p for _, each in tried]), LEVEL)
    model = _skill_of_model(manifest, scores, label)
    for (attribute, guessed), real in zip(tried, kept, strict=True):
        if real and (finding := _finding(attribute, guessed, label, model, rows, len(tried))) is not None:
            found.append(finding)
    return found


def skill(accuracy: float, classes: int) -> float:
    """Of a balanced accuracy: 0 by chance, 1 of what is always right."""
    return (accuracy - 1 / classes) / (1 - 1 / classes) if classes > 1 else 0.0


def guess(attribute: Attribute, label: np.ndarray) -> Guess:
    """The label by one attribute: of its categories, or of up to 32 ranges of equally many records (eight a
    class, if that is more; 20 records each), each half
    of the records by the frequencies in the other.

    Guessed is the class in which the range is most frequent, so that chance is 1 / C whatever the classes'
    sizes. The p-value is twice the smaller of the two halves', each by the normal approximation of
    Hoeffding's (1951) combinatorial central limit theorem: labels permuted, guesses as they are.

    Args:
        label: ``(n,)`` codes.
    """
    _, label = np.unique(label, return_inverse=True)
    classes, n = int(label.max()) + 1, len(label)
    place = _binned(attribute, max(4, min(max(_BINS, _BY_CLASS * classes), n // _IN_BIN)))
    half = halves(n)
    right, sure, p = np.zeros(n, dtype=bool), np.zeros(n), 1.0
    for fitted, tested in ((half, ~half), (~half, half)):
        counts = np.zeros((place.max() + 1, classes))
        np.add.at(counts, (place[fitted], label[fitted]), 1)
        rate = counts / np.maximum(counts.sum(0), 1)
        given = np.where(rate.sum(1) > 0, rate.argmax(1), -1)[place[tested]]
        share = rate.max(1) / np.maximum(rate.sum(1), 1e-300)
        right[tested], sure[tested] = given == label[tested], share[place[tested]]
        p = min(p, 2 * _permuted_p(given, label[tested], classes))
    accuracy = np.mean([right[label == each].mean() for each in range(classes)])
    return Guess(float(accuracy), min(p, 1.0), right, sure)


def _binned(attribute: Attribute, most: int) -> np.ndarray:
    """``(n,)`` codes: at most ``most`` of numbers; of categories the rare ones together."""
    distinct, codes, counts = np.unique(attribute.values, return_inverse=True, return_counts=True)
    if len(distinct) <= most:
        return np.asarray(codes)
    if attribute.categories:
        rank = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
        return np.asarray(np.minimum(rank, most - 1)[codes])
    edges = np.unique(np.quantile(attribute.values, np.arange(1, most) / most))
    return np.searchsorted(edges, attribute.values, side="right")


def _permuted_p(given: np.ndarray, label: np.ndarray, classes: int) -> float:
    """P(sum of 1 / (size of its class) of the records guessed right is as large), labels permuted."""
    n, sizes = len(label), np.bincount(label, minlength=classes)
    weight = 1 / np.maximum(sizes, 1)
    # a(i, j) = weight of j's class where i's guess is it: rows are one of C + 1 kinds, columns one of C.
    kinds = np.bincount(given + 1, minlength=classes + 1)
    a = np.vstack([np.zeros(classes), np.diag(weight)])
    by_row, by_column = a @ sizes / n, kinds @ a / n
    centred = a - by_row[:, None] - by_column + kinds @ by_row / n
    variance = float(kinds @ np.square(centred) @ sizes) / max(n - 1, 1)
    if variance <= 0:
        return 1.0
    observed = weight[label[given == label]].sum()
    z = (observed - float(kinds @ by_row)) / math.sqrt(variance)
    return 0.5 * math.erfc(z / math.sqrt(2))


# -- attributes ---------------------------------------------------------------------------------------


def placed(scores: pa.Table) -> list[Attribute]:
    """The order of the source, of audits of one split."""
    if set(scores["split"].to_pylist()) - {TRAIN, HELD_OUT}:
        return []  # each split of a source has an order of its own
    return [Attribute("place in the source", "order", scores["index"].to_numpy())]


def _recorded(
    folder: AuditFolder, manifest: Manifest, rows: np.ndarray, label: np.ndarray
) -> list[Attribute]:
    """Of what the review shows of the records."""
    if not (folder.path / "items.arrow").is_file():
        return []
    items = folder.items()[1].take(rows)
    found = named(items["name"].to_pylist(), label, manifest.data.classes)
    if manifest.data.kind == "images" and not items["picture"].null_count:
        with reading(folder.path / "items.arrow", "an Arrow file of pictures", REMEDY):
            found += pictured([value.as_py() for value in items["picture"]])
    if manifest.data.kind == "texts" and not items["row"].null_count:
        found += written(["\n".join(folder.row(text).values()) for text in items["row"].to_pylist()])
    return found


def named(names: list[str], label: np.ndarray, classes: tuple[str, ...]) -> list[Attribute]:
    """Of files' names: folder, beginning up to the first digit, type; without a folder that is the class."""
    parts = [name.replace("\\", "/").split("/") for name in names]
    if classes and all(each[0] == classes[code] for each, code in zip(parts, label.tolist(), strict=True)):
        parts = [each[1:] or [""] for each in parts]
    found = {
        "folder of the file": ["/".join(each[:-1]) for each in parts],
        "beginning of the file's name": [re.match(r"\D*", each[-1])[0] for each in parts],  # type: ignore[index]
        "type of the file": [each[-1].rpartition(".")[2].lower() for each in parts],
    }
    return [
        Attribute(name, "name", np.unique(values, return_inverse=True)[1], True)
        for name, values in found.items()
        if 1 < len(set(values)) <= len(values) // _IN_BIN
    ]


def pictured(pictures: list[bytes]) -> list[Attribute]:
    """Of pictures: brightness, contrast, colours, border, bytes."""
    image = require("PIL.Image", "images")
    names = (
        "brightness", "contrast", "red", "green", "blue", "brightness of the border",
        "contrast of the border", "bytes as PNG",
    )  # fmt: skip
    values = np.empty((len(pictures), len(names)))
    for i, content in enumerate(pictures):
        pixels = np.asarray(image.open(io.BytesIO(content)).convert("RGB"), dtype=np.float32)
        grey, colour = pixels.mean(2), pixels.mean((0, 1))
        border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
        share = colour / max(float(colour.sum()), 1.0)
        values[i] = (grey.mean(), grey.std(), *share, border.mean(), border.std(), len(content))
    return [Attribute(name, "picture", column) for name, column in zip(names, values.T, strict=True)]


def written(texts: list[str]) -> list[Attribute]:
    """Of texts: length, and shares of kinds of characters."""
    kinds: dict[str, Callable[[str], bool]] = {
        "capitals": str.isupper,
        "digits": str.isdigit,
        "characters beyond ASCII": lambda character: character > "\x7f",
        "line breaks": lambda character: character == "\n",
    }
    found = [Attribute("length", "text", np.array([len(text) for text in texts], dtype=np.float64))]
    starts = [text[:1_000] for text in texts]
    for name, belongs in kinds.items():
        shares = [sum(map(belongs, text)) / max(len(text), 1) for text in starts]
        found.append(Attribute(f"share of {name}", "text", np.array(shares)))
    return found


def sampled_table(folder: AuditFolder, manifest: Manifest, rows: np.ndarray) -> Table | None:
    """The inputs of these records of a table; None of other audits, and where the folder keeps none."""
    place = inputs_file(folder)
    if place is None or len(rows) < 2:
        return None
    inputs = map_tensor(*place, sum(manifest.data.ranked.values()))
    if inputs is None or inputs.shape[1] != len(manifest.data.columns):
        return None
    return Table(np.asarray(inputs[rows]), np.zeros(len(rows)), manifest.data.columns)


def _values(table: Table, name: str) -> tuple[np.ndarray, bool]:
    values, categories = table.column(name, table.inputs)
    return values, bool(categories)


# -- findings -----------------------------------------------------------------------------------------


def _columns(table: Table) -> list[Finding]:
    """Columns that say nothing, and those that number the records."""
    constant, numbering = [], []
    for name in table.source:
        values, categories = _values(table, name)
        if not np.ptp(values):
            constant.append(name)
        elif not categories and len(values) >= _FEWEST and numbers_the_records(values):
            numbering.append(name)
    nobody = np.zeros(0, dtype=np.int64)
    found = []
    if constant:
        said = f"{_listed(constant)} {'has' if len(constant) == 1 else 'have'} one value in all records"
        found.append(
            Finding(
                "columns of one value", said, "low", {"columns": len(constant)}, nobody,
                "leave them out, or see why they were not filled in",
            )
        )  # fmt: skip
    if numbering:
        found.append(
            Finding(
                "columns that number the records",
                f"{_listed(numbering)}: every value once, at equal steps, as numbers of records are",
                "medium", {"columns": len(numbering)}, nobody,
                "leave them out: a model can know records by them, and new ones have other numbers",
            )
        )  # fmt: skip
    return found


def numbers_the_records(values: np.ndarray) -> bool:
    """Every value once, at equal steps."""
    steps = np.diff(np.sort(values))
    return bool(steps.any() and (steps == steps[0]).all())


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return f"column{'s' if len(names) > 1 else ''} {', '.join(names[:5])}{more}"


def _skill_of_model(manifest: Manifest, scores: pa.Table, label: np.ndarray) -> float:
    """On records that it was not trained on, where there are enough; 1 where not known."""
    if not manifest.data.classes:
        return 1.0
    right, split = scores["margin"].to_numpy() > 0, np.array(scores["split"].to_pylist())
    others = split != TRAIN if (split != TRAIN).sum() >= _FEWEST else np.ones(len(split), dtype=bool)
    present = np.unique(label[others])
    accuracy = np.mean([right[others & (label == each)].mean() for each in present])
    return max(skill(float(accuracy), len(present)), 1e-3)


def _finding(
    attribute: Attribute, guessed: Guess, label: np.ndarray, model: float, rows: np.ndarray, tried: int
) -> Finding | None:
    """None where the effect is too small to matter."""
    classes = len(np.unique(label))
    reached = skill(guessed.accuracy, classes)
    changes = np.count_nonzero(np.diff(label[np.argsort(attribute.values, kind="stable")]))
    judged = _judged(attribute, reached, reached / model, in_blocks=bool(changes < classes))
    if judged is None:
        return None
    severity, name, meaning, remedy = judged
    telling = np.flatnonzero(guessed.right)
    telling = telling[np.argsort(-guessed.sure[telling], kind="stable")]
    return Finding(
        name=name,
        sentence=f"by {attribute.name} alone the label is guessed right in {guessed.accuracy:.0%} of the"
        f" records, averaged over the classes; by chance in {1 / classes:.0%}: {meaning}",
        severity=severity,
        evidence={
            "balanced_accuracy": guessed.accuracy,
            "by_chance": 1 / classes,
            "skill": reached,
            "share_of_model": reached / model,
            "p": guessed.p,
            "tried": tried,
        },
        index=rows[telling].astype(np.int64),
        remedy=remedy,
    )


def _judged(
    attribute: Attribute, reached: float, share: float, *, in_blocks: bool
) -> tuple[Severity, str, str, str] | None:
    """Severity, name, what it means and what to do; None where it does not matter. ``in_blocks``: all
    records of a class follow each other."""
    if attribute.kind == "order":
        if reached < _LEAST:
            return None
        if in_blocks or reached >= _SORTED:
            return (
                "low", "sorted by label", "the source is sorted by label, which is usual and harmless here",
                "shuffle before anything is read in order or split by place; swaypoint splits at random",
            )  # fmt: skip
        return (
            "low", "labels depend on the order", "neighbours in the source are not independent of each other",
            "see what changes along it (time, place, annotator), and hold out whole stretches of it",
        )  # fmt: skip
    if attribute.kind == "column":
        if reached < _GIVEN_AWAY:
            return None
        return (
            "high" if reached >= _CERTAIN else "medium", f"column {attribute.name} gives the label away",
            "it may be a copy of the label, or be known only after it",
            "see whether it is known when a prediction is needed; if not, leave it out",
        )  # fmt: skip
    if share < _MEDIUM or reached < _LEAST:
        return None
    if attribute.kind == "name":
        same = reached >= _CERTAIN
        meaning = "names follow the labels" if same else "records of one class come from other sources"
        return (
            "low" if same else "medium", f"{attribute.name} tells the label", meaning,
            "see whether the sources differ in more than the class: camera, background, annotator",
        )  # fmt: skip
    return (
        "high" if share >= _HIGH else "medium", f"{attribute.name} tells the label",
        f"{share:.0%} of the model's skill, and it may use nothing else",
        "balance it between the classes, or change it at random in training; measure on records without it",
    )  # fmt: skip


findings.register("shortcuts", find_shortcuts)
