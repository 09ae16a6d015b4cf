"""Counts, yield and agreement, against constructed reviews and other packages."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa
from tests.review_points import BAD, CAT, FINE, SKIP, Points, reviewed

from swaypoint.errors import InputError
from swaypoint.review.log.agreement import Conflict, Kappa, cohen, conflicts, fleiss
from swaypoint.review.log.progress import confusion, progress, yield_curve
from swaypoint.review.log.verdicts import VERDICTS, Decision, Event, Review

laws = settings(max_examples=60, deadline=None)


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
