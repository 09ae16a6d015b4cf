"""Counts, yield, errors that remain and agreement, against constructed reviews and other packages."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa
from statsmodels.stats.proportion import proportion_confint

from swaypoint.errors import InputError
from swaypoint.review.log.agreement import Conflict, Kappa, cohen, conflicts, fleiss
from swaypoint.review.log.progress import (
    Tail,
    advice,
    audit_sample,
    clopper_pearson,
    confusion,
    progress,
    remaining,
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
    """(actor, item, decision) each, in order."""
    return Review(
        "run", [Event(f"{i}", "run", item, a, d, f"{i}", seq=i + 1) for i, (a, item, d) in enumerate(said)]
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


def test_yield_counts_each_point_once_where_it_was_first_decided_and_not_the_sample():
    said = [
        ("ann", "i0", BAD),
        ("ann", "i1", FINE),
        ("ann", "i2", SKIP),
        ("ann", "i3", BAD),
        ("ann", "i4", FINE),
    ]
    said += [("ann", "i0", FINE), ("ann", "i2", BAD), ("bob", "i3", FINE)]
    curve = yield_curve(Points(5), reviewed(*said), sample=["i4"])
    assert curve.decided.tolist() == [1, 2, 3], "i0, i1, i2; i3 is in conflict"
    np.testing.assert_allclose(curve.last_50, [0, 0, 1 / 3])


def test_a_long_curve_is_thinned_to_its_last_point():
    said = [("ann", f"i{i}", BAD if i < 500 else FINE) for i in range(1001)]
    curve = yield_curve(Points(1001), reviewed(*said), most=50)
    assert len(curve.decided) == 50
    assert (curve.decided[0], curve.decided[-1]) == (1, 1001)
    assert curve.last_50[-1] == curve.last_200[-1] == 0


# -- the tail -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wrong", "seen"), [(0, 300), (300, 300), (1, 1), (0, 1), (3, 300), (57, 120)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_clopper_pearson_is_that_of_statsmodels(wrong, seen, confidence):
    expected = proportion_confint(wrong, seen, alpha=1 - confidence, method="beta")
    np.testing.assert_allclose(clopper_pearson(wrong, seen, confidence), expected, rtol=1e-8, atol=1e-12)


def test_zero_in_three_hundred_bounds_the_tail_at_about_one_percent():
    assert clopper_pearson(0, 300)[1] == pytest.approx(1 - 0.025 ** (1 / 300))
    assert 0.009 < clopper_pearson(0, 300)[1] < 0.013


def test_the_sample_is_of_the_unseen_tail_and_the_same_for_a_seed():
    points, review = Points(200), reviewed(("ann", "i150", BAD), ("bob", "i160", SKIP), ("ann", "x", BAD))
    sample = audit_sample(points, review, 60, 7, top=100)
    assert len(set(sample)) == 60
    assert set(sample) <= {f"i{i}" for i in range(100, 200)} - {"i150", "i160"}
    assert (
        sample == audit_sample(points, review, 60, 7, top=100) != audit_sample(points, review, 60, 8, top=100)
    )
    assert set(audit_sample(points, review, 1000, 7, top=100)) == {f"i{i}" for i in range(100, 200)} - {
        "i150",
        "i160",
    }
    assert audit_sample(points, review, 5, 7, top=200) == []
    with pytest.raises(InputError, match="the random sample has 0 points; expected at least 1"):
        audit_sample(points, review, 0, 7)


def test_the_sample_is_uniform_and_so_is_its_first_part():
    points, review = Points(40), reviewed(("ann", "i39", BAD))
    samples = [audit_sample(points, review, 8, seed, top=20) for seed in range(2000)]
    for part, size in ((lambda s: s, 8), (lambda s: s[:2], 2)):
        counts = Counter(item for sample in samples for item in part(sample))
        share = size / 19
        bound = 4.5 * math.sqrt(2000 * share * (1 - share))  # of each of 19 points: p < 1e-4 in all
        assert len(counts) == 19
        assert all(abs(count - 2000 * share) < bound for count in counts.values())


def test_what_remains():
    points = Points(1000)
    said = [("ann", f"i{i}", BAD) for i in range(100)]  # the queue
    sample = audit_sample(points, reviewed(*said), 50, 0, top=200)
    assert remaining(points, reviewed(*said), sample, top=200) is None
    said += [("ann", item, BAD if i < 2 else FINE) for i, item in enumerate(sample[:40])]
    tail = remaining(points, reviewed(*said), sample, top=200)
    low, high = proportion_confint(2, 40, method="beta")
    assert (tail.size, tail.seen, tail.wrong, tail.undecided) == (750, 40, 2, 0)
    assert (tail.low, tail.high) == pytest.approx((low, high))
    assert tail.errors == (math.floor(750 * low), math.ceil(750 * high))
    said += [("ann", sample[40], SKIP), ("bob", sample[5], BAD)]  # undecided, and in conflict
    tail = remaining(points, reviewed(*said), sample, top=200)
    assert (tail.seen, tail.wrong, tail.undecided) == (41, 2, 2)
    assert tail.low == pytest.approx(proportion_confint(2, 41, method="beta")[0])
    assert tail.high == pytest.approx(proportion_confint(4, 41, method="beta")[1])


def test_the_interval_holds_the_truth_as_often_as_it_says():
    points, truth = Points(600), np.random.default_rng(0).random(600) < 0.05
    held = 0
    for seed in range(100):
        sample = audit_sample(points, Review("run"), 60, seed, top=100)
        verdicts = [("ann", item, BAD if truth[int(item[1:])] else FINE) for item in sample]
        tail = remaining(points, reviewed(*verdicts), sample, top=100)
        unseen = set(points.ids[100:]) - set(sample)
        held += tail.errors[0] <= sum(truth[int(item[1:])] for item in unseen) <= tail.errors[1]
    assert held >= 93


def advised(wrong, *, tail):
    said = [("ann", f"i{i}", BAD if i < wrong else FINE) for i in range(50)]
    return advice(tail, yield_curve(Points(50), reviewed(*said)))


def test_advice():
    clean, nothing = Tail(10_000, 300, 0, 0, *clopper_pearson(0, 300)), yield_curve(Points(1), Review("run"))
    assert re.search(
        r"is not known: .*None wrong among 300 .*at most 1\.2 % of the rest", advice(None, nothing)
    )
    assert "fewer than 50 decisions yet: go on" in advice(clean, nothing)
    text = advised(10, tail=clean)
    assert text.startswith(
        "Of 300 random points that nobody had reviewed, 0 were wrong: with 95 % confidence"
    )
    assert "0 % to 1.2 % of the other 10,000 are, 0 to 123 points." in text
    assert "last 50 still 20 % were wrong: go on." in text
    assert text.endswith("To bound the rest at 0.05 % takes some 7,400 without an error.")
    assert pytest.approx(0.0005, rel=0.01) == 1 - 0.025 ** (1 / 7400)
    assert "0 % were wrong, no more than a random pick may find: stop here" in advised(0, tail=clean)
    assert "(3 undecided)" in advice(Tail(10, 5, 0, 3, 0.0, 0.9), nothing)


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
