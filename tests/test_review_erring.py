"""How often reviewers err, and what their verdicts say in spite of it: against exact probabilities."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom
from tests.review_points import BAD, CAT, FINE, SKIP, Points, reviewed

from swaypoint.errors import InputError
from swaypoint.review.cleaning.checks import read_checks
from swaypoint.review.log.counting import LOWER, UPPER
from swaypoint.review.log.dealing import dealt, draw
from swaypoint.review.log.erring import (
    _CHANCE,
    Checked,
    _most,
    _quantile,
    _surprise,
    checked,
    corrected,
    overlapping,
    share_interval,
)
from swaypoint.review.log.remaining import counts
from swaypoint.review.log.statement import described

laws = settings(max_examples=60, deadline=None)
GOOD = Checked("ann", 100_000, 0, 100_000, 0)


@laws
@given(st.integers(0, 300), st.data())
def test_a_rates_interval_is_that_of_the_prior_posterior_ratio(of, data):
    found = data.draw(st.integers(0, of))
    error = data.draw(st.sampled_from([0.05, 0.005]))
    low, high = share_interval(found, of, error)
    grid = np.linspace(0.0005, 0.9995, 2000)
    ratio = beta.logpdf(grid, 0.5 + found, 2 + of - found) - beta.logpdf(grid, 0.5, 2)
    kept = grid[ratio > math.log(error)]
    assert low == pytest.approx(kept[0], abs=6e-4)
    assert high == pytest.approx(kept[-1], abs=6e-4)
    assert low <= found / max(of, 1) <= high
    assert of or (low, high) == (0, 1)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_rate_is_held_at_all_moments_together_exactly(share):
    """Each end, over all courses of 100 trials."""
    for end in (0, 1):
        held, missed = {0: 1.0}, 0.0
        for trials in range(1, 101):
            after: Counter[int] = Counter()
            for found, chance in held.items():
                after[found + 1] += chance * share
                after[found] += chance * (1 - share)
            held = {}
            for found, chance in after.items():
                interval = share_interval(found, trials, 0.02)
                if interval[0] <= share if end == 0 else interval[1] >= share:
                    held[found] = chance
                else:
                    missed += chance
        assert missed <= 0.02


@laws
@given(st.integers(1, 400), st.floats(0.001, 0.999))
def test_chance_is_no_smaller_than_it_is_taken_for(size, share):
    for count in {0, size // 3, size // 2, size}:
        surprise = _surprise(count, share, size)
        tail = binom.cdf(count, size, share) if count <= size * share else binom.sf(count - 1, size, share)
        assert tail <= math.exp(-surprise) * (1 + 1e-9)
    assert binom.sf(_most(size, share, 0.01), size, share) <= 0.01
    few, many = _quantile(size, share, 0, 0.4), _quantile(size, share, 1, 0.4)
    assert few <= size * share <= many
    assert binom.cdf(math.ceil(few) - 1, size, share) <= 0.4 * _CHANCE
    assert binom.sf(math.floor(many), size, share) <= 0.4 * _CHANCE


@laws
@given(st.integers(1, 500), st.data())
def test_reviewers_who_hardly_err_change_little(points, data):
    low = data.draw(st.integers(0, points))
    high = data.draw(st.integers(low, points))
    found = data.draw(st.integers(0, low))
    said = corrected(low, high, points, judged=points, found=found, reviewers=[GOOD])
    assert 0 <= said.low <= low <= high <= said.high <= points
    assert low - said.low <= 5
    assert said.high - high <= 5
    assert 0 <= said.still_low <= said.still_high <= points


def test_without_knowing_how_they_err_nothing_is_known():
    nothing = Checked("ann", 0, 0, 0, 0)
    said = corrected(10, 20, 100, judged=50, found=10, reviewers=[nothing])
    assert (said.low, said.high) == (0, 100)
    assert (said.alarms, said.misses) == ((0.0, 1.0), (0.0, 1.0))
    both = corrected(100, 200, 1000, judged=500, found=90, reviewers=[GOOD, Checked("bob", 50, 10, 50, 10)])
    one = corrected(100, 200, 1000, judged=500, found=90, reviewers=[GOOD])
    assert both.low < one.low <= one.high < both.high, "as good as the best, as bad as the worst"


def test_the_correction_holds_as_often_as_it_says():
    """A tenth of 400 are wrong, 1 of 20 right ones is taken for wrong, 1 of 6 wrong ones for right."""
    rng, missed, still_missed, reviews, wrong = np.random.default_rng(3), 0, 0, 150, 40
    points = Points(400)
    event = draw(points, "ann", "the draw")
    for number in range(reviews):
        truth = np.arange(400) < wrong
        says = truth ^ (rng.random(400) < np.where(truth, 1 / 6, 1 / 20))
        checks = {f"i{i}": bool(truth[i]) for i in range(0, 400, 3)}
        event = type(event)(**{**vars(event), "digest": str(number)})
        order = dealt(points, reviewed(event))[:250].tolist()
        judged = [*order, *(i for i in range(0, 400, 3) if i not in order)]
        review = reviewed(event, *(("ann", f"i{i}", BAD if says[i] else FINE) for i in judged))
        said = counts(points, review, checks).corrected
        missed += not said.low <= wrong <= said.high
        left = wrong - sum(truth[i] and says[i] for i in judged)
        still_missed += not said.still_low <= left <= said.still_high
    bound = (LOWER + UPPER) * reviews + 2.5 * math.sqrt(0.05 * 0.95 * reviews)
    assert missed <= bound
    assert still_missed <= bound


def test_checks_are_counted_by_reviewer():
    checks = {"i0": True, "i1": True, "i2": False, "i3": False, "i4": False, "i9": True}
    said = [("ann", "i0", BAD), ("ann", "i1", FINE), ("ann", "i2", CAT), ("ann", "i3", FINE)]
    said += [
        ("bob", "i4", FINE),
        ("bob", "i1", SKIP),
        ("bob", "i7", BAD),
        ("cy", "i0", BAD),
        ("cy", "i0", None),
    ]
    assert checked(reviewed(*said), checks) == (Checked("ann", 2, 1, 2, 1), Checked("bob", 1, 0, 0, 0))
    assert checked(reviewed(*said), {}) == ()


def test_who_stands_apart_from_most_others():
    said = [(who, "i0", BAD) for who in ("ann", "bob", "cy")]
    said += [
        ("ann", "i1", FINE),
        ("bob", "i1", FINE),
        ("cy", "i1", CAT),
        ("ann", "i2", FINE),
        ("bob", "i2", BAD),
    ]
    said += [("cy", "i3", FINE), ("bob", "i3", SKIP), ("cy", "i4", BAD)]
    found = {one.reviewer: one for one in overlapping(reviewed(*said))}
    # Of i1 Ann and Bob each see one who says right and one who says wrong.
    assert found["cy"] == Checked("cy", 1, 1, 1, 0)
    assert found["ann"] == Checked("ann", 0, 0, 2, 1)
    assert found["bob"] == Checked("bob", 1, 1, 1, 0)


def test_what_was_not_checked_is_said():
    points = Points(90)
    review = reviewed(draw(points, "ann", "the draw"), *(("ann", f"i{i}", FINE) for i in range(60)))
    text = " ".join(described(points, review)["explained"])
    assert "no points whose label is known were given" in text
    found = described(points, review, {f"i{i}": i % 2 == 0 for i in range(40)})
    assert (
        "of 20 points whose label is known to be right they took 0 for wrong, of 20 known to be wrong 20 for"
        in (" ".join(found["explained"]))
    )
    assert found["checked"] == [{"reviewer": "ann", "right": 20, "alarms": 0, "wrong": 20, "misses": 20}]
    assert found["corrected"]["still_high"] == found["corrected"]["high"] > 0


@pytest.mark.parametrize("column", ["id", "index"])
def test_known_labels_are_read(audited_rows, tmp_path, column):
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.review.items import Items

    items = Items(AuditFolder(audited_rows))
    other = {name: items.classes[i - 1] for i, name in enumerate(items.classes)}
    key = {"id": lambda p: items.ids[p], "index": lambda p: int(items.scores["index"][p])}[column]
    rows = [f"{key(0)},{items.label(0)}", f"{key(5)},{other[items.label(5)]}", "7777777,0"]
    file = tmp_path / "known.csv"
    file.write_text("\n".join([f"{column},label", *rows]))
    assert read_checks(items, file) == {items.ids[0]: False, items.ids[5]: True}
    file.write_text(f"{column},label\n7777777,0\n")
    with pytest.raises(InputError, match=r"none of its points is in sklearn:wine; expected CSV"):
        read_checks(items, file)


def test_checks_come_up_among_the_queue_and_look_like_it(audited, tmp_path):
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.review.items import Items
    from swaypoint.review.log.store import open_store
    from swaypoint.review.page.desk import Desk
    from swaypoint.review.page.query import QUEUE, Query

    items, store = Items(AuditFolder(audited)), open_store(tmp_path / "review.sqlite")
    try:
        last = [items.ids[p] for p in np.argsort(-items.scores["rank"])[:5].tolist()]
        plain, desk = Desk(items, store), Desk(items, store, checks=dict.fromkeys(last, True))
        with desk.reading(), plain.reading():
            usual, view = plain.view(QUEUE, "ann"), desk.view(QUEUE, "ann")
            places = [place for place, p in enumerate(view.positions.tolist()) if items.ids[p] in last]
            assert places == [9, 19, 29, 39, 49]
            rest = [p for p in usual.positions.tolist() if items.ids[p] not in last]
            assert [p for p in view.positions.tolist() if items.ids[p] not in last] == rest
            shown = [desk.rank(view, p) for p in view.positions[:60].tolist()]
            assert shown == list(range(1, 61)), "none stands out"
            check = int(view.positions[9])
            assert desk.rank(usual, int(usual.positions[0])) == 1
            elsewhere = desk.view(Query(), "ann")
            assert desk.rank(elsewhere, check) == items.scores["rank"][check]
            np.testing.assert_array_equal(elsewhere.positions, plain.view(Query(), "ann").positions)
    finally:
        store.close()
