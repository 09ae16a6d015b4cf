"""Is the cleaned dataset better? Models retrained on both, on the same seeds, measured on the same points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from swaypoint.auditing.run import Listener
from swaypoint.data.dataset import Dataset, ReadOptions, fingerprint
from swaypoint.data.hardware import AUTO, device_of
from swaypoint.data.readers.sources import read_dataset
from swaypoint.errors import InputError
from swaypoint.models.predictor import ModelOptions, Objective, Predictor, Rows, Training, prepare
from swaypoint.models.pretrained.base import is_pretrained
from swaypoint.review.cleaning.policy import Policy, clean
from swaypoint.review.cleaning.source import Source, origin
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import WRONG, Event, Review
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.refit import refit_head
from swaypoint.scoring.regression import predicted
from swaypoint.scoring.risks.head import LinearHeadRisk

_DRAWS = 2000
_FLIPS = 10_000
_LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return not self.low <= 0.0 <= self.high


@dataclass(frozen=True)
class Group:
    """All points, or one class: accuracy (of a regression R^2) before and after, and what it gained."""

    name: str
    points: int
    original: Interval
    cleaned: Interval
    gain: Interval


@dataclass(frozen=True)
class Comparison:
    """Two training sets, judged on the same points.

    Attributes:
        overall, classes: see :class:`Group`; ``classes`` by the points' labels.
        p: of the hypothesis that either training set serves a point equally well, two-sided, for these
            seeds: unlike the intervals it does not count that other seeds give other models.
        seeds: models trained on each set.
        original_points, cleaned_points, relabeled: sizes of the two sets, and labels that changed.
        measure: what was measured.
        rmse: of a regression before and after, the root of the squared residuals' mean over seeds.
        altered: labels of the measured points that the cleaning altered, or points that it left out, by
            verdicts or by what findings say; here these count as they were given.
        on_cleaned: the same two training sets measured on what the cleaning made of these points; None where
            it altered none.
    """

    overall: Group
    classes: tuple[Group, ...]
    p: float
    seeds: int
    original_points: int
    cleaned_points: int
    relabeled: int
    measure: str = "accuracy"
    rmse: tuple[float, float] | None = None
    altered: int = 0
    on_cleaned: Comparison | None = None

    @property
    def outcome(self) -> str:
        """One sentence, or two."""
        if self.on_cleaned is None:
            return self._sentence
        return (
            f"{self._sentence}. The cleaning altered {self.altered:,} of the {self.overall.points:,} labels"
            " measured by: so far as they were given; on the cleaned ones"
            f" ({self.on_cleaned.overall.points:,} points) {self.on_cleaned._sentence}"
        )

    @property
    def _sentence(self) -> str:
        gain = self.overall.gain
        size = f"{100 * gain.mean:+.2f} points of {self.measure} (95 % interval {100 * gain.low:+.2f} to"
        size += f" {100 * gain.high:+.2f}; for these seeds alone p = {self.p:.2g})"
        if self.rmse is not None:
            size += f", RMSE {self.rmse[0]:.4g} to {self.rmse[1]:.4g}"
        if not gain.excludes_zero:
            return f"no difference beyond chance: {size}; more points to measure on would tell more"
        return f"the cleaned training set is {'better' if gain.mean > 0 else 'worse'}: {size}"


@dataclass(frozen=True)
class TrainingSet:
    """``rows`` of a dataset and a label for every record of it, ``(n,)``."""

    rows: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Workshop:
    """How models are trained, and where: a model that lies in ``folder`` is not trained again."""

    folder: Path
    model: ModelOptions
    objective: Objective
    device: str
    listener: Listener


@dataclass(frozen=True)
class Judged:
    """Of the points measured on, ``(m,)`` each: which are ``kept``, and the ``labels`` to measure by."""

    kept: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Trial:
    """An audit's training set as it was given, and what there is to measure on.

    Attributes:
        dataset: as audited.
        rows: the training points.
        measured, truth: rows to measure on, and labels ``(n,)`` to measure by.
        ranked: rows of the audit's items, in their order.
    """

    dataset: Dataset
    rows: np.ndarray
    measured: np.ndarray
    truth: np.ndarray
    shop: Workshop
    ranked: np.ndarray

    @property
    def measure(self) -> str:
        return "accuracy" if self.dataset.classes else "R²"

    @property
    def original(self) -> TrainingSet:
        return TrainingSet(self.rows, self.dataset.labels)

    def cleaned(
        self, items: Items, review: Review, policy: Policy, leaving: Iterable[int] = ()
    ) -> TrainingSet:
        """The training set after the decisions of ``review``, without the points ``leaving``."""
        after, labels = clean(items, review, policy, leaving), self.dataset.labels.copy()
        labels[self.ranked] = after.labels.astype(labels.dtype)
        return TrainingSet(np.setdiff1d(self.rows, self.ranked[~after.kept]), labels)

    def judged(self, items: Items, review: Review, policy: Policy, leaving: Iterable[int] = ()) -> Judged:
        """The measured points after the decisions of ``review``, without those ``leaving``."""
        after, truth = clean(items, review, policy, leaving), self.truth.copy()
        other = after.labels != items.scores["label"]
        truth[self.ranked[other]] = after.labels[other].astype(truth.dtype)
        kept = ~np.isin(self.measured, self.ranked[~after.kept])
        return Judged(kept, truth[self.measured])


def trial(
    items: Items,
    source: Source,
    *,
    test: str | Path | None = None,
    transform: str | None = None,
    device: str = AUTO,
    listener: Listener | None = None,
) -> Trial:
    """Measures on the points that the audit did not train on, by the labels before wrong ones were planted.

    Args:
        source: of the audit, read again.
        test: another dataset of the same form to measure on instead.
        transform: the audit's own, again: it is code, and a folder that somebody sent names none to run.

    Raises:
        InputError: ``test`` cannot be read, or is of another form; another transform.
    """
    arguments = items.manifest.arguments
    model = {name: arguments["model"][name] for name in ("name", "transform", "layer", "epochs")}
    if model["transform"] != transform:
        raise InputError(f"the audit's transform, code that would run, is {model['transform']}; say it again")
    shop = Workshop(
        items.folder.path / "compare",
        ModelOptions(**model),
        Objective(arguments["objective"]["loss"], arguments["objective"]["l2"]),
        device_of(device),
        listener or Listener(),
    )
    dataset, truth = source.dataset, source.given
    measured = np.setdiff1d(np.arange(len(dataset)), source.train)
    if test is not None:
        dataset, truth, measured = _with_test(dataset, truth, _read_test(items, test))
    return Trial(dataset, source.train, measured, truth, shop, source.ranked)


def _read_test(items: Items, test: str | Path) -> Dataset:
    read = origin(items)
    options = ReadOptions() if read is None else replace(read[1], limit=None, spread=False)
    return read_dataset(test, options=options)


def _with_test(dataset: Dataset, truth: np.ndarray, test: Dataset) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """``dataset`` with the points of ``test`` after its own, their labels in its classes."""
    for name, own, other in (
        ("classes", dataset.classes, test.classes),
        ("inputs", dataset.inputs.shape[1:], test.inputs.shape[1:]),
        ("columns", dataset.columns, test.columns),
    ):
        if own != other:
            raise InputError(f"{test.name} has other {name} than {dataset.name}: {other}, expected {own}")
    joined = replace(
        dataset,
        inputs=np.concatenate([dataset.inputs, test.inputs]),
        labels=np.concatenate([dataset.labels, test.labels]),
    )
    return joined, np.concatenate([truth, test.labels]), len(dataset) + np.arange(len(test))


def compare(
    trial: Trial, cleaned: TrainingSet, *, seeds: int = 5, judged: Judged | None = None
) -> Comparison:
    """Train ``seeds`` models on the audited training set and on ``cleaned``, and measure both, on the points
    as they were given; and, where that alters any, on those that are ``judged`` too.

    Raises:
        InputError: no points to measure on, or a model of the user's own.
    """
    _check(trial, seeds)
    arms: list[list[np.ndarray]] = [[], []]
    for seed in range(seeds):
        for arm, training, name in zip(arms, (trial.original, cleaned), ("as given", "cleaned"), strict=True):
            trial.shop.listener.stage(f"{name}, seed {seed + 1} of {seeds}")
            arm.append(_predictions(_predictor(trial, training, seed)))
    predicted = np.stack(arms)
    truth = trial.truth[trial.measured]
    found = _compared(trial, cleaned, predicted, truth)
    altered = 0 if judged is None else int((~judged.kept | (judged.labels != truth)).sum())
    if judged is None or not altered or not judged.kept.any():
        return replace(found, altered=altered)
    again = _compared(trial, cleaned, predicted[:, :, judged.kept], judged.labels[judged.kept])
    return replace(found, altered=altered, on_cleaned=again)


def _compared(trial: Trial, cleaned: TrainingSet, predicted: np.ndarray, truth: np.ndarray) -> Comparison:
    """Of the predictions of both arms, (2, seeds, m), by the labels ``truth`` (m,)."""
    before, after = _merits(trial, predicted, truth)
    classes = trial.dataset.classes
    groups = [
        _group(name, before[:, truth == c], after[:, truth == c])
        for c, name in enumerate(classes)
        if (truth == c).any()
    ]
    both = np.intersect1d(trial.rows, cleaned.rows)
    return Comparison(
        overall=_group("all", before, after),
        classes=tuple(groups),
        p=sign_flip_p((after - before).mean(0)),
        seeds=predicted.shape[1],
        original_points=len(trial.rows),
        cleaned_points=len(cleaned.rows),
        relabeled=int((trial.dataset.labels[both] != cleaned.labels[both]).sum()),
        measure=trial.measure,
        rmse=None if classes else (_rmse(before, truth), _rmse(after, truth)),
    )


def _rmse(merits: np.ndarray, truth: np.ndarray) -> float:
    return float((1.0 - merits.mean()) * truth.var()) ** 0.5


def merits(trial: Trial, training: TrainingSet, seed: int) -> np.ndarray:
    """What each measured point adds to the measure, whose value is their mean: of a classifier whether it is
    predicted rightly, of a regression 1 - e^2 / Var(truth), ``(m,)`` float64.

    Raises:
        InputError: as :func:`right`, or all values to measure by are the same.
    """
    found = _predictions(_predictor(trial, training, seed))
    return _merits(trial, found, trial.truth[trial.measured])


def _merits(trial: Trial, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Of predictions ``(..., m)``."""
    if trial.dataset.classes:
        return (predicted == truth).astype(np.float64)
    if not truth.var() > 0:
        raise InputError("the points to measure on all have the same value; R² needs some that differ")
    return np.asarray(1.0 - np.square(predicted - truth) / truth.var())


def right(trial: Trial, training: TrainingSet, seed: int) -> np.ndarray:
    """Which of the measured points the model trained on ``training`` predicts rightly: ``(m,)`` bool.

    Raises:
        InputError: the model is the user's own, of which no training is known.
    """
    found = _predictions(_predictor(trial, training, seed))
    return np.asarray(found == trial.truth[trial.measured])


def _predictor(trial: Trial, training: TrainingSet, seed: int) -> Predictor:
    """Trained on ``training``, unless it lies in the workshop.

    Raises:
        InputError: the model is the user's own, of which no training is known.
    """
    dataset, shop = trial.dataset, trial.shop
    if len(shop.model.each()) > 1:
        raise InputError(
            "compare trains one model, and this audit is of several; audit with one of them first"
        )
    if ":" in shop.model.name and not is_pretrained(shop.model.name):
        raise InputError(
            "compare trains swaypoint's own models, and this audit is of yours; export the cleaned data"
            " (swaypoint export), train on it with your own code, and measure both models"
        )
    rows = np.sort(training.rows)
    mark = fingerprint(dataset.inputs[rows], training.labels[rows], dataset.classes)
    folder = shop.folder / f"{mark[:16]}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    predictor = prepare(
        replace(dataset, labels=training.labels, fingerprint=mark),
        Rows(rows, trial.measured),
        shop.model,
        shop.objective,
        training=Training(folder, seed, shop.device, shop.listener.epoch),
    )
    (folder / "last.ckpt").unlink(missing_ok=True)
    return predictor


def _predictions(predictor: Predictor) -> np.ndarray:
    """Classes of the held-out points, or values, ``(m,)``."""
    head = predictor.head
    if predictor.fit:
        head = LinearHead(refit_head(head.weights, predictor.train).head)
    assert predictor.validation is not None
    if not head.weights.loss.classifies:
        return predicted(head.weights, predictor.validation)[0]
    found = []
    for chunk in LinearHeadRisk(head.weights, predictor.validation).chunks():
        assert chunk.terms.probabilities is not None  # there are classes
        found.append(chunk.terms.probabilities.argmax(1).cpu().numpy())
    return np.concatenate(found)


@dataclass(frozen=True)
class Cost:
    """What the review of the first ``inspected`` points finds, and the accuracy after it, or what the
    ``measure`` is."""

    inspected: int
    found: int
    accuracy: Interval
    measure: str = "accuracy"


def cost_curve(
    trial: Trial, items: Items, events: Sequence[Event], counts: Sequence[int], *, seeds: int = 3
) -> list[Cost]:
    """Accuracy after the first ``counts`` of ``events``, a decision on another point each.

    Raises:
        InputError: as :func:`compare`.
    """
    _check(trial, seeds)
    curve = []
    for count in counts:
        review = Review(items.run, (replace(event, seq=i) for i, event in enumerate(events[:count], start=1)))
        found = sum(event.decision is not None and event.decision.verdict in WRONG for event in review.events)
        training, hits = trial.cleaned(items, review, "relabel"), []
        for seed in range(seeds):
            trial.shop.listener.stage(f"{count:,} inspected, seed {seed + 1} of {seeds}")
            hits.append(merits(trial, training, seed))
        values = np.stack(hits)
        interval = Interval(float(values.mean()), *bootstrap([values])[0])
        curve.append(Cost(count, found, interval, trial.measure))
    return curve


def _check(trial: Trial, seeds: int) -> None:
    if len(trial.measured) == 0:
        raise InputError("there are no points to measure on: audit with --validation above 0, or give --test")
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; expected at least 1")


def _group(name: str, before: np.ndarray, after: np.ndarray) -> Group:
    low_high = bootstrap([before, after, after - before])
    intervals = [
        Interval(float(values.mean()), low, high)
        for values, (low, high) in zip((before, after, after - before), low_high, strict=True)
    ]
    return Group(name, before.shape[1], *intervals)


def bootstrap(arms: Sequence[np.ndarray], *, draws: int = _DRAWS, seed: int = 0) -> list[tuple[float, float]]:
    """95 % percentile intervals of the means of ``(seeds, m)`` arrays, seeds and points both drawn anew
    (Owen, 2007, the pigeonhole bootstrap), the same draws for all arrays."""
    generator = np.random.default_rng(seed)
    seeds, points = arms[0].shape
    means: list[list[np.ndarray]] = [[] for _ in arms]
    for start in range(0, draws, 100):
        count = min(100, draws - start)
        by_seed = generator.multinomial(seeds, np.full(seeds, 1 / seeds), count) / seeds
        by_point = generator.multinomial(points, np.full(points, 1 / points), count) / points
        for arm, found in zip(arms, means, strict=True):
            found.append(np.einsum("bm,bm->b", by_seed @ arm, by_point))
    tails = [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]
    quantiles = [np.quantile(np.concatenate(found), tails) for found in means]
    return [(float(low), float(high)) for low, high in quantiles]


def sign_flip_p(differences: np.ndarray, *, draws: int = _FLIPS, seed: int = 0) -> float:
    """Two-sided p-value of mean zero when each paired difference is as likely as its negative (Fisher,
    1935): exact up to the number of random sign flips.

    >>> sign_flip_p(np.zeros(5))
    1.0
    """
    differences = differences[differences != 0]
    if len(differences) == 0:
        return 1.0
    generator, reached = np.random.default_rng(seed), 0
    observed = abs(float(differences.sum())) * (1 - 1e-12)
    for start in range(0, draws, 500):
        signs = generator.integers(0, 2, (min(500, draws - start), len(differences))) * 2 - 1
        reached += int((np.abs(signs @ differences) >= observed).sum())
    return (reached + 1) / (draws + 1)
