"""Why a point stands where it does: its influence, and what sets it apart from the other points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from swaypoint.review.items import Items, Related
from swaypoint.scoring.kinds import BOUNDARY, OUTLIER, SPARSE

VOTING = 10
"""Nearest neighbours that count."""
APART = 0.75
"""From which quarter of the points on a trait sets one apart."""


@dataclass(frozen=True)
class Reason:
    """In words, and as a bar, 0..1: of a trait the share of the points that have less of it."""

    name: str
    words: str
    share: float


@dataclass(frozen=True)
class _Trait:
    """The values of all points, in ascending order, those that are none last: to be looked at once for all of
    a million points, and not once for each."""

    ascending: np.ndarray
    numbers: int

    def below(self, value: float) -> float:
        """Share of the points that have less."""
        return float(np.searchsorted(self.ascending, value) / len(self.ascending))

    def above(self, value: float) -> float:
        """Share of the points that have more."""
        up_to = np.searchsorted(self.ascending, value, side="right")
        return float((self.numbers - up_to) / len(self.ascending))

    @cached_property
    def median(self) -> float:
        """Of the finite ones; not a number where there are none."""
        finite = self.ascending[np.isfinite(self.ascending)]
        return float(np.median(finite)) if len(finite) else float("nan")

    @cached_property
    def total(self) -> float:
        """Of the finite ones."""
        return float(self.ascending[np.isfinite(self.ascending)].sum())


@lru_cache(maxsize=32)
def _trait(items: Items, name: str) -> _Trait:
    values = items.leverage if name == "leverage" else items.scores[name]
    ascending = np.sort(values)
    return _Trait(ascending, int(np.count_nonzero(~np.isnan(ascending))))


def reasons(items: Items, position: int, near: Related, *, hidden: bool) -> tuple[Reason, ...]:
    """The point's influence against that of others, and then what it comes from.

    Of label or boundary and sparse region, the three of Picard et al. (2022), each is given that sets the
    point apart: it is beyond its own threshold, or in the most extreme quarter of the points. Where none
    does, the more extreme is given, as what it is; so never is all that is said that nothing is the matter.

    Args:
        hidden: a blind review: what the model holds of the point is left out, and its neighbours' labels.
    """
    if hidden:
        return (_region(items, position)[0],)
    traits = [_region(items, position)]
    if (label := _label(items, position)) is not None:
        traits.insert(0, label)
    telling = [reason for reason, apart in traits if apart]
    if not telling:
        telling = [max((reason for reason, _ in traits), key=lambda reason: reason.share)]
    around = _neighbours(items, position, near)
    return (*_order(items, position), *_influence(items, position, near), *telling, *around)


def _order(items: Items, position: int) -> tuple[Reason, ...]:
    """Of an audit that ranks by the recommended score: what that says."""
    wrong = items.scores.get("p_wrong")
    if items.manifest.ranked_by != "auto" or wrong is None or not np.isfinite(wrong[position]):
        return ()
    own, middle = float(wrong[position]), _trait(items, "p_wrong").median
    words = f"its label is wrong with probability {own:.0%}, the median point's with {middle:.1%}"
    return (Reason("order", words, own),)


def _influence(items: Items, position: int, near: Related) -> tuple[Reason, ...]:
    """Its share of all influence, against the median point's and its neighbours'."""
    cook = items.scores["cook"]
    own, of_all = float(cook[position]), _trait(items, "cook")
    total = of_all.total
    if not np.isfinite(own):
        return (Reason("influence", "without it the model is not defined: nothing outweighs it", 1.0),)
    if total <= 0.0:
        return ()
    against = [_times(own, of_all.median, "that of the median point")]
    if len(near.positions):
        typical = float(np.median(cook[near.positions[:VOTING]]))
        against.append(_times(own, typical, f"the median of its {len(near.positions[:VOTING])} neighbours"))
    share = f"{own / total:.2g}" if own / total < 1e-4 else f"{100 * own / total:.2g} %"
    words = f"{share} of the influence of all {len(items):,} points"
    said = "".join(f", {one}" for one in against if one)
    return (Reason("influence", words + said, of_all.below(own)),)


def _times(own: float, other: float, what: str) -> str:
    if not (np.isfinite(other) and other > 0.0):
        return ""
    ratio = own / other
    if ratio >= 10_000:
        return f"over 10,000 times {what}"
    return f"{ratio:,.0f} times {what}" if ratio >= 10 else f"{ratio:.2g} times {what}"


def _label(items: Items, position: int) -> tuple[Reason, bool] | None:
    """How far the model, fitted without the point, is from its label; and whether that sets it apart."""
    margins = items.scores["margin"]
    margin = float(margins[position])
    if margin != margin:
        return _value(items, position)
    given, suggested = items.label(position), items.suggested(position)
    if margin < 0:
        manner = "clearly prefers" if margin <= -BOUNDARY else "leans to"
        words = f"left out, the model {manner} {suggested} over {given}"
    elif margin < BOUNDARY:
        words = f"left out, the model still holds {given}, but barely"
    else:
        words = f"left out, the model is sure of {given}"
    share = _trait(items, "margin").above(margin)
    reason = Reason("label", f"{words} (margin {margin:+.2f}: {_less(share, 'less sure than')})", share)
    return reason, margin < BOUNDARY or share >= APART


def _value(items: Items, position: int) -> tuple[Reason, bool]:
    words = f"left out, the model predicts {items.suggested(position)} instead of {items.label(position)}"
    residuals = items.scores.get("studentised")
    if residuals is None or not np.isfinite(residuals[position]):
        return Reason("value", words, 0.5), True
    sizes = np.abs(residuals)
    off = float(sizes[position])
    share = float((sizes < off).mean())
    words = f"{words}, {off:.1f} standard deviations off: {_less(share, 'further than')}"
    return Reason("value", words, share), off > OUTLIER or share >= APART


def _region(items: Items, position: int) -> tuple[Reason, bool]:
    """How few points are like it; and whether that sets it apart."""
    leverage = float(items.leverage[position])
    share = _trait(items, "leverage").below(leverage)
    if leverage > SPARSE:
        words = "few points are like it"
    elif share >= APART:
        words = "fewer points are like it than are like most"
    else:
        words = "points are like it, as of most"
    reason = Reason("region", f"{words} (leverage {leverage:.1f} × mean: {_less(share, 'more than')})", share)
    return reason, leverage > SPARSE or share >= APART


def _less(share: float, than: str) -> str:
    return f"{than} of nearly all points" if share >= 0.995 else f"{than} of {share:.0%} of the points"


def _neighbours(items: Items, position: int, near: Related) -> tuple[Reason, ...]:
    """What its nearest neighbours carry, where most of them do not carry its own."""
    voting = near.positions[:VOTING]
    if not len(voting):
        return ()
    labels, own = items.scores["label"][voting], items.scores["label"][position]
    if items.classes:
        same = int((labels == own).sum())
        words = f"{same} of its {len(voting)} nearest neighbours carry the label {items.label(position)}"
        reason, telling = Reason("neighbours", words, 1 - same / len(voting)), 2 * same <= len(voting)
    else:
        low, high = float(labels.min()), float(labels.max())
        words = f"its {len(voting)} nearest neighbours carry {low:.6g} to {high:.6g}"
        telling = not low <= float(own) <= high
        reason = Reason("neighbours", words, float(telling))
    return (reason,) if telling else ()
