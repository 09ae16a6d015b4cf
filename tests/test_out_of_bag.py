"""Trees out of bag: what a point's own label may not touch, and scikit-learn's forests as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from swaypoint.models import out_of_bag as module
from swaypoint.models.out_of_bag import out_of_bag

X, Y = load_wine(return_X_y=True)
X = X[:, :6].copy()
X[::7, 2] = np.nan
NONE = X[:0]


@pytest.mark.parametrize("point", [0, 59, 177])
def test_no_label_has_a_part_in_what_is_said_of_its_own_point(point):
    y = Y.copy()
    y[point] = (y[point] + 1) % 3
    one, _ = out_of_bag(X, Y, NONE, classes=3, trees=20)
    other, _ = out_of_bag(X, y, NONE, classes=3, trees=20)
    np.testing.assert_array_equal(one[point], other[point])
    assert (one != other).any()  # though it has in what is said of others


def forests(seed, others):
    """Out of bag and of ``others``: half of the votes from either of scikit-learn's forests."""
    kinds = RandomForestClassifier, ExtraTreesClassifier
    both = [kind(200, bootstrap=True, oob_score=True, random_state=seed).fit(X, Y) for kind in kinds]
    return (
        np.mean([one.oob_decision_function_ for one in both], axis=0),
        np.mean([one.predict_proba(others) for one in both], axis=0),
    )


def test_votes_are_those_of_scikit_learns_forests_up_to_chance():
    ours, of_others = out_of_bag(X, Y, X[:9], classes=4, trees=400)
    one, other = (forests(seed, X[:9]) for seed in (1, 2))
    chance = np.abs(one[0] - other[0]).mean()
    for theirs, of_theirs in (one, other):
        assert np.abs(ours[:, :3] - theirs).mean() < 1.2 * chance
        np.testing.assert_allclose(of_others[:, :3], of_theirs, atol=0.15)
    np.testing.assert_allclose(of_others[:, 3], 0.25 / 401)  # a class that nobody has: a quarter of one vote
    for p in (ours, of_others):
        assert p.dtype == np.float32
        np.testing.assert_allclose(p.sum(1), 1.0, rtol=1e-6)


def test_the_same_seed_gives_the_same_bits_however_the_rows_are_read(monkeypatch):
    one = out_of_bag(X, Y, X, classes=3, seed=1, trees=12)
    monkeypatch.setattr(module, "_ROWS", 7)
    for ours, again in zip(one, out_of_bag(X, Y, X, classes=3, seed=1, trees=12), strict=True):
        np.testing.assert_array_equal(ours, again)
    assert (one[0] != out_of_bag(X, Y, X, classes=3, seed=2, trees=12)[0]).any()


def test_of_many_points_a_tree_draws_some(monkeypatch):
    monkeypatch.setattr(module, "DRAWN", 40)
    monkeypatch.setattr(module, "SMALL", 100)
    told = []
    p, _ = out_of_bag(X, Y, NONE, classes=3, on_tree=lambda *at: told.append(at))
    assert told[-1] == (168, 168)  # 300 times 100 of 178
    assert (p.argmax(1) == Y).mean() > 0.9
