"""How far reviewers agree beyond chance, and where they differ.

Their categories are verdicts, of mislabeled points with the label, as in :meth:`Decision.same`; a skip is
no decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from swaypoint.errors import InputError
from swaypoint.review.log.verdicts import Decision, Review

Category = tuple[str, str | None]


@dataclass(frozen=True)
class Kappa:
    """Agreement on ``items`` points.

    Attributes:
        observed: the mean share of pairs of decisions on a point that agree.
        expected: that share by chance.
    """

    items: int
    observed: float
    expected: float

    @property
    def value(self) -> float:
        """(observed - expected) / (1 - expected): 1 for full agreement, 0 for chance. NaN without points,
        or where everyone said the same of all, so that chance agrees too."""
        if self.items == 0 or self.expected == 1.0:
            return float("nan")
        return (self.observed - self.expected) / (1.0 - self.expected)


def cohen(review: Review, one: str, other: str) -> Kappa:
    """Cohen's kappa (1960) of two reviewers on the points that both decided; by chance, each keeps to the
    shares in which they use the categories.

    Raises:
        InputError: they are one.
    """
    if one == other:
        raise InputError(f"agreement of {one!r} with themselves; expected two reviewers")
    pairs = [(own[one], own[other]) for own in _decided(review) if one in own and other in own]
    n = max(len(pairs), 1)
    ours, theirs = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    observed = sum(a == b for a, b in pairs) / n
    return Kappa(len(pairs), observed, sum(ours[c] * theirs[c] for c in ours) / n**2)


def fleiss(review: Review, actors: Collection[str] = (), *, complete: bool = False) -> Kappa:
    """Fleiss' kappa (1971) of several reviewers; by chance, all keep to the same shares of the categories.

    Of the n_i decisions on point i, n_ij are of category j; observed is the mean over the points of
    sum_j n_ij (n_ij - 1) / (n_i (n_i - 1)), expected is sum_j p_j^2 with p_j the category's share of all
    decisions. Fleiss has the same n_i for every point, as has ``complete``; else n_i differs, and each
    point weighs the same in observed.

    Args:
        actors: whose decisions count; () for everyone's.
        complete: only the points that all of them decided, not those that two or more did.
    """
    chosen = set(actors or review.actors)
    least = max(2, len(chosen)) if complete else 2
    own = [{a: c for a, c in decided.items() if a in chosen} for decided in _decided(review)]
    tables = [Counter(decided.values()) for decided in own if len(decided) >= least]
    pooled: Counter[Category] = Counter()
    for table in tables:
        pooled.update(table)
    observed = sum(
        sum(count * (count - 1) for count in table.values()) / (table.total() * (table.total() - 1))
        for table in tables
    )
    expected = sum((count / pooled.total()) ** 2 for count in pooled.values())
    return Kappa(len(tables), observed / max(len(tables), 1), expected)


def _decided(review: Review) -> list[dict[str, Category]]:
    """Category by actor, of each point that anyone has reviewed."""
    return [
        {actor: (d.verdict, d.label) for actor, d in review.all_on(item).items() if d.final}
        for item in review.reviewed()
    ]


@dataclass(frozen=True)
class Conflict:
    """Decisions on a point that differ, skips left out."""

    item: str
    decisions: dict[str, Decision]


def conflicts(review: Review) -> list[Conflict]:
    """Points on which reviewers differ and nobody has settled it, in the order they were first reviewed."""
    return [
        Conflict(item, {actor: d for actor, d in review.all_on(item).items() if d.final})
        for item in review.reviewed()
        if review.conflict(item)
    ]
