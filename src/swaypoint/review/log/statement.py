"""What is known of a review, in words for the people who decide, and for a machine."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from swaypoint.review.items import Items
from swaypoint.review.log.counting import CONFIDENCE, UPPER, WHOLE, count_interval, first
from swaypoint.review.log.overlaps import Overlap
from swaypoint.review.log.progress import SHORT, Yield, progress, yield_curve
from swaypoint.review.log.remaining import ACCEPTED, ENOUGH, Count, Counts, counts
from swaypoint.review.log.verdicts import Review

SAMPLE = 300
"""Points of a random sample to begin with."""
_STEPS = 100


def advice(count: Count, curve: Yield) -> str:
    """When to stop, in a few sentences.

    The rule: stop where the interval's upper end is at most :data:`ACCEPTED` of what nobody has seen. It says
    so wrongly in at most :data:`~.counting.UPPER` of all reviews, however often one looks.
    """
    if not count.unseen:
        return "Every point was reviewed."
    sure = f"with {_percent(CONFIDENCE)} confidence at whatever moment you look"
    if not count.drawn:
        size = min(SAMPLE, count.unseen)
        most = count_interval(0, size, count.unseen, share=WHOLE)[1]
        return (
            "How many errors remain is not known: look at a random sample of the points that nobody has"
            f" reviewed. None wrong among {size:,} would say, {sure}, that at most {most:,} of these"
            f" {count.unseen:,} are."
        )
    undecided = f" ({count.seen_undecided:,} undecided)" if count.seen_undecided else ""
    share = count.left_high / count.unseen
    found = (
        f"Of {count.seen:,} random points of the {count.drawn:,} that nobody had reviewed,"
        f" {_wrong(count.seen_wrong)}{undecided}: {sure}, {count.left_low:,} to {count.left_high:,} of"
        f" the {count.unseen:,} that nobody has seen yet are, at most {_percent(share)}."
    )
    rule = f"Stop is said at {_percent(ACCEPTED)}, and wrongly in at most {100 * UPPER:.0f} of 100 reviews."
    if count.enough:
        return f"{found} Stop here. {rule}"
    course = ""
    if len(curve.decided) >= SHORT and curve.last_50[-1] > share:
        course = f" The queue finds more: of its last {SHORT} {_percent(curve.last_50[-1])} were wrong."
    return f"{found} Go on.{course} {rule} {_more(count)}"


def _more(count: Count) -> str:
    """How many more random points without an error would do, by the count of everything alone."""

    def enough(more: int) -> bool:
        wrong = count.seen_wrong + count.seen_undecided
        most = count_interval(wrong, count.seen + more, count.drawn, share=WHOLE)[1]
        return most - count.found <= ACCEPTED * (count.unseen - more)

    # Towards the end so few are left that not one of them may be wrong: not enough again.
    last = min(count.drawn - count.seen, count.unseen - 1)
    steps = [last * step // _STEPS for step in range(_STEPS + 1)]
    for before, after in itertools.pairwise(steps):
        if enough(after):
            needed = first(before, after, enough)
            return f"That takes {needed:,} more random points without an error, and more with one."
    return "No sample can say so here: look at all of them."


def _wrong(count: int) -> str:
    return f"{count:,} {'was' if count == 1 else 'were'} wrong"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def described(items: Items, review: Review, checks: Mapping[str, bool] | None = None) -> dict[str, Any]:
    """All of it for a machine: progress, counts, how they are known and the advice; ``checks`` as in
    :func:`~.remaining.counts`."""
    found, done = counts(items, review, checks), progress(items, review)
    event, drawn = review.drawn, None
    if event is not None:
        drawn = {"event": event.seq, "at": event.at, "by": event.actor, "of": event.item}
        drawn["digest"] = event.digest

    def plain(count: Count) -> dict[str, Any]:
        return {**asdict(count), "unseen": count.unseen, "left": [count.left_low, count.left_high]}

    return {
        "run": items.run,
        "confidence": CONFIDENCE,
        "points": done.points,
        "reviewed": done.reviewed,
        "wrong": done.wrong,
        "conflicts": done.conflicts,
        "verdicts": done.verdicts,
        "draw": drawn,
        "whole": plain(found.whole),
        "splits": [plain(one) for one in found.splits],
        "classes": [plain(one) for one in found.classes],
        "unlisted_classes": found.unlisted,
        "checked": [asdict(one) for one in found.checked],
        "overlaps": [asdict(one) for one in found.shared],
        "corrected": None if found.corrected is None else asdict(found.corrected),
        "expected": None if found.expected is None else asdict(found.expected),
        "explained": explained(found, review),
        "advice": advice(found.whole, yield_curve(items, review)),
    }


def explained(found: Counts, review: Review) -> list[str]:
    """How many are wrong in all, and how that is known, in sentences."""
    whole, event = found.whole, review.drawn
    if whole.low == whole.high:
        every = f"{whole.low:,} of the {whole.points:,} points are wrong: every one was judged."
        return [every, _of_errors(found)]
    if event is None:
        return [
            f"At least {whole.low:,} of the {whole.points:,} points are wrong: those that were found.",
            f"How many of the {whole.unseen:,} that nobody has judged are wrong too, a random sample tells.",
        ]
    sentences = [
        f"Between {whole.low:,} and {whole.high:,} of the {whole.points:,} points are wrong"
        f" ({_percent(CONFIDENCE)} sure, at whatever moment you look): {whole.wrong:,} were found, and"
        f" {whole.left_low:,} to {whole.left_high:,} are among the {whole.unseen:,} that nobody has judged.",
        f"How that is known: {whole.points - whole.drawn:,} points had been judged before the random sample"
        f" was drawn (event {event.seq:,} of the log, {event.at[:10]}), so of them it is known exactly. The"
        f" other {whole.drawn:,} were put into a random order that nobody could choose; of its first"
        f" {whole.seen:,}, {_wrong(whole.seen_wrong)}. What was judged of the rest since is"
        " taken as it is found.",
    ]
    if whole.undecided:
        sentences.append(
            f"Undecided points, {whole.undecided:,} by now (skipped, or reviewers differ), count as right in"
            " the lower number and as wrong in the upper."
        )
    sentences.append(_of_errors(found))
    if found.expected is not None:
        sentences.append(
            f"The model expected {found.expected.model:,.0f} to be wrong by itself; corrected by verdicts,"
            f" its estimate (no bound) is {found.expected.by_verdicts:,.0f}."
        )
    if found.splits or found.classes:
        sentences.append(f"Each line of the table holds with {_percent(CONFIDENCE)} by itself.")
    if found.classes or found.unlisted:
        missing = f": {found.unlisted:,} have none yet" if found.unlisted else ""
        sentences.append(
            f"A class has a line where at least {ENOUGH} of its points came up in the random order, or all of"
            f" it was judged{missing}."
        )
    return sentences


def _of_errors(found: Counts) -> str:
    """What the reviewers' own errors change."""
    if found.corrected is None:
        shared = "no point was decided by two"
        if found.shared:
            shared = "the points that two or more decided are too few to tell how often they err"
        return (
            "All this takes verdicts for right: no points whose label is known were given, by which one could"
            f" tell how often the reviewers err, and {shared}."
        )
    said, known = found.corrected, "Reviewers err:"
    if found.checked:
        right, alarms, wrong, misses = (
            sum(getattr(one, name) for one in found.checked)
            for name in ("right", "alarms", "wrong", "misses")
        )
        known += (
            f" of {right:,} points whose label is known to be right they took {alarms:,} for wrong, of"
            f" {wrong:,} known to be wrong {misses:,} for right."
        )
    if found.shared:
        known += _of_overlaps(found.shared)
    if (said.low, said.high) == (0, found.whole.points):
        return f"{known} These are too few to say how many are wrong in fact."
    return (
        f"{known} Allowing for that, between {said.low:,} and"
        f" {said.high:,} of the {found.whole.points:,} are wrong, and {said.still_low:,} to"
        f" {said.still_high:,} of them are not found yet."
    )


def _of_overlaps(shared: Sequence[Overlap]) -> str:
    alarms, misses = (sorted(getattr(one, name) for one in shared) for name in ("alarm_rate", "miss_rate"))

    def span(rates: list[float]) -> str:
        low, high = map(_percent, (rates[0], rates[-1]))
        return low if low == high else f"{low} to {high}"

    return (
        f" by the points that two or more decided, they take about {span(alarms)} of the right ones for wrong"
        f" and {span(misses)} of the wrong ones for right, if each decides by themselves and one errs no more"
        " often where another does."
    )
