"""What an audit says of itself: ``manifest.json``, typed. The types are also the shape that is checked."""

from __future__ import annotations

import types
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from swaypoint.errors import InputError
from swaypoint.folder.documents import REMEDY, misfit, read_json

Verdict = Literal["fit", "caution", "unfit"]
RankedBy = Literal["cooks_distance", "models", "auto"]
TRAIN, HELD_OUT, TEST = "train", "held_out", "test"
"""Splits: the points that the model was trained on, those that were kept back from it, and those of a second
source; others have the name that their source gives them."""
OUT_OF_FOLD = "out_of_fold"
"""Of points trained on, by the model that is trained without their fold."""
_ORDERS = ("cook", "loss", "random")
_MODEL = {"name": str, "epochs": (int, None), **dict.fromkeys(("transform", "layer"), (str, None))}
ARGUMENTS = {"seed": int, "flip": float, "model": _MODEL, "objective": {"loss": str, "l2": (float, None)}}
"""What is read again of the options of an audit."""
FOUND = {"inspected": float, "hits": dict.fromkeys(_ORDERS, int), **dict.fromkeys(_ORDERS, float)}
"""A row of the planted errors found: of each order the share, and under ``hits`` the count."""


def ranking_column(ranked_by: RankedBy) -> str:
    """The column of the scores that ``ranked_by`` names."""
    return "cook" if ranked_by == "cooks_distance" else ranked_by


@dataclass(frozen=True)
class SkippedRecord:
    """A record that could not be used, as :class:`swaypoint.data.dataset.Skipped`."""

    where: str
    reason: str


@dataclass(frozen=True)
class AuditedData:
    """What was audited.

    Attributes:
        train, validation: how many points were trained on, and how many not.
        splits: of the ranked points how many are of each split; None: an older audit, which ranked those
            trained on alone.
        fingerprint: of the content, or of the stamps of files larger than memory.
        points: of the source; those that could not be used included where it is streamed.
        origin: ``path`` and ``read``, what it takes to read the source again; None of data in memory.
        left_out, read: of a streamed audit how many bad records it left out, and how it read the others.
        treatments: column of a table -> what was done to it, as :class:`swaypoint.data.dataset.Dataset`.
        of: how many records the source has, where a sample of them was audited, a first look.
    """

    name: str
    kind: Literal["images", "rows", "features", "texts"]
    train: int
    validation: int
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    fingerprint: str
    skipped: tuple[SkippedRecord, ...]
    points: int = 0
    origin: dict[str, Any] | None = None
    left_out: int = 0
    read: dict[str, Any] | None = None
    treatments: dict[str, Any] | None = None
    splits: dict[str, Any] | None = None
    of: int | None = None

    @property
    def ranked(self) -> dict[str, int]:
        """How many points are ranked, by split, the trained ones first."""
        return {TRAIN: self.train} if self.splits is None else dict(self.splits)


@dataclass(frozen=True)
class Accuracy:
    """Of the head on the points trained on and on all others; None without classes or such points.

    Attributes:
        splits: on those of each split that it was not trained on; None: an older audit.

    Of K models, each without one fold: ``train`` is the mean on the points that each was trained on, and
    ``validation``, also under :data:`OUT_OF_FOLD`, that on each fold of the model without it.
    """

    train: float | None
    validation: float | None
    splits: dict[str, Any] | None = None

    def by_split(self) -> dict[str, float]:
        """Of every split of which it is known, the one trained on first."""
        others = {HELD_OUT: self.validation} if self.splits is None else self.splits
        return {name: share for name, share in {TRAIN: self.train, **others}.items() if share is not None}


@dataclass(frozen=True)
class Goodness:
    """Of a regression on some points: R^2 against the mean of these targets, and the root of the mean squared
    residual."""

    r_squared: float
    rmse: float


@dataclass(frozen=True)
class RegressionFit:
    """Of a head of one real output on the points trained on and on those held out, None without such.

    Attributes:
        scale: root of the residuals' dispersion; ``parameters``: rank of the features.
    """

    train: Goodness
    validation: Goodness | None
    scale: float
    parameters: int


@dataclass(frozen=True)
class AuditedModel:
    """The model whose last layer was scored; see :func:`swaypoint.cooks_distance` for the options.

    Attributes:
        folds: so many were trained, each without one fold of the points, and the scores are by all of them;
            None: one, with all.
    """

    name: str
    hash: str | None
    layer: str
    outputs: int
    features: int
    loss: str
    l2: float
    damping: float
    accuracy: Accuracy
    params: tuple[str, ...] | None = None
    curvature: str = "ggn"
    removal: str = "infinitesimal"
    refit: bool = False
    regression: RegressionFit | None = None
    folds: int | None = None


@dataclass(frozen=True)
class CheckResult:
    """As :class:`swaypoint.scoring.fitness.Check`."""

    name: str
    value: str
    verdict: Verdict
    meaning: str
    remedy: str


@dataclass(frozen=True)
class Fitness:
    """As :class:`swaypoint.scoring.fitness.Diagnostics`."""

    verdict: Verdict
    solver: str
    precision: str
    outcome: str
    estimated_error: float
    checks: tuple[CheckResult, ...]
    refit: str = ""


@dataclass(frozen=True)
class Planted:
    """The self-test: wrong labels that were planted, and how many of them stand first.

    Attributes:
        share, seed: as asked for.
        in_training: how many are among the points trained on.
        found: rows of :data:`FOUND`, and of the order that ranks; ``by_split`` has the counts of each split.
        planted: how many in all.
        by_split: how many are among the ranked points of each split; None: an older audit, which ranked those
            trained on alone.
    """

    share: float
    seed: int
    in_training: int
    found: tuple[dict[str, Any], ...]
    planted: int = 0
    by_split: dict[str, Any] | None = None

    @property
    def ranked(self) -> dict[str, int]:
        """How many are ranked, by split."""
        return {TRAIN: self.in_training} if self.by_split is None else dict(self.by_split)


@dataclass(frozen=True)
class StreamedScores:
    """Of an audit of data larger than memory: points trained on, their mean leverage, files of scores."""

    points: int
    leverage: float
    parts: int


@dataclass(frozen=True)
class SecondModel:
    """A model that gives no influence, whose probabilities stand beside those of the one that does.

    Attributes:
        accuracy: on points that it has not seen; None where there were none.
        together: whether it and the first say how many labels are wrong; else it alone does.
    """

    name: str
    accuracy: float | None
    together: bool = False


@dataclass(frozen=True)
class Suspected:
    """How many labels are wrong by the model's own estimate, which is no bound.

    Attributes:
        expected: the sum of the points' probabilities of being wrong; ``by_class``: by given class.
        first: so many points, of largest recommended score, hold nine in ten of them; ``precision``: the mean
            probability of being wrong there.
        believed, evidence: of the noise channel, see :class:`swaypoint.WrongLabels`.
        counts, sums: points, and their summed probability of being wrong, by that probability in bins of
            equal width; ``planted``: how many of them were planted wrong, () where none were.
        second: what else the probabilities are by; what ranks, see docs/tables.md and docs/texts.md.
    """

    expected: float
    by_class: tuple[float, ...]
    first: int
    precision: float
    believed: bool
    evidence: float
    counts: tuple[int, ...]
    sums: tuple[float, ...]
    planted: tuple[int, ...] = ()
    second: SecondModel | None = None


@dataclass(frozen=True)
class Manifest:
    """What a finished audit says of itself.

    Attributes:
        swaypoint: the version that made it.
        key: of data and options: the same audit has the same.
        created: when, ISO 8601 in UTC.
        arguments: the options as given, see :data:`ARGUMENTS`.
        timings: seconds of each stage.
        ranked_by: the score that ranks.
        suspected: of a classification; None of others, and of older audits.
        device: what it was computed on, in words; None: an older audit.
    """

    swaypoint: str
    key: str
    created: str
    data: AuditedData
    arguments: dict[str, Any]
    model: AuditedModel
    diagnostics: Fitness
    timings: dict[str, Any]
    versions: dict[str, Any]
    ranked_by: RankedBy
    flipped: Planted | None
    streamed: StreamedScores | None = None
    suspected: Suspected | None = None
    device: str | None = None

    def mean_leverage(self, leverage: Any, split: Any) -> float:
        """Of all points trained on; of those that the folder holds ``leverage`` and ``split`` are given,
        (m,) each."""
        mean = leverage[split == TRAIN].mean() if self.streamed is None else self.streamed.leverage
        return max(float(mean), 1e-300)


def read_manifest(file: Path) -> Manifest:
    """The manifest of a finished audit.

    Raises:
        InputError: it cannot be read, lacks what an audit writes, or the audit did not finish.
    """
    stored: dict[str, Any] = read_json(file, {"status": str}, REMEDY)
    if stored["status"] != "complete":
        raise InputError(
            f"the audit in {file.parent} was interrupted during {stored['status'][:60]!r};"
            " run the same `swaypoint audit` command again to resume it"
        )
    stored = _completed(Manifest, stored)
    shape = _shape(Manifest) | {"arguments": ARGUMENTS}
    problem = misfit(stored, shape)
    if problem is None and stored["flipped"] is not None:
        problem = misfit(stored["flipped"]["found"], [FOUND])
    if problem is not None:
        raise InputError(f"{file}: {problem}; {REMEDY}")
    return _built(Manifest, stored)


def stored(value: Any) -> Any:
    """A part of a manifest as JSON has it."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _completed(cls: Any, value: Any) -> Any:
    """``value`` with the defaults of what older audits lack."""
    if not isinstance(value, dict):
        return value
    hints = _hints(cls)
    found = {f.name: f.default for f in fields(cls) if f.default is not MISSING} | value
    return found | {
        f.name: _completed(inner, found[f.name])
        for f in fields(cls)
        if f.name in found and (inner := _inner(hints[f.name])) is not None
    }


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _inner(hint: Any) -> Any:
    """The dataclass of a field that is one, or may be one."""
    return next((kind for kind in (hint, *get_args(hint)) if _is_record(kind)), None)


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind)


@cache
def _shape(hint: Any) -> Any:
    """The shape, see :func:`~swaypoint.folder.documents.misfit`, of a type."""
    if _is_record(hint):
        hints = _hints(hint)
        return {f.name: _shape(hints[f.name]) for f in fields(hint)}
    origin, of = get_origin(hint), get_args(hint)
    if origin is Literal:
        return set(of)
    if origin in (Union, types.UnionType):
        return tuple(_shape(kind) for kind in of)
    if origin is tuple:
        return [_shape(of[0])]
    if origin is dict:
        return {}
    return None if hint is type(None) else hint


def _built(hint: Any, value: Any) -> Any:
    """``value``, which has the shape of ``hint``, as an instance of it."""
    if _is_record(hint):
        hints = _hints(hint)
        return hint(**{f.name: _built(hints[f.name], value[f.name]) for f in fields(hint)})
    origin, of = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in of if misfit(value, _shape(kind)) is None]
        return _built(kinds[0], value)
    return tuple(_built(of[0], part) for part in value) if origin is tuple else value
