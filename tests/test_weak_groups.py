"""Groups on which the model fails: planted, absent, and the numbers beside scipy's and statsmodels'."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom
from statsmodels.stats.proportion import proportion_confint

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset
from swaypoint.findings import find_weak_groups
from swaypoint.findings.regions.table import Table
from swaypoint.findings.weak_groups import LEVEL, _more, clustered, confirmed, ruled, wilson
from swaypoint.models.predictor import ModelOptions


def table(seed: int, n: int = 2_000) -> tuple[Table, np.random.Generator]:
    """Two numbers and a column of three categories."""
    generator = np.random.default_rng(seed)
    job = np.eye(3)[generator.integers(0, 3, n)]
    inputs = np.column_stack([generator.uniform(20, 80, n), generator.standard_normal(n), job])
    columns = ("age", "height", "job=clerk", "job=nurse", "job=cook")
    return Table(inputs, np.zeros(n), columns), generator


def halves(n: int) -> np.ndarray:
    return np.random.default_rng(9).permutation(n) % 2 == 0


def test_the_p_value_is_the_hypergeometric_one():
    generator = np.random.default_rng(0)
    for n, size, share in ((200, 30, 0.1), (1_000, 400, 0.3), (60, 59, 0.5)):
        bad, member = generator.random(n) < share, np.arange(n) < size
        seen = (bad & member).sum()
        assert _more(bad, member) == pytest.approx(hypergeom.sf(seen - 1, n, bad.sum(), size), rel=1e-9)
    assert _more(np.zeros(9, bool), np.ones(9, bool)) == 1


def test_the_interval_is_wilsons():
    for seen, n in ((0, 20), (3, 20), (90, 300)):
        assert wilson(seen / n, n) == pytest.approx(proportion_confint(seen, n, method="wilson"), abs=1e-4)


def test_a_rule_of_two_conditions_is_found():
    data, generator = table(0)
    planted = (data.inputs[:, 0] > 60) & (data.inputs[:, 4] == 1)
    bad = generator.random(2_000) < np.where(planted, 0.5, 0.05)
    first = halves(2_000)
    (best, p), *_ = confirmed(ruled(data, bad, first, generator.random(2_000)), bad, ~first)
    assert "age >" in best.where
    assert "job = cook" in best.where
    assert p < 1e-6
    overlap = (best.member & planted).sum() / (best.member | planted).sum()
    assert overlap > 0.6
    assert bad[np.argsort(best.order)[:20]].all()  # errors first


def test_a_cluster_is_found_its_centre_first():
    generator = np.random.default_rng(0)
    planted = np.arange(1_000) % 10 == 0
    features = generator.standard_normal((1_000, 4)) + np.where(planted[:, None], 6, 0)
    bad = generator.random(1_000) < np.where(planted, 0.6, 0.05)
    first = halves(1_000)
    ((found, _),) = confirmed(clustered(features, bad, first), bad, ~first)
    assert (found.member == planted).mean() > 0.98
    members = np.flatnonzero(found.member)
    centre = features[members].mean(0)
    nearest = members[np.argsort(found.order[members])[:10]]
    distance = np.linalg.norm(features - centre, axis=1)
    assert distance[nearest].mean() < 0.7 * distance[members].mean()


def test_where_errors_are_random_no_more_than_the_level_has_a_group():
    alarms = 0
    for seed in range(60):
        data, generator = table(seed, 600)
        bad = generator.random(600) < 0.15
        first = halves(600)
        alarms += bool(confirmed(ruled(data, bad, first, generator.random(600)), bad, ~first))
    assert alarms <= 8  # of 60 at 5 %: more in one of a hundred
    assert LEVEL == 0.05


def test_an_audit_of_a_table(tmp_path):
    generator = np.random.default_rng(0)
    n = 2_000
    inputs = generator.standard_normal((n, 3)).astype(np.float32)
    label = (inputs[:, 0] > 0).astype(np.int64)
    corrupt = inputs[:, 1] > 1
    label = np.where(corrupt & (generator.random(n) < 0.45), 1 - label, label)
    data = Dataset("d", "rows", inputs, label, ("a", "b"), ("x", "y", "z"), np.arange(n), (), (), "d")
    folder = swaypoint.audit(data, tmp_path / "audit", options=AuditOptions(model=ModelOptions(epochs=5)))
    found = find_weak_groups(folder)
    assert "y >" in found[0].name
    assert found[0].severity == "high"
    split = np.array(folder.scores()["split"].to_pylist())
    assert set(split[found[0].index]) == {"held_out"}
    assert found[0].evidence["low"] < found[0].evidence["rate"] < found[0].evidence["high"]
