"""Second moments of features and forms of them, against numpy's einsum in float64."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swaypoint.scoring.operators.moments import FeaturePairs

CPU = torch.device("cpu")
CLOSE = {torch.float32: 2e-5, torch.float64: 1e-12}


@given(
    rows=st.integers(1, 20),  # of few rows products are not formed
    width=st.integers(1, 24),
    points=st.sampled_from([1, 7, 511, 513, 1024, 1300]),  # 512 are taken at a time
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 1000),
)
def test_moments_and_forms_are_those_of_plain_sums(rows, width, points, dtype, seed):
    equal_plain_sums(rows, width, points, dtype, seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("rows", "width"), [(10, 51), (3, 52), (14, 121), (22, 170), (23, 170)])
def test_of_many_features_some_are_taken_together(rows, width, dtype):
    equal_plain_sums(rows, width, 700, dtype, seed=0)


def equal_plain_sums(rows, width, points, dtype, seed):
    rng = np.random.default_rng(seed)
    coefficients, features = rng.normal(size=(rows, points)), rng.normal(size=(width, points))
    matrices = rng.normal(size=(rows, width, width))
    pairs = FeaturePairs(width, dtype, CPU)
    given_features = torch.from_numpy(features).to(dtype)
    moments = pairs.unpack(pairs.accumulate(torch.from_numpy(coefficients).to(dtype), given_features))
    expected = np.einsum("qb,db,eb->qde", coefficients, features, features)
    size = np.einsum("qb,db,eb->qde", abs(coefficients), abs(features), abs(features))
    assert (abs(moments.numpy() - expected) <= CLOSE[dtype] * size).all()
    assert torch.equal(moments, moments.mT)
    forms = pairs.form(torch.from_numpy(matrices))(given_features)
    expected = np.einsum("qde,db,eb->qb", matrices, features, features)
    size = np.einsum("qde,db,eb->qb", abs(matrices), abs(features), abs(features))
    assert (abs(forms.double().numpy() - expected) <= CLOSE[dtype] * size).all()


@pytest.mark.parametrize("rows", [2, 20])
def test_a_copy_that_was_sent_to_a_worker_sums_alike(rows):
    pairs, other = FeaturePairs(9, torch.float64, CPU), torch.randn(rows, 5, dtype=torch.float64)
    features = torch.randn(9, 5, dtype=torch.float64)
    sent = pickle.loads(pickle.dumps(pairs))
    assert torch.equal(pairs.accumulate(other, features), sent.accumulate(other, features))
