"""How many are wrong: exact probabilities, constructed reviews, reviewers who choose what to look at."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, hypergeom
from tests.review_points import BAD, FINE, SKIP, Points, reviewed

from swaypoint.errors import InputError
from swaypoint.review.log.counting import (
    EDGES,
    LOWER,
    RIGHT,
    UNDECIDED,
    UNSEEN,
    UPPER,
    WHOLE,
    WRONG,
    bounds,
    count_interval,
)
from swaypoint.review.log.dealing import dealt, draw
from swaypoint.review.log.progress import yield_curve
from swaypoint.review.log.remaining import ACCEPTED, Count, counts
from swaypoint.review.log.statement import advice, explained
from swaypoint.review.log.store import open_store
from swaypoint.review.log.verdicts import Event, Review, check_event

laws = settings(max_examples=60, deadline=None)
NOTHING = yield_curve(Points(1), Review("run"))


# -- one random order ---------------------------------------------------------------------------------


@laws
@given(st.integers(1, 60), st.sampled_from([1.0, WHOLE, 0.04]), st.data())
def test_the_interval_is_that_of_the_prior_posterior_ratio(size, share, data):
    """Counts whose posterior under the beta-binomial prior is more than the error times their prior."""
    wrong = data.draw(st.integers(0, size))
    seen = data.draw(st.integers(0, size))
    drawn = data.draw(st.integers(max(0, seen - (size - wrong)), min(wrong, seen)))
    undecided = data.draw(st.integers(0, seen - drawn))
    values = np.arange(size + 1)

    def kept(found, error):
        prior = betabinom(size, 0.5, 10.0).pmf(values)
        likelihood = hypergeom(size, values, seen).pmf(found)
        posterior = prior * likelihood / (prior * likelihood).sum()
        return values[posterior > error * prior * (1 + 1e-9)]

    expected = kept(drawn, LOWER * share)[0], kept(drawn + undecided, UPPER * share)[-1]
    assert count_interval(drawn, seen, size, undecided=undecided, share=share) == expected


@pytest.mark.parametrize(("size", "wrong"), [(200, 0), (200, 1), (200, 2), (200, 10), (120, 24), (100, 50)])
def test_each_end_misses_at_some_moment_as_seldom_as_it_says_exactly(size, wrong):
    """The probability that some interval along the way misses, over all orders: by the paths of (t, s)."""
    for end, error in ((0, LOWER), (1, UPPER)):
        held, missed = {0: 1.0}, 0.0  # probability by s of the paths that have not missed yet
        for seen in range(1, size + 1):
            after: Counter[int] = Counter()
            for found, chance in held.items():
                share = (wrong - found) / (size - seen + 1)
                after[found + 1] += chance * share
                after[found] += chance * (1 - share)
            held = {}
            for found, chance in after.items():
                if chance > 0:
                    interval = count_interval(found, seen, size)
                    if interval[0] <= wrong if end == 0 else interval[1] >= wrong:
                        held[found] = chance
                    else:
                        missed += chance
        assert missed <= error + 1e-12
        assert sum(held.values()) + missed == pytest.approx(1)


# -- everything that is known -------------------------------------------------------------------------


def by_hand(states, places, seen):
    """Of each tail: what is known of its head, and its own interval; as sets of counts that are possible."""
    possible = set(range(len(states) + 1))
    for edge in EDGES:
        share = WHOLE if edge == 0 else (1 - WHOLE) / (len(EDGES) - 1)
        head = [s for s, place in zip(states, places, strict=True) if place < edge]
        tail = [s for s, place in zip(states, places, strict=True) if place >= edge]
        came = [states[i] for i in seen if places[i] >= edge]
        low, high = count_interval(
            came.count(WRONG), len(came), len(tail), undecided=came.count(UNDECIDED), share=share
        )
        sure = head.count(WRONG)
        possible &= set(range(sure + low, sure + head.count(UNSEEN) + head.count(UNDECIDED) + high + 1))
    return possible


@laws
@given(st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_bounds_are_what_all_tails_and_all_that_is_known_allow(size, seed):
    rng = np.random.default_rng(seed)
    states = rng.choice([UNSEEN, RIGHT, WRONG, UNDECIDED], size, p=[0.6, 0.3, 0.07, 0.03])
    places = rng.permutation(size) / size
    places[rng.random(size) < 0.2] = -1
    states[(places < 0) & (states == UNSEEN)] = RIGHT
    order = rng.permutation(np.flatnonzero(places >= 0))
    gaps = np.flatnonzero(states[order] == UNSEEN)
    seen = order[: gaps[0]] if len(gaps) else order
    low, high = bounds(states, places, seen)
    wrong, undecided = (states == WRONG).sum(), (states == UNDECIDED).sum()
    assert wrong <= low <= high <= size - (states == RIGHT).sum()
    assert high >= wrong + undecided
    possible = by_hand(states.tolist(), places.tolist(), seen.tolist())
    possible &= set(range(wrong, size - (states == RIGHT).sum() + 1))
    if possible:
        assert low <= min(possible) or low == wrong
        assert high >= max(possible) or high == wrong + undecided
    if not (states == UNSEEN).any():
        assert (low, high) == (wrong, wrong + undecided)


def test_what_was_judged_before_is_exact():
    states, places = np.full(500, UNSEEN), np.full(500, -1.0)
    states[:100], states[:30] = RIGHT, WRONG
    places[100:] = np.arange(400) / 400
    seen = np.arange(100, 500)[::2]
    states[seen] = RIGHT
    low, high = bounds(states, places, seen)
    assert low == 30
    assert 30 < high <= 30 + count_interval(0, 200, 400, share=WHOLE)[1]


def test_a_band_that_the_queue_took_out_does_not_widen_the_count():
    """All wrong points lay in the first tenth, which was judged after the draw: the rest is what counts."""
    size, rng = 4000, np.random.default_rng(0)
    states, places, order = np.full(size, UNSEEN), np.arange(size) / size, rng.permutation(size)
    truth = np.where(np.arange(size) < 200, WRONG, RIGHT)
    for index in (order[:600], np.arange(400)):
        states[index] = truth[index]
    first = np.flatnonzero(states[order] == UNSEEN)[0]
    low, high = bounds(states, places, order[:first])
    known = int((states[order[:first]] == WRONG).sum())
    assert low == 200
    assert high - 200 < 0.5 * (count_interval(known, first, size, share=WHOLE)[1] - 200)


def chosen(states, truth, order, way):
    """The next point that a reviewer judges who knows the truth and would mislead, or works as one should."""
    unseen = states == UNSEEN
    if way == "queue":
        return np.flatnonzero(unseen)[0]
    wanted = unseen & (truth == (WRONG if way == "wrong first" else RIGHT))
    if way != "random" and wanted.any():
        return np.flatnonzero(wanted)[0]
    return order[unseen[order]][0]


@pytest.mark.parametrize("way", ["queue", "wrong first", "right first", "random"])
def test_the_count_holds_whatever_the_reviewer_chooses_to_look_at(way):
    """Every second point is dealt at random, every other chosen; looked at on the way, it misses seldom."""
    rng, missed, reviews, size = np.random.default_rng(7), 0, 80, 300
    for _ in range(reviews):
        truth = np.where(rng.random(size) < np.geomspace(0.3, 0.01, size), WRONG, RIGHT)
        states, places, order = np.full(size, UNSEEN), np.arange(size) / size, rng.permutation(size)
        right = True
        for step in range(120):
            index = chosen(states, truth, order, way if step % 2 else "random")
            states[index] = truth[index]
            if step % 8 == 7 and right:
                seen = order[: np.flatnonzero(states[order] == UNSEEN)[0]]
                low, high = bounds(states, places, seen)
                right = low <= (truth == WRONG).sum() <= high
        missed += not right
    assert missed <= 0.05 * reviews + 2.5 * math.sqrt(0.05 * 0.95 * reviews)


# -- the draw -----------------------------------------------------------------------------------------

POINTS = Points(200)


def test_points_are_dealt_by_the_digest_of_the_draw_from_what_nobody_had_judged():
    said = [("ann", "i150", BAD), ("bob", "i160", SKIP), ("ann", "x", BAD), ("ann", "i3", BAD)]
    said += [("ann", "i3", None), draw(POINTS, "ann", "the draw")]
    order = dealt(POINTS, reviewed(*said)).tolist()
    rest = [i for i in range(200) if i not in (150, 160)]
    assert order == sorted(rest, key=lambda i: hashlib.sha256(f"5eedi{i}".encode()).hexdigest())
    later = [("bob", "i7", FINE), draw(POINTS, "bob", "another draw"), ("ann", "i150", None)]
    assert dealt(POINTS, reviewed(*said, *later)).tolist() == order
    other = replace(draw(POINTS, "ann", "the draw"), digest="another")
    assert dealt(POINTS, reviewed(*said[:-1], other)).tolist() != order


def test_every_first_part_is_uniform():
    points = Points(20)
    event = draw(points, "ann", "the draw")
    orders = [
        dealt(points, reviewed(("ann", "i19", BAD), replace(event, digest=str(i)))) for i in range(2000)
    ]
    for size in (8, 2):
        found = Counter(int(position) for order in orders for position in order[:size])
        share = size / 19
        bound = 4.5 * math.sqrt(2000 * share * (1 - share))  # of each of 19 points: p < 1e-4 in all
        assert len(found) == 19
        assert all(abs(count - 2000 * share) < bound for count in found.values())


def test_a_draw_of_another_ranking_is_refused_and_so_is_none():
    event, turned = draw(POINTS, "ann", "the draw"), Points(200)
    turned.scores["rank"] = turned.scores["rank"][::-1]
    with pytest.raises(InputError, match="drawn from another ranking than that of points now"):
        dealt(turned, reviewed(event))
    with pytest.raises(InputError, match="no random sample was drawn"):
        dealt(POINTS, reviewed(("ann", "i0", BAD)))
    with pytest.raises(InputError, match="decides nothing"):
        check_event(replace(event, decision=BAD))


def test_a_draw_is_no_verdict_and_cannot_be_undone():
    review = reviewed(("ann", "i1", BAD), draw(POINTS, "ann", "the draw"))
    assert list(review.reviewed()) == ["i1"]
    assert [event.item for event in review.undoable("ann")] == ["i1"]


def test_the_log_keeps_the_draw_and_whoever_has_it_can_deal_again(tmp_path):
    store = open_store(tmp_path / "review.sqlite")
    try:
        store.append([Event("1", "run", "i5", "ann", BAD, "1"), draw(POINTS, "ann", "2")])
        store.append([draw(POINTS, "bob", "3"), Event("4", "run", "i6", "ann", BAD, "4", way="sample")])
        store.verify()
        events = store.since("run")
    finally:
        store.close()
    order = dealt(POINTS, Review("run", events)).tolist()
    key = events[1].digest
    rest = [i for i in range(200) if i != 5]
    assert order == sorted(rest, key=lambda i: hashlib.sha256(f"{key}i{i}".encode()).hexdigest())


# -- the count of a review ----------------------------------------------------------------------------


def sampled(points, before, judge, after=()):
    """A review that judges ``before``, draws, and then ``judge(position in the order, item)``."""
    said = [*before, draw(points, "ann", "the draw")]
    order = [points.ids[p] for p in dealt(points, reviewed(*said))]
    said += [("ann", item, d, "sample") for i, item in enumerate(order) if (d := judge(i, item)) is not None]
    return reviewed(*said, *after), order


def test_what_was_found_before_the_draw_and_what_remains():
    points = Points(1000, splits=("train", "held_out"))
    before = [("ann", f"i{i}", BAD) for i in range(100)]
    none = counts(points, reviewed(*before)).whole
    assert (none.drawn, none.low, none.high, none.left_low, none.left_high) == (0, 100, 1000, 0, 900)
    review, order = sampled(points, before, lambda i, _: None if i >= 40 else BAD if i < 2 else FINE)
    whole = counts(points, review).whole
    assert (whole.drawn, whole.judged, whole.seen, whole.seen_wrong) == (900, 140, 40, 2)
    assert (whole.low, whole.high) == (102, 100 + count_interval(2, 40, 900, share=WHOLE)[1])
    assert (whole.left_low, whole.left_high) == (0, whole.high - 102)
    later = [("ann", order[45], BAD), ("ann", order[40], SKIP), ("bob", order[5], BAD)]
    review, _ = sampled(points, before, lambda i, _: None if i >= 40 else BAD if i < 2 else FINE, later)
    whole = counts(points, review).whole
    assert (whole.seen, whole.seen_wrong, whole.seen_undecided) == (41, 2, 2), (
        "in turn, the skipped and disputed"
    )
    assert (whole.wrong, whole.undecided, whole.found) == (103, 2, 5), "and one out of its turn"
    assert whole.high == 100 + count_interval(2, 41, 900, undecided=2, share=WHOLE)[1]
    assert (whole.low, whole.left_high) == (103, whole.high - 105)


def test_by_split_and_by_class_where_the_sample_allows():
    points = Points(900, splits=("train", "held_out"))
    before = [("ann", f"i{i}", BAD) for i in range(90)]
    review, order = sampled(
        points, before, lambda i, item: None if i >= 100 else FINE if int(item[1:]) % 3 else BAD
    )
    found = counts(points, review)
    assert [(one.part, one.points) for one in found.splits] == [("train", 600), ("held_out", 300)]
    for name, number in zip(points.classes, range(3), strict=True):
        came = [item for item in order[:100] if int(item[1:]) % 3 == number]
        one = next((one for one in found.classes if one.part == name), None)
        assert (one is not None) == (len(came) >= 30)
        if one:
            assert (one.points, one.drawn, one.seen, one.wrong) == (
                300,
                270,
                len(came),
                30 + len(came) * (number == 0),
            )
    assert sum(one.wrong for one in found.splits) == found.whole.wrong
    assert found.unlisted == 3 - len(found.classes)
    few, _ = sampled(points, before, lambda i, _: None if i >= 20 else FINE)
    assert (counts(points, few).classes, counts(points, few).unlisted) == ((), 3)
    text = " ".join(explained(counts(points, few), few))
    assert "of its points came up in the random order, or all of it was judged: 3 have none yet." in text
    assert counts(Points(900, classes=()), reviewed(*before)).classes == ()


def test_everything_judged_is_known():
    points = Points(30)
    review, _ = sampled(points, [], lambda i, _: BAD if i % 3 == 0 else FINE)
    found = counts(points, review)
    assert (found.whole.low, found.whole.high, found.whole.unseen) == (10, 10, 0)
    assert [one.part for one in found.classes] == ["ant", "bee", "cat"], "small, but known"
    assert explained(found, review)[0] == "10 of the 30 points are wrong: every one was judged."
    assert advice(found.whole, NOTHING) == "Every point was reviewed."


def test_how_it_is_known_is_said():
    points = Points(1000)
    before = [("ann", f"i{i}", BAD) for i in range(10)]
    nothing = reviewed(*before)
    assert "a random sample tells" in " ".join(explained(counts(points, nothing), nothing))
    review, _ = sampled(points, before, lambda i, _: None if i >= 50 else FINE if i else SKIP)
    found = counts(points, review)
    text = " ".join(explained(found, review))
    assert f"Between 10 and {found.whole.high} of the 1,000 points are wrong (95 % sure" in text
    assert "10 points had been judged before the random sample was drawn (event 11 of the log" in text
    assert (
        "The other 990 were put into a random order that nobody could choose; of its first 50, 0 were" in text
    )
    assert "Undecided points, 1 by now" in text


# -- when to stop -------------------------------------------------------------------------------------


def tail(seen, wrong, drawn=10_000, undecided=0):
    low, high = count_interval(wrong, seen, drawn, undecided=undecided, share=WHOLE)
    found = wrong + undecided
    return Count("", drawn, seen, wrong, undecided, drawn, found, seen, wrong, undecided, low, high)


def test_advice_says_what_is_known_and_how():
    fresh = Count("", 10_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10_000)
    most = count_interval(0, 300, 10_000, share=WHOLE)[1]
    text = advice(fresh, NOTHING)
    assert re.search(f"is not known: .*None wrong among 300 .*at most {most} of these 10,000", text)
    assert "None wrong among 20 would say" in advice(replace(fresh, points=20), NOTHING)
    text = advice(tail(300, 0), NOTHING)
    assert text.startswith(
        "Of 300 random points of the 10,000 that nobody had reviewed, 0 were wrong: with 95 %"
    )
    assert f"0 to {most} of the 9,700 that nobody has seen yet are, at most 1.8 %. Go on." in text
    assert "(3 undecided)" in advice(tail(50, 0, undecided=3), NOTHING)
    assert ", 1 was wrong: " in advice(tail(300, 1), NOTHING)


def test_advice_to_stop_takes_a_sample_that_supports_it():
    """Sixty judged at 60 % wrong, then one clean random point, was once enough."""
    said = [("ann", f"i{i}", BAD if i % 5 < 3 else FINE) for i in range(60)]
    curve = yield_curve(Points(60), reviewed(*said))
    assert "Stop here" not in advice(tail(1, 0, 1378), curve)
    text = advice(tail(60, 0, 1378), curve)
    assert "The queue finds more: of its last 50 60 % were wrong." in text
    assert "Go on" in text
    assert "Stop here" in advice(tail(1000, 0), NOTHING)
    assert "Stop here" not in advice(tail(1000, 5), NOTHING)


@laws
@given(st.integers(20, 3000), st.integers(0, 3), st.integers(0, 400))
def test_as_many_more_as_are_said_to_be_needed_are_enough(drawn, wrong, seen):
    assume(wrong <= seen < drawn)
    text = advice(tail(seen, wrong, drawn), NOTHING)
    needed = re.search("takes ([0-9,]+) more random points without an error", text)
    if needed is None:
        assert "Stop here" in text or "look at all of them" in text
        return
    more = int(needed[1].replace(",", ""))
    assert "Stop here" in advice(tail(seen + more, wrong, drawn), NOTHING)
    assert "Go on" in advice(tail(seen + more - 1, wrong, drawn), NOTHING)


def test_stop_is_said_wrongly_in_at_most_four_of_a_hundred_reviews():
    """2 % of 800 are wrong, and one looks after each of 400 random points: stop at 1 % would be wrong."""
    rng, stopped, reviews, states = np.random.default_rng(5), 0, 300, lru_cache(None)(tail)
    for _ in range(reviews):
        wrong = np.cumsum(rng.permutation(800)[:400] < 16)
        for t, found in enumerate(wrong.tolist(), start=1):
            count = states(t, found, 800)
            if count.enough and 16 - found > ACCEPTED * count.unseen:
                stopped += 1
                break
    assert stopped <= UPPER * reviews + 2.5 * math.sqrt(UPPER * (1 - UPPER) * reviews)
