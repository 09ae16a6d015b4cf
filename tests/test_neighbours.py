"""The neighbour search against scikit-learn's, and where float32 and dead features would mislead it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from swaypoint.data import neighbours as searched
from swaypoint.data.neighbours import Space, among_cells, neighbours, smallest


def points(n: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, width)) * rng.uniform(0.01, 100, width) + 3).astype(np.float32)


def expected(given: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scaled = StandardScaler().fit_transform(given.astype(np.float64))
    distances, index = (
        NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(scaled).kneighbors(scaled[rows])
    )
    return index[:, 1:], distances[:, 1:]


@pytest.mark.parametrize(("n", "width"), [(12, 3), (300, 1), (2000, 5), (9001, 40)])
def test_the_nearest_are_scikit_learns(n, width, monkeypatch):
    monkeypatch.setattr(searched, "_DISTANCES", 50 * n)  # several blocks
    monkeypatch.setattr(searched, "_GATHERED", 20_000)
    monkeypatch.setattr(searched, "_ROWS", 1000)
    given, rows = points(n, width), np.arange(0, n, 7)
    index, distances = Space(given).nearest(given[rows], 10, itself=rows)
    true_index, true_distances = expected(given, rows, 10)
    np.testing.assert_allclose(distances, true_distances, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(index, true_index)


def test_distances_are_relative_and_agreement_is_of_labels():
    given, labels = points(1500, 4), np.random.default_rng(1).integers(0, 3, 1500)
    queries = np.array([3, 700, 1499])
    found = neighbours(torch.from_numpy(given), labels, queries)
    index, distances = expected(given, np.arange(1500), 10)
    np.testing.assert_array_equal(found.index, index[queries])
    typical = np.median(distances.mean(1))  # of every point: the sample has them all
    np.testing.assert_allclose(found.distance, distances[queries].mean(1) / typical, rtol=1e-6)
    np.testing.assert_allclose(found.agreement, (labels[index[queries]] == labels[queries, None]).mean(1))


def test_neighbours_are_sought_among_evenly_spaced_rows():
    given, labels = points(1000, 4), np.zeros(1000, dtype=int)
    found = neighbours(given, labels, np.array([4, 5]), k=3, reference=250)
    pool = given[::4]
    scaled = StandardScaler().fit(pool.astype(np.float64)).transform(given.astype(np.float64))
    index = NearestNeighbors(n_neighbors=4).fit(scaled[::4]).kneighbors(scaled[[4, 5]])[1]
    assert found.index.tolist() == [(4 * index[0, 1:]).tolist(), (4 * index[1, :3]).tolist()]


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e4])
def test_a_feature_that_is_the_same_of_all_counts_for_nothing(value):
    given, labels, rows = points(500, 4), np.arange(500) % 2, np.arange(500)
    with_dead = np.hstack([given, np.full((500, 1), value, dtype=np.float32)])
    plain, dead = (neighbours(features, labels, rows) for features in (given, with_dead))
    np.testing.assert_array_equal(dead.index, plain.index)
    np.testing.assert_allclose(dead.distance, plain.distance, rtol=1e-6)


def test_points_far_from_the_origin_are_told_apart():
    given, labels, rows = points(500, 4), np.arange(500) % 2, np.arange(500)
    far = neighbours(given * 1e-3 / 64 + 8.0, labels, rows)
    np.testing.assert_array_equal(far.index, expected(given * 1e-3 / 64 + 8.0, rows, 10)[0])


def test_of_points_in_one_place_the_first_are_taken_and_none_is_its_own_neighbour():
    given = np.repeat(points(3, 2), 6, axis=0)
    index, distances = Space(given).nearest(given, 5, itself=np.arange(18))
    assert not distances.any()
    assert all(
        sorted({*row, i}) == list(range(6 * (i // 6), 6 * (i // 6) + 6)) for i, row in enumerate(index)
    )
    assert (np.diff(index, axis=1) > 0).all()


def crowds(n: int, width: int, seed: int = 0) -> np.ndarray:
    """Around twenty places, on a scale of its own in each direction."""
    rng = np.random.default_rng(seed)
    around = rng.standard_normal((20, width))[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, width))
    return (around * rng.uniform(0.01, 100, width) + 30).astype(np.float32)


@pytest.mark.parametrize(("n", "share"), [(12, 1.0), (500, 1.0), (4000, 0.99)])
def test_others_among_cells_are_scikit_learns(n, share, monkeypatch):
    monkeypatch.setattr(searched, "EXACT", 5)
    monkeypatch.setattr(searched, "_BLOCK", 300)
    monkeypatch.setattr(searched, "_SEEN", 5000)
    monkeypatch.setattr(searched, "_ROWS", 1000)
    given = crowds(n, 12)
    index, distances = Space(given).others(10)
    true_index, true_distances = expected(given, np.arange(n), 10)
    same = (index[:, :, None] == true_index[:, None, :]).any(2)
    assert same.mean() >= share
    whole = same.all(1)
    np.testing.assert_allclose(distances[whole], true_distances[whole], rtol=1e-6)
    assert not (index == np.arange(n)[:, None]).any()
    assert all(len(set(row)) == 10 for row in index.tolist())
    np.testing.assert_array_equal(index, Space(given).others(10)[0])  # the same each time


def test_among_cells_a_point_may_be_turned():
    given = crowds(400, 6) - 30
    given[200:] = -given[:200] + 1e-3 * given[:200].std(0)
    turns = (1.0, np.full(6, -1.0, dtype=np.float32))
    found = among_cells(given, 7, turns=turns)
    apart = np.min([((given[:, None] * turn - given) ** 2).sum(2) for turn in turns], axis=0)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_array_equal(np.sort(found), np.sort(np.argsort(apart, axis=1)[:, :7]))


def test_among_cells_many_in_one_place_and_fewer_than_are_asked_for():
    given = np.repeat(points(3, 2), [500, 2, 1], axis=0)
    found = among_cells(given, 4)
    assert (found[:500] < 500).all()
    assert (found[:500] >= 0).all()
    assert all(len(set(row)) == 4 for row in found[:500].tolist())
    assert np.sort(among_cells(points(3, 2), 4)).tolist() == [[-1, -1, 1, 2], [-1, -1, 0, 2], [-1, -1, 0, 1]]


def test_nothing_is_asked():
    index, distances = Space(points(20, 3)).nearest(np.empty((0, 3)), 4, itself=np.empty(0, dtype=int))
    assert (index.shape, distances.shape) == ((0, 4), (0, 4))


@settings(deadline=None)
@given(
    q=st.integers(1, 4),
    n=st.integers(1, 700),
    seed=st.integers(0, 99),
    levels=st.integers(1, 50),
    data=st.data(),
)
def test_the_smallest_are_a_sorts(q, n, seed, levels, data):
    m = data.draw(st.integers(1, n))
    values = np.random.default_rng(seed).integers(0, levels, (q, n)).astype(np.float32)
    columns = smallest(values, m)
    assert all(len(set(row)) == m for row in columns.tolist())
    taken = np.sort(np.take_along_axis(values, columns, 1), axis=1)
    np.testing.assert_array_equal(taken, np.sort(values, axis=1)[:, :m])
