"""The pages about a review as a whole: how far it is, and what it says of the classes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from swaypoint.report import charts
from swaypoint.review.log.agreement import Kappa, cohen, fleiss
from swaypoint.review.log.progress import Progress, Yield, confusion, progress, yield_curve
from swaypoint.review.log.remaining import Counts, counts
from swaypoint.review.log.statement import SAMPLE, advice, explained
from swaypoint.review.log.verdicts import WRONG, Review
from swaypoint.review.page.desk import Desk
from swaypoint.review.page.query import Query

_MATRIX = 14
_PAIRS = 40
_AGREEING = 6


@dataclass(frozen=True)
class Agreement:
    """Of two reviewers, or of all together; ``kappa`` is None where it is not defined."""

    who: str
    items: int
    observed: float
    kappa: float | None


@dataclass(frozen=True)
class ProgressPage:
    """How far the review is.

    Attributes:
        chart: the yield as SVG; empty before the first decision.
        decided: points of the queue with a final verdict.
        last_50, last_200: share of wrong ones among the queue's last so many.
        advice: when to stop.
        number: how many points are wrong in all; ``explained``: how that is known, sentences.
        sample: the address of the random sample.
        sampled: points of the sample there, and how many of them were looked at; None before it is drawn.
        reviewers: name and number of points with a verdict that stands.
    """

    counts: Progress
    wrong: int
    chart: str
    decided: int
    last_50: float | None
    last_200: float | None
    advice: str
    number: Counts
    explained: tuple[str, ...]
    sample: str
    sampled: tuple[int, int] | None
    reviewers: tuple[tuple[str, int], ...]
    agreement: tuple[Agreement, ...]


@dataclass(frozen=True)
class Pair:
    """Points with one label for which there is another: by the model, and by reviewers."""

    given: str
    other: str
    suggested: int
    validated: int


@dataclass(frozen=True)
class ClassRow:
    """One given class; ``suspects`` are its points with another suggestion."""

    name: str
    points: int
    suspects: int
    reviewed: int
    wrong: int


@dataclass(frozen=True)
class ClassesPage:
    """Given against suggested and validated labels.

    ``suggested`` and ``validated`` are (C, C) counts, rows by given label; None with many classes, where
    ``pairs`` (most frequent first) say it.
    """

    names: tuple[str, ...]
    rows: tuple[ClassRow, ...]
    pairs: tuple[Pair, ...]
    suggested: tuple[tuple[int, ...], ...] | None
    validated: tuple[tuple[int, ...], ...] | None


def progress_page(desk: Desk, review: Review) -> ProgressPage:
    items = desk.items
    done, curve = progress(items, review), yield_curve(items, review)
    number = counts(items, review, desk.checks)
    whole = number.whole
    # A sample goes on, three hundred more at a time: what was judged of it is its first part.
    size = min(SAMPLE * (whole.seen // SAMPLE + 1), whole.drawn)
    said = Counter(actor for item in review.reviewed() for actor in review.all_on(item))
    return ProgressPage(
        counts=done,
        wrong=done.wrong,
        chart=_chart(curve) if len(curve.decided) else "",
        decided=int(curve.decided[-1]) if len(curve.decided) else 0,
        last_50=float(curve.last_50[-1]) if len(curve.decided) else None,
        last_200=float(curve.last_200[-1]) if len(curve.decided) else None,
        advice=advice(whole, curve),
        # Against one other, that would be what they said.
        number=replace(number, shared=()) if desk.blind else number,
        explained=tuple(explained(number, review)),
        sample=Query(sample=size or SAMPLE).address(),
        sampled=(size, whole.seen) if whole.drawn else None,
        reviewers=tuple(said.most_common()),
        agreement=_agreement(review),
    )


def _agreement(review: Review) -> tuple[Agreement, ...]:
    actors = review.actors[:_AGREEING]
    found = [
        _agreed(f"{one} and {other}", cohen(review, one, other)) for one, other in combinations(actors, 2)
    ]
    if len(review.actors) > 2:
        found.append(_agreed("all together", fleiss(review)))
    return tuple(one for one in found if one.items)


def _agreed(who: str, kappa: Kappa) -> Agreement:
    value = kappa.value
    return Agreement(who, kappa.items, kappa.observed, None if value != value else value)


def _chart(curve: Yield) -> str:
    last = int(curve.decided[-1])
    step = next(base * 10**power for power in range(9) for base in (1, 2, 5) if last <= 6 * base * 10**power)
    ticks = [(float(v), f"{v:,}") for v in range(0, last + 1, step)]
    x = charts.Axis("points decided", 0, max(last, 1), ticks)
    y = charts.Axis("wrong among the last", 0, 1, [(i / 4, f"{25 * i} %") for i in range(5)])
    decided = curve.decided.astype(float)
    curves = [
        charts.Line("last 50", "curve cook", decided, curve.last_50),
        charts.Line("last 200", "curve loss", decided, curve.last_200),
    ]
    return charts.lines(curves, x, y, title="Share of wrong points among the last decisions", falling=True)


def classes_page(desk: Desk, review: Review) -> ClassesPage:
    items = desk.items
    if not items.classes:
        return ClassesPage((), (), (), None, None)
    k = len(items.classes)
    label, other = (items.scores[name].astype(np.int64) for name in ("label", "suggested_label"))
    if desk.blind:  # as if the model agreed with all
        other = label
    suggested, validated = _table(label, other, k), confusion(items, review)
    unknown = validated.unknown
    reviewed, wrong = Counter[int](), Counter[int]()
    for item in review.reviewed():
        position, decision = items.position(item), review.decision(item)
        if position is not None:
            reviewed[int(label[position])] += 1
            wrong[int(label[position])] += decision is not None and decision.verdict in WRONG
    counts = validated.counts
    suspects = suggested.sum(1) - suggested.diagonal()
    rows = [
        ClassRow(name, int(suggested[c].sum()), int(suspects[c]), reviewed[c], wrong[c])
        for c, name in enumerate(items.classes)
    ]
    small = k <= _MATRIX
    return ClassesPage(
        items.classes,
        tuple(sorted(rows, key=lambda row: (-row.wrong, -row.suspects))[:200]),
        _pairs(items.classes, suggested, counts),
        _nested(suggested) if small and not desk.blind else None,
        _nested(counts) if small and (counts.any() or unknown.any()) else None,
    )


def _table(rows: np.ndarray, columns: np.ndarray, k: int) -> np.ndarray:
    return np.bincount(rows * k + columns, minlength=k * k).reshape(k, k)


def _nested(table: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())


def _pairs(names: tuple[str, ...], suggested: np.ndarray, validated: np.ndarray) -> tuple[Pair, ...]:
    apart = 1 - np.eye(len(names), dtype=np.int64)
    weight = apart * (suggested + validated)
    order = np.argsort(-weight, axis=None, kind="stable")[:_PAIRS]
    places = [divmod(int(at), len(names)) for at in order]
    return tuple(
        Pair(names[g], names[o], int(suggested[g, o]), int(validated[g, o]))
        for g, o in places
        if weight[g, o]
    )
