"""Probabilities corrected by verdicts: against scipy's optimum, and on data whose probabilities are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from swaypoint.review.log.counting import RIGHT, UNDECIDED, UNSEEN, WRONG
from swaypoint.review.log.recalibrated import recalibrated

N, QUEUED, DEALT = 6000, 400, 1200


def case(seed, shift=-1.2, slope=0.6):
    """A model's probabilities in the order of the ranking, which are wrong, and a review: its first
    points, then random ones, and after the draw of the queue only the wrong ones."""
    rng = np.random.default_rng(seed)
    p = np.sort(expit(rng.normal(-1, 2, N)))[::-1]
    right = expit(shift + slope * logit(p))
    wrong = rng.random(N) < right
    states, places = np.full(N, UNSEEN), np.full(N, -1.0)
    places[QUEUED:] = np.arange(N - QUEUED) / (N - QUEUED)
    order = (QUEUED + rng.permutation(N - QUEUED))[:DEALT]
    said = np.where(wrong, WRONG, RIGHT)
    picked = QUEUED + np.flatnonzero(wrong[QUEUED : QUEUED + 2000])
    for index in (np.arange(QUEUED), order, picked):
        states[index] = said[index]
    return p, right, states, places, order


@pytest.mark.parametrize("seed", range(3))
def test_the_queue_does_not_bias_it(seed):
    p, right, states, places, order = case(seed)
    found = recalibrated(p, states, places, order)
    assert found.of(p).sum() == pytest.approx(right.sum(), rel=0.12)
    assert np.abs(found.of(p) - right).mean() < 0.03 < 0.1 < np.abs(p - right).mean()
    judged = states != UNSEEN
    everything = recalibrated(p, np.where(judged, states, UNDECIDED), np.full(N, -1.0), np.empty(0, int))
    assert everything.of(p).sum() > 1.25 * right.sum(), "all verdicts as if they were a sample are biased"
    assert DEALT / 2 < found.judged < judged.sum()


def test_it_is_the_optimum_that_scipy_finds():
    p, _, states, places, order = case(5)
    states[order[:50]] = UNDECIDED
    weights = np.where(places < 0, 1.0, 0.0)
    weights[order] = (N - QUEUED) / DEALT
    weights[states == UNDECIDED] = 0
    weights *= weights.sum() / np.square(weights).sum()
    wrong, x = states == WRONG, logit(np.clip(p, 1e-6, 1 - 1e-6))

    def cost(at):
        z = at[0] + at[1] * x
        fit = weights @ np.where(wrong, np.logaddexp(0, -z), np.logaddexp(0, z))
        return fit + at[0] ** 2 / 2 + (at[1] - 1) ** 2 / 0.5

    best = minimize(cost, [0.0, 1.0], tol=1e-12).x
    found = recalibrated(p, states, places, order)
    np.testing.assert_allclose([found.shift, found.slope], best, atol=1e-4)


def test_without_verdicts_the_model_is_believed_and_few_move_it_little():
    p = np.linspace(0.01, 0.99, 99)
    states, places = np.full(99, UNSEEN), np.arange(99) / 99
    none = recalibrated(p, states, places, np.empty(0, dtype=int))
    np.testing.assert_allclose(none.of(p), p, atol=1e-12)
    states[[10, 60]] = RIGHT
    few = recalibrated(p, states, places, np.array([10, 60])).of(p)
    assert (np.diff(few) > 0).all()
    assert np.abs(few - p).max() < 0.25
