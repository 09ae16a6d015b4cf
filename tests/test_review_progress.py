"""Counts, yield, errors that remain and agreement, against constructed reviews and other packages."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, hypergeom
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from swaypoint.errors import InputError
from swaypoint.review.log.agreement import Conflict, Kappa, cohen, conflicts, fleiss
from swaypoint.review.log.counting import count_interval
from swaypoint.review.log.progress import (
    ACCEPTED,
    Tail,
    advice,
    audit_sample,
    confusion,
    progress,
    remaining,
    unreviewed,
    yield_curve,
)
from swaypoint.review.log.verdicts import VERDICTS, Decision, Event, Review

BAD, FINE, SKIP, CAT = Decision("bad"), Decision("correct"), Decision("skip"), Decision("mislabeled", "cat")
laws = settings(max_examples=60, deadline=None)


@dataclass
class Points:
    """What progress needs of an audit's items: point i has rank i + 1 and the label i mod 3."""

    n: int
    classes: tuple[str, ...] = ("ant", "bee", "cat")

    def __len__(self):
        return self.n

    @cached_property
    def ids(self):
        return [f"i{i}" for i in range(self.n)]

    @cached_property
    def scores(self):
        return {"rank": np.arange(1, self.n + 1), "label": np.arange(self.n) % 3}

    def position(self, item):
        return self.ids.index(item) if item in self.ids else None


def reviewed(*said):
    """(actor, item, decision[, way]) each, in order."""
    return Review(
        "run",
        [
            Event(f"{i}", "run", item, actor, decision, f"{i}", way=way[0] if way else "", seq=i + 1)
            for i, (actor, item, decision, *way) in enumerate(said)
        ],
    )


# -- counts and yield ---------------------------------------------------------------------------------


def test_counts():
    review = reviewed(
        ("ann", "i0", BAD),
        ("ann", "i1", CAT),
        ("bob", "i1", CAT),
        ("ann", "i2", SKIP),
        ("ann", "i3", FINE),
        ("bob", "i3", BAD),
        ("ann", "i4", FINE),
        ("ann", "i4", None),
        ("ann", "of another audit", BAD),
    )
    counts = progress(Points(10), review)
    assert (counts.points, counts.reviewed, counts.conflicts, counts.wrong) == (10, 4, 1, 2)
    assert counts.verdicts == dict.fromkeys(VERDICTS, 0) | {"bad": 1, "mislabeled": 1, "skip": 1}


@laws
@given(st.lists(st.sampled_from([BAD, CAT, FINE, SKIP, Decision("boundary")]), max_size=450))
def test_yield_is_the_share_of_wrong_ones_in_the_last_decisions(decisions):
    points = Points(len(decisions))
    curve = yield_curve(points, reviewed(*(("ann", f"i{i}", d) for i, d in enumerate(decisions))), most=10**6)
    wrong = [d in (BAD, CAT) for d in decisions if d is not SKIP]
    assert curve.decided.tolist() == list(range(1, len(wrong) + 1))
    for shares, width in ((curve.last_50, 50), (curve.last_200, 200)):
        expected = [np.mean(wrong[max(0, end - width) : end]) for end in range(1, len(wrong) + 1)]
        np.testing.assert_allclose(shares, expected, atol=1e-12)


def test_yield_counts_each_point_of_the_queue_once_where_it_was_first_decided():
    said = [
        ("ann", "i0", BAD, "queue"),
        ("ann", "i1", FINE),
        ("ann", "i2", SKIP, "sample"),
        ("ann", "i3", BAD),
        ("ann", "i4", FINE, "sample"),
        ("ann", "i5", FINE, "bulk"),
        ("ann", "i6", BAD, "gallery"),
        ("ann", "i4", BAD, "queue"),
    ]
    said += [("ann", "i0", FINE), ("ann", "i2", BAD), ("bob", "i3", FINE)]
    curve = yield_curve(Points(9), reviewed(*said))
    assert curve.decided.tolist() == [1, 2, 3], "i0, i1, i2; i3 is in conflict"
    np.testing.assert_allclose(curve.last_50, [0, 0, 1 / 3])


def test_a_long_curve_is_thinned_to_its_last_point():
    said = [("ann", f"i{i}", BAD if i < 500 else FINE) for i in range(1001)]
    curve = yield_curve(Points(1001), reviewed(*said), most=50)
    assert len(curve.decided) == 50
    assert (curve.decided[0], curve.decided[-1]) == (1, 1001)
    assert curve.last_50[-1] == curve.last_200[-1] == 0


# -- the tail -----------------------------------------------------------------------------------------


@laws
@given(st.integers(1, 60), st.data())
def test_the_interval_is_that_of_the_prior_posterior_ratio(size, data):
    """Counts whose posterior under the beta-binomial prior is more than 1/20 of their prior."""
    wrong = data.draw(st.integers(0, size))
    seen = data.draw(st.integers(0, size))
    drawn = data.draw(st.integers(max(0, seen - (size - wrong)), min(wrong, seen)))
    counts = np.arange(size + 1)
    prior = betabinom(size, 0.5, 10.0).pmf(counts)
    likelihood = hypergeom(size, counts, seen).pmf(drawn)
    posterior = prior * likelihood / (prior * likelihood).sum()
    kept = counts[posterior > 0.05 * prior * (1 + 1e-9)]
    assert count_interval(drawn, seen, size) == (kept[0], kept[-1])


@laws
@given(st.integers(1, 500), st.data())
def test_the_interval_is_possible_and_ends_with_the_count(size, data):
    seen = data.draw(st.integers(0, size))
    wrong = data.draw(st.integers(0, seen))
    undecided = data.draw(st.integers(0, seen - wrong))
    low, high = count_interval(wrong, seen, size, undecided=undecided)
    assert wrong <= low <= high <= size - (seen - wrong - undecided)
    assert seen < size or (low, high) == (wrong, wrong + undecided)


@pytest.mark.parametrize(("size", "wrong"), [(300, 0), (1000, 1), (1000, 10), (1000, 50), (300, 60)])
def test_the_interval_holds_at_every_moment_together(size, wrong):
    """Looked at after each of 250 draws, it misses in at most 5 % of reviews (and simulation error)."""
    rng, missed, reviews = np.random.default_rng(size + wrong), 0, 300
    interval = lru_cache(None)(count_interval)
    for _ in range(reviews):
        found = np.cumsum(rng.permutation(size)[:250] < wrong)
        bounds = (interval(int(s), t + 1, size) for t, s in enumerate(found))
        missed += any(not low <= wrong <= high for low, high in bounds)
    assert missed <= 0.05 * reviews + 2.5 * math.sqrt(0.05 * 0.95 * reviews)


def test_the_sample_is_of_the_unseen_tail_and_the_same_for_a_seed():
    points, review = Points(200), reviewed(("ann", "i150", BAD), ("bob", "i160", SKIP), ("ann", "x", BAD))
    sample, unseen = audit_sample(points, review, 60, 7), set(points.ids) - {"i150", "i160"}
    assert len(set(sample)) == 60
    assert set(sample) <= unseen
    assert sample == audit_sample(points, review, 60, 7) != audit_sample(points, review, 60, 8)
    assert set(audit_sample(points, review, 1000, 7)) == unseen
    with pytest.raises(InputError, match="the random sample has 0 points; expected at least 1"):
        audit_sample(points, review, 0, 7)


def test_the_sample_is_uniform_and_so_is_its_first_part():
    points, review = Points(20), reviewed(("ann", "i19", BAD))
    samples = [audit_sample(points, review, 8, seed) for seed in range(2000)]
    for part, size in ((lambda s: s, 8), (lambda s: s[:2], 2)):
        counts = Counter(item for sample in samples for item in part(sample))
        share = size / 19
        bound = 4.5 * math.sqrt(2000 * share * (1 - share))  # of each of 19 points: p < 1e-4 in all
        assert len(counts) == 19
        assert all(abs(count - 2000 * share) < bound for count in counts.values())


def everything(points):
    return list(range(len(points)))


def test_what_remains():
    points = Points(1000)
    said = [("ann", f"i{i}", BAD) for i in range(100)]  # the queue
    before = reviewed(*said)
    sample, population = audit_sample(points, before, 50, 0), unreviewed(points, before).tolist()
    assert population == list(range(100, 1000))
    assert remaining(points, before, sample, population) is None
    said += [("ann", item, BAD if i < 2 else FINE) for i, item in enumerate(sample[:40])]
    said += [("ann", sample[45], BAD)]  # by the queue, before its turn
    tail = remaining(points, reviewed(*said), sample, population)
    low, high = count_interval(2, 40, 900)
    assert (tail.drawn, tail.unseen, tail.seen, tail.wrong, tail.undecided) == (900, 859, 40, 2, 0)
    assert (tail.low, tail.high) == (max(low - 3, 0), high - 3)
    said += [("ann", sample[40], SKIP), ("bob", sample[5], BAD)]  # undecided, and in conflict
    tail = remaining(points, reviewed(*said), sample, population)
    low, high = count_interval(2, 41, 900, undecided=2)
    assert (tail.seen, tail.wrong, tail.undecided) == (41, 2, 2)
    assert (tail.low, tail.high) == (max(low - 5, 0), high - 3)


def test_nothing_remains_where_everything_was_seen():
    points = Points(30)
    sample = audit_sample(points, Review("run"), 30, 0)
    said = [("ann", item, BAD if i % 3 else FINE) for i, item in enumerate(sample)]
    tail = remaining(points, reviewed(*said), sample, everything(points))
    assert (tail.unseen, tail.low, tail.high) == (0, 0, 0)


def test_the_errors_that_remain_are_held_while_the_queue_goes_on():
    """The queue takes half of the errors after the sample was drawn; the interval is of what it left."""
    rng, missed, reviews = np.random.default_rng(1), 0, 200
    points = Points(600)
    for seed in range(reviews):
        wrong = set(rng.permutation(600)[:30].tolist())
        sample = audit_sample(points, Review("run"), 60, seed)
        queue = sorted(wrong)[:15]
        said = [("ann", f"i{i}", BAD) for i in queue]
        said += [("ann", item, BAD if int(item[1:]) in wrong else FINE) for item in sample]
        tail = remaining(points, reviewed(*said), sample, everything(points))
        left = len(wrong - set(queue) - {int(item[1:]) for item in sample})
        missed += not tail.low <= left <= tail.high
    assert missed <= 0.05 * reviews + 2.5 * math.sqrt(0.05 * 0.95 * reviews)


NOTHING = yield_curve(Points(1), Review("run"))


def sampled(seen, wrong, drawn=10_000, undecided=0):
    low, high = count_interval(wrong, seen, drawn, undecided=undecided)
    return Tail(drawn, drawn - seen, seen, wrong, undecided, max(low - wrong - undecided, 0), high - wrong)


def test_advice_says_what_is_known_and_how():
    assert re.search(
        "is not known: .*None wrong among 300 .*at most 153 of these 10,000", advice(None, NOTHING, 10_000)
    )
    assert "None wrong among 20 would say" in advice(None, NOTHING, 20)
    assert advice(None, NOTHING, 0) == "Every point was reviewed."
    text = advice(sampled(300, 0), NOTHING, 9700)
    assert text.startswith(
        "Of 300 random points of the 10,000 that nobody had reviewed, 0 were wrong: with 95 %"
    )
    assert "0 to 153 of the 9,700 that nobody has seen yet are, at most 1.6 %. Go on." in text
    assert "(3 undecided)" in advice(sampled(50, 0, undecided=3), NOTHING, 9950)


def test_advice_to_stop_takes_a_sample_that_supports_it():
    """Sixty judged at 60 % wrong, then one clean random point, was once enough."""
    said = [("ann", f"i{i}", BAD if i % 5 < 3 else FINE) for i in range(60)]
    text = advice(sampled(1, 0, 1378), yield_curve(Points(60), reviewed(*said)), 1377)
    assert "Stop here" not in text
    text = advice(sampled(60, 0, 1378), yield_curve(Points(60), reviewed(*said)), 1318)
    assert "The queue finds more: of its last 50 60 % were wrong." in text
    assert "Go on" in text
    assert "Stop here" in advice(sampled(1000, 0), NOTHING, 9000)
    assert "Stop here" not in advice(sampled(1000, 5), NOTHING, 9000)


@laws
@given(st.integers(20, 3000), st.integers(0, 3), st.integers(0, 400))
def test_as_many_more_as_are_said_to_be_needed_are_enough(drawn, wrong, seen):
    assume(wrong <= seen < drawn)
    text = advice(sampled(seen, wrong, drawn), NOTHING, drawn - seen)
    needed = re.search("takes ([0-9,]+) more random points without an error", text)
    if needed is None:
        assert "Stop here" in text or "look at all of them" in text
        return
    more = int(needed[1].replace(",", ""))
    assert "Stop here" in advice(sampled(seen + more, wrong, drawn), NOTHING, drawn - seen - more)
    assert "Go on" in advice(sampled(seen + more - 1, wrong, drawn), NOTHING, drawn - seen - more + 1)


def test_stop_is_said_wrongly_in_at_most_one_of_twenty_reviews():
    """2 % of 800 are wrong, and one looks after each of 400 random points: stop at 1 % would be wrong."""
    rng, stopped, reviews = np.random.default_rng(5), 0, 300
    for _ in range(reviews):
        wrong = np.cumsum(rng.permutation(800)[:400] < 16)
        for t, found in enumerate(wrong.tolist(), start=1):
            tail = sampled(t, found, 800)
            if tail.high <= ACCEPTED * tail.unseen and 16 - found > ACCEPTED * tail.unseen:
                stopped += 1
                break
    assert stopped <= 0.05 * reviews + 2.5 * math.sqrt(0.05 * 0.95 * reviews)


# -- classes ------------------------------------------------------------------------------------------


def test_confusion():
    review = reviewed(
        ("ann", "i0", CAT),
        ("ann", "i3", CAT),
        ("ann", "i1", FINE),
        ("ann", "i4", Decision("boundary")),
        ("ann", "i7", Decision("under-represented")),
        ("ann", "i2", Decision("mislabeled")),
        ("ann", "i5", Decision("mislabeled", "no class of the audit")),
        ("ann", "i6", BAD),
        ("ann", "i8", SKIP),
        ("ann", "i9", FINE),
        ("bob", "i9", BAD),
        ("ann", "x", FINE),
    )
    table = confusion(Points(12), review)
    assert table.counts.tolist() == [[0, 0, 2], [0, 3, 0], [0, 0, 0]]
    assert table.unknown.tolist() == [0, 0, 2]
    assert confusion(Points(12, classes=()), review).counts.shape == (0, 0)


# -- agreement ----------------------------------------------------------------------------------------

CHOICES = [BAD, FINE, CAT, Decision("mislabeled", "ant"), Decision("mislabeled")]


def by_item(rows, actors):
    """A row of choices an item, None for a point that the actor did not decide; some are skips."""
    return reviewed(
        *(
            (actor, f"i{i}", SKIP if choice is None else Decision(choice.verdict, choice.label, f"n{actor}"))
            for i, row in enumerate(rows)
            for actor, choice in zip(actors, row, strict=True)
            if choice is not None or i % 2
        )
    )


def codes(rows):
    return np.array([[CHOICES.index(choice) for choice in row] for row in rows])


def equal(ours: Kappa, theirs: float):
    assert ours.value == pytest.approx(theirs, abs=1e-12, nan_ok=True)


choices, maybe = st.sampled_from(CHOICES), st.none() | st.sampled_from(CHOICES)


@laws
@given(st.lists(st.tuples(maybe, maybe, maybe), min_size=1, max_size=30))
def test_cohen_is_that_of_scikit_learn(rows):
    both = codes([row[:2] for row in rows if None not in row[:2]])
    assume(len(both) and (len(set(both.ravel())) > 1))
    review = by_item(rows, ("ann", "bob", "cy"))
    assert cohen(review, "ann", "bob").items == len(both)
    equal(cohen(review, "ann", "bob"), cohen_kappa_score(both[:, 0], both[:, 1]))
    assert cohen(review, "ann", "bob") == cohen(review, "bob", "ann")


@laws
@given(st.lists(st.tuples(maybe, maybe, choices, choices), min_size=1, max_size=30))
def test_fleiss_is_that_of_statsmodels_where_all_decided(rows):
    actors = ("ann", "bob", "cy", "di")
    review, whole = by_item(rows, actors), [row for row in rows if None not in row]
    assume(whole and len(set(codes(whole).ravel())) > 1)
    table, _ = aggregate_raters(codes(whole))
    ours = fleiss(review, actors, complete=True)
    assert ours.items == len(whole)
    equal(ours, fleiss_kappa(table))
    pair, _ = aggregate_raters(codes([row[2:] for row in rows]))
    if pair.shape[1] > 1:
        equal(fleiss(review, ("cy", "di")), fleiss_kappa(pair))


@laws
@given(st.lists(st.tuples(maybe, maybe, maybe), min_size=1, max_size=20))
def test_fleiss_over_all_pairs_where_not_all_decided(rows):
    decided = [[c for c in row if c is not None] for row in rows]
    decided = [row for row in decided if len(row) > 1]
    assume(decided)
    pairs = [[a == b for i, a in enumerate(row) for b in row[:i]] for row in decided]
    everything = [choice for row in decided for choice in row]
    ours = fleiss(by_item(rows, ("ann", "bob", "cy")))
    assert ours.items == len(decided)
    assert ours.observed == pytest.approx(np.mean([np.mean(agree) for agree in pairs]))
    assert ours.expected == pytest.approx(np.mean([a == b for a in everything for b in everything]))


def test_agreement_that_means_nothing():
    assert math.isnan(cohen(Review("run"), "ann", "bob").value)
    assert math.isnan(fleiss(Review("run")).value)
    same = by_item([(BAD, BAD)] * 3, ("ann", "bob"))
    assert math.isnan(cohen(same, "ann", "bob").value), "chance agrees as much"
    assert math.isnan(fleiss(same).value)
    with pytest.raises(InputError, match="agreement of 'ann' with themselves; expected two reviewers"):
        cohen(same, "ann", "ann")


def test_cohen_by_hand():
    # Cohen (1960): observed 0.7, expected 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    rows = [(BAD, BAD)] * 4 + [(BAD, FINE)] * 1 + [(FINE, BAD)] * 2 + [(FINE, FINE)] * 3
    assert cohen(by_item(rows, ("ann", "bob")), "ann", "bob").value == pytest.approx(0.4)


def test_conflicts_are_listed_until_they_are_settled():
    said = [
        ("ann", "i1", BAD),
        ("ann", "i0", CAT),
        ("bob", "i0", FINE),
        ("cy", "i0", SKIP),
        ("bob", "i1", FINE),
    ]
    said += [("ann", "i2", BAD), ("bob", "i2", Decision("bad", note="n"))]
    review = reviewed(*said)
    assert conflicts(review) == [
        Conflict("i1", {"ann": BAD, "bob": FINE}),
        Conflict("i0", {"ann": CAT, "bob": FINE}),
    ]
    review.apply(Event("r", "run", "i1", "cy", BAD, "r", resolves=True, seq=99))
    assert [conflict.item for conflict in conflicts(review)] == ["i0"]
