"""Selection without holding: numpy's sort is the oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from swaypoint.data.selection import kth_smallest, largest

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=32) | st.sampled_from([0.0, -0.0, 1.0, 2.0])


@given(arrays(np.float64, st.integers(1, 60), elements=NUMBERS), st.data())
def test_the_largest_are_those_of_a_stable_sort(values, data):
    k, cut = data.draw(st.integers(1, len(values))), data.draw(st.integers(0, len(values)))
    order = np.argsort(-values, kind="stable")  # NaN last
    expected = np.isin(np.arange(len(values)), order[:k])
    chosen = largest(lambda: iter([values[:cut], values[cut:]]), k)
    np.testing.assert_array_equal(np.concatenate(list(chosen)), expected)


@given(arrays(np.uint64, st.integers(1, 60)), st.data())
def test_the_kth_smallest_is_that_of_a_sort(keys, data):
    k = data.draw(st.integers(1, len(keys)))
    assert kth_smallest(lambda: iter(np.array_split(keys, 3)), k) == np.sort(keys)[k - 1]
