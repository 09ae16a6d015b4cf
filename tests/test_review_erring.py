"""How often reviewers err, and what their verdicts say in spite of it: against exact probabilities."""

from __future__ import annotations

import math
import re
import shutil
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import beta, binom
from tests.review_points import BAD, CAT, FINE, SKIP, Points, reviewed
from tests.review_site import Site

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
)
from swaypoint.review.log.overlaps import Overlap, fitted, overlapping, overlaps
from swaypoint.review.log.rates import share_interval
from swaypoint.review.log.remaining import Known, counts
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
    found = {one.reviewer: one for one in overlaps(reviewed(*said))}

    def counted(who):
        return tuple(getattr(found[who], name) for name in ("points", "right", "alarms", "wrong", "misses"))

    # Of i1 Ann and Bob each see one who says right and one who says wrong.
    assert counted("cy") == (2, 1, 1, 1, 0)
    assert counted("ann") == (3, 0, 0, 2, 1)
    assert counted("bob") == (3, 1, 1, 1, 0)
    found = {one.reviewer: one for one in overlaps(reviewed(*said), known={"i1", "i2"})}
    assert counted("ann") == (1, 0, 0, 1, 0)
    assert overlaps(reviewed(("ann", "i0", BAD), ("bob", "i1", BAD), ("cy", "i1", SKIP))) == ()


def test_what_settles_a_conflict_was_said_knowing_the_others():
    said = [(who, f"i{i}", BAD if i % 2 else FINE) for i in range(6) for who in ("ann", "bob")]
    event = reviewed(("ann", "i0", BAD)).events[0]
    review = reviewed(*said, replace(event, id="settled", action="settled", resolves=True))
    assert [(one.reviewer, one.points, one.alarms) for one in overlaps(review)] == [
        ("ann", 5, 0),
        ("bob", 5, 0),
    ]


def drawn_verdicts(rng, points, wrong, alarms, misses):
    """Of so many wrong points and right ones: verdicts ``(points, R)``, and the truth."""
    truth = np.arange(points) < wrong
    err = rng.random((points, len(alarms))) < np.where(truth[:, None], misses, alarms)
    return truth[:, None] ^ err, truth


@pytest.mark.parametrize("reviewers", [2, 3, 4])
def test_the_fit_is_the_most_probable_by_another_maximisation(reviewers):
    """Of the posterior, written down point by point and maximised by scipy from several starts. Some points
    are judged by fewer, and have another share of wrong ones."""
    rng = np.random.default_rng(reviewers)
    alarms, misses = rng.uniform(0.01, 0.1, reviewers), rng.uniform(0.05, 0.3, reviewers)
    said = drawn_verdicts(rng, 300, 60, alarms, misses)[0].astype(np.int8)
    said[200:, 2:] = -1
    says, times = np.unique(said, axis=0, return_counts=True)
    groups = [says[:, -1] >= 0, says[:, -1] < 0] if reviewers > 2 else [np.ones(len(says), dtype=bool)]

    def against(logits):
        rates = 1 / (1 + np.exp(-logits))
        a, m, share = np.split(rates, [reviewers, 2 * reviewers])
        total = (0.5 * np.log(rates) + 2 * np.log1p(-rates)).sum()
        for group, pi in zip(groups, share, strict=True):
            for row, count in zip(says[group], times[group], strict=True):
                here = row >= 0
                if_wrong = pi * np.where(row == 1, 1 - m, m)[here].prod()
                if_right = (1 - pi) * np.where(row == 1, a, 1 - a)[here].prod()
                total += count * math.log(if_wrong + if_right)
        return -total

    starts = [np.full(2 * reviewers + len(groups), -2.0), rng.normal(-2, 0.5, 2 * reviewers + len(groups))]
    found = min((minimize(against, start, method="BFGS") for start in starts), key=lambda one: one.fun)
    expected = 1 / (1 + np.exp(-found.x))
    a, m = fitted(says, times)
    np.testing.assert_allclose(np.concatenate([a, m]), expected[: 2 * reviewers], atol=2e-4)
    again = fitted(says[::-1], times[::-1])
    np.testing.assert_allclose(again, (a, m), atol=1e-6)


def test_the_fit_finds_rates_that_were_put_in():
    alarms, misses = np.array([0.02, 0.05, 0.1]), np.array([0.05, 0.1, 0.3])
    said, _ = drawn_verdicts(np.random.default_rng(0), 40_000, 8_000, alarms, misses)
    says, times = np.unique(said.astype(np.int8), axis=0, return_counts=True)
    for found, put_in in zip(fitted(says, times), (alarms, misses), strict=True):
        np.testing.assert_allclose(found, put_in, atol=0.012)


@laws
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_names_and_the_order_of_points_change_nothing(seed, reviewers):
    rng = np.random.default_rng(seed)
    said = rng.choice([-1, 0, 1], (30, reviewers), p=[0.2, 0.6, 0.2])
    said = said[(said >= 0).sum(1) > 1]
    if not len(said):
        return
    turn, ones = rng.permutation(reviewers), np.ones(len(said), dtype=int)
    names = tuple("abcde"[:reviewers])
    found = {one.reviewer: one for one in overlapping(names, said, ones)}
    turned = overlapping(tuple(names[i] for i in turn), said[rng.permutation(len(said))][:, turn], ones)
    for one in turned:
        other = found[one.reviewer]
        assert (one.right, one.alarms, one.wrong, one.misses) == (
            other.right,
            other.alarms,
            other.wrong,
            other.misses,
        )
        assert (one.alarm_rate, one.miss_rate) == pytest.approx((other.alarm_rate, other.miss_rate), abs=1e-4)


@pytest.mark.parametrize("reviewers", [2, 3])
@pytest.mark.parametrize("wrong", [1, 10, 80])
def test_rates_are_bounded_by_what_the_others_say_exactly(reviewers, wrong):
    """Against the others a reviewer seems to err at least as often as they do, at every share of wrong
    points, however the others err: by the probabilities of all that can be said of a point."""
    rng = np.random.default_rng(wrong)
    for _ in range(20):
        alarms = rng.uniform(0, 1, reviewers)
        misses = rng.uniform(0, 1 - alarms)
        seen = {(side, err): 0.0 for side in (0, 1) for err in (0, 1)}
        for truth, share in ((1, wrong / 100), (0, 1 - wrong / 100)):
            says = 1 - misses if truth else alarms
            for word in product((0, 1), repeat=reviewers):
                chance = share * np.where(word, says, 1 - says).prod()
                others = sum(word[1:])
                if 2 * others != reviewers - 1:
                    side = int(2 * others > reviewers - 1)
                    seen[side, int(word[0] != side)] += chance
        assert seen[0, 1] / (seen[0, 0] + seen[0, 1]) >= alarms[0] - 1e-12
        assert seen[1, 1] / (seen[1, 0] + seen[1, 1]) >= misses[0] - 1e-12


def test_overlaps_correct_the_count_as_often_as_they_say():
    """A tenth of 600 are wrong; each of three reviewers judges by themselves the first 100, then 200 others,
    dealt at random, and errs on 1 of 20 right points and 1 of 10 wrong ones."""
    rng, missed, known, reviews, wrong = np.random.default_rng(11), 0, 0, 60, 60
    points, names = Points(600), ("ann", "bob", "cy")
    event = draw(points, "ann", "the draw")
    for number in range(reviews):
        says, _ = drawn_verdicts(rng, 600, wrong, [0.05] * 3, [0.1] * 3)
        event = replace(event, digest=str(number))
        before = [
            (who, f"i{i}", BAD if says[i, n] else FINE) for i in range(100) for n, who in enumerate(names)
        ]
        order = dealt(points, reviewed(*before, event))[:200].tolist()
        after = [(who, f"i{i}", BAD if says[i, n] else FINE) for i in order for n, who in enumerate(names)]
        said = counts(points, reviewed(*before, event, *after)).corrected
        if said is not None:
            known += said.high < 600
            missed += not said.low <= wrong <= said.high
    assert known > 0.9 * reviews
    assert missed <= (LOWER + UPPER) * reviews + 2.5 * math.sqrt(0.05 * 0.95 * reviews)


def test_known_points_and_overlaps_go_together():
    many = Overlap("ann", 9000, 5000, 50, 4000, 200, 0.01, 0.05)
    known = Checked("ann", 60, 1, 60, 4)

    def spans(reviewers, shared):
        found = corrected(400, 600, 5000, judged=1000, found=90, reviewers=reviewers, shared=shared)
        return found.alarms[1], found.misses[1], found.low, found.high

    alone, others, both = spans([known], []), spans([], [many]), spans([known], [many])
    assert others[0] < both[0] * 1.1 < alone[0]
    assert others[1] < both[1] * 1.1 < alone[1]
    assert alone[2] <= both[2] <= both[3] <= alone[3]
    nothing = Overlap("ann", 2, 1, 0, 1, 0, 0.1, 0.1)
    assert spans([known], [nothing])[3] >= alone[3]
    two = spans([known], [replace(many, reviewer="bob")])
    assert two[0] >= alone[0], "the worst counts"


def test_errors_of_all_who_decide_a_point_are_rarer():
    """As with the product of the rates: by a reviewer of that name who errs so, but for what is not found."""
    shared = [Overlap(who, 900, 500, 10, 400, 40, 0.02, 0.1) for who in ("ann", "bob")]

    def spans(deciders):
        return corrected(100, 200, 1000, judged=500, found=90, reviewers=(), shared=shared, deciders=deciders)

    alarms, misses = spans(1).alarms[1], spans(1).misses[1]
    ends = [(spans(d).low, spans(d).high) for d in (1, 2, 3)]
    assert ends[0][0] < ends[1][0] <= ends[2][0] <= 100
    assert ends[0][1] > ends[1][1] >= ends[2][1] >= 200
    for d, (_, high) in enumerate(ends, start=1):
        worst = next(k for k in range(1001) if k - _quantile(k, misses**d, 1, UPPER) > 200) - 1
        assert high == worst
    assert alarms > 0.02


def test_how_many_decided_each_point():
    both = [(who, f"i{i}", FINE) for i in range(100) for who in ("ann", "bob")]
    both += [("ann", "i100", FINE), ("ann", "i101", BAD), ("bob", "i101", SKIP), ("ann", "i102", BAD)]
    both += [("bob", "i102", FINE), ("ann", "i103", SKIP)]
    points = Points(110)
    found = Known.of(points, reviewed(*both))
    assert found.deciders.tolist() == [2] * 100 + [1, 1] + [0] * 8, "in conflict or skipped: nothing counts"
    last = reviewed(*both).events[-1]
    settled = replace(last, id="s", action="s", item="i102", actor="bob", decision=BAD, resolves=True)
    for who in ("bob", "cy"):
        review = reviewed(*both, replace(settled, actor=who))
        assert Known.of(points, review).deciders[102] == 1, "what one settled, that one said"


def test_too_few_overlaps_change_nothing_and_it_is_said():
    points = Points(90)
    few = [(who, f"i{i}", FINE) for i in range(4) for who in ("ann", "bob")]
    review = reviewed(*few, draw(points, "ann", "the draw"), *(("ann", f"i{i}", FINE) for i in range(60)))
    found = described(points, review)
    assert found["corrected"] is None
    assert "the points that two or more decided are too few to tell how often they err." in " ".join(
        found["explained"]
    )
    assert [one["points"] for one in found["overlaps"]] == [4, 4]


def test_overlaps_are_said_with_what_they_take_for_granted():
    points = Points(900)
    before = [(who, f"i{i}", BAD if i % 3 == 0 else FINE) for i in range(600) for who in ("ann", "bob", "cy")]
    before[0] = ("ann", "i0", FINE)
    review = reviewed(*before, draw(points, "ann", "the draw"))
    text = " ".join(described(points, review)["explained"])
    assert "Reviewers err: by the points that two or more decided, they take about" in text
    assert "if each decides by themselves and one errs no more often where another does" in text
    assert re.search(r"Allowing for that, between 19\d and 50\d of the 900 are wrong", text)


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


@pytest.mark.parametrize("blind", [True, False])
def test_a_blind_page_does_not_hold_one_against_the_other(audited, tmp_path, blind):
    site = Site(Path(shutil.copytree(audited, tmp_path / "audit")), blind=blind)
    try:
        ada, bob = site.page("Ada"), site.page("Bob")
        for page, verdict in ((ada, "correct"), (bob, "bad")):
            page.decide(site.items.ids[0], verdict)
        shown = ada.json("/progress.json")["number"]["shared"]
    finally:
        site.store.close()
    assert [one["reviewer"] for one in shown] == ([] if blind else ["Ada", "Bob"])
