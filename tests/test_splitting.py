"""The split: exact where the number of points is known, and by the position alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swaypoint.data import splitting
from swaypoint.data.splitting import Split

SHARES = st.floats(0.0, 1.0, allow_nan=False)
SEEDS = st.integers(0, 2**40)


def hashed(index: int, seed: int) -> int:
    """SplitMix64's (seed + 1)-th step from ``index``, in Python's whole numbers."""
    x = (index + (seed + 1) * 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


@given(n=st.integers(0, 300), share=SHARES, seed=SEEDS)
def test_the_smallest_hashes_are_held_out_and_their_number_is_exact(n, share, seed):
    smallest = sorted(range(n), key=lambda index: hashed(index, seed))[: round(share * n)]
    expected = np.isin(np.arange(n), smallest)
    np.testing.assert_array_equal(Split.of(n, seed=seed, share=share).held_out(np.arange(n)), expected)


@pytest.mark.parametrize("n", [splitting._CHUNK - 1, splitting._CHUNK, 3 * splitting._CHUNK + 7, 1_000_003])
@pytest.mark.parametrize("share", [1e-6, 0.1, 0.2, 0.5, 1 - 1e-6])
def test_the_share_is_exact_beyond_a_chunk_and_a_bucket(n, share):
    assert Split.of(n, seed=3, share=share).held_out(np.arange(n)).sum() == round(share * n)


@given(n=st.integers(1, 300), share=SHARES, seed=SEEDS, data=st.data())
def test_a_point_is_held_out_or_not_whatever_the_chunks(n, share, seed, data):
    split = Split.of(n, seed=seed, share=share)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    chunks = np.split(np.arange(n), cuts)
    np.testing.assert_array_equal(
        np.concatenate([split.held_out(chunk) for chunk in chunks]), split.held_out(np.arange(n))
    )


def test_the_threshold_does_not_depend_on_the_chunk(monkeypatch):
    one = Split.of(10_000, seed=1, share=0.37)
    monkeypatch.setattr(splitting, "_CHUNK", 77)
    assert Split.of(10_000, seed=1, share=0.37) == one


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.51, 0.99, 1.0])
def test_of_one_point(share):
    assert Split.of(1, share=share).held_out(np.arange(1)).tolist() == [round(share) == 1]


def test_other_seeds_hold_out_other_points():
    chosen = [Split.of(1000, seed=seed).held_out(np.arange(1000)) for seed in range(20)]
    together = [(a & b).sum() for i, a in enumerate(chosen) for b in chosen[:i]]
    # 40 of 1,000 where they are independent.
    assert min(together) > 20
    assert max(together) < 60


def test_without_the_number_of_points_the_share_is_a_probability():
    held = Split(seed=0, share=0.2).held_out(np.arange(100_000))
    below = [hashed(index, 0) < int(0.2 * 2.0**64) for index in range(1000)]
    np.testing.assert_array_equal(held[:1000], below)
    assert abs(held.mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 100_000)
