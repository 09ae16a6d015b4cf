"""Records that belong to no class: each step beside another library's, planted records, clean draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import false_discovery_control, genpareto

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset
from swaypoint.findings import find_outliers
from swaypoint.findings.outliers import (
    LEVEL,
    _decay,
    _to_classes,
    foreign_p_values,
    tail_p_values,
    whitening,
)
from swaypoint.findings.significance import benjamini_hochberg
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.writing import write_table
from swaypoint.models.predictor import ModelOptions

CLASSES, COLUMNS = 4, 8


def drawn(seed: int, n: int = 1_200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of four classes, their labels and splits."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, n)
    points = generator.standard_normal((n, COLUMNS)) + 4 * np.eye(COLUMNS)[labels]
    return points.astype(np.float32), labels, np.where(np.arange(n) % 5 < 4, "train", "held_out")


def with_foreign(seed: int, n: int = 1_200, count: int = 12) -> tuple[np.ndarray, ...]:
    """As drawn, the first ``count`` alike, and of no class."""
    points, labels, split = drawn(seed, n)
    generator = np.random.default_rng(seed + 1)
    points[:count] = 9 * np.eye(COLUMNS)[7] + 0.01 * generator.standard_normal((count, COLUMNS))
    return points, labels, split


def test_the_false_discovery_rate_is_controlled_as_scipy_does():
    generator = np.random.default_rng(0)
    for m in (1, 5, 300):
        for power in (1, 4):
            p = generator.random(m) ** power
            assert (benjamini_hochberg(p, LEVEL) == (false_discovery_control(p) <= LEVEL)).all()
    assert benjamini_hochberg(np.full(20, 0.5), LEVEL).sum() == 0


@pytest.mark.parametrize("shape", [-0.4, 0.2, 0.7])
def test_the_tail_decays_as_a_generalised_pareto_distribution(shape):
    values = np.array([0.0, 0.3, 2.0, 9.0])
    expected = -genpareto.logsf(values, shape, scale=1.5)
    found = _decay(values, np.array([shape]), np.array([1.5]))[:, 0]
    assert found == pytest.approx(expected)


def test_p_values_are_ranks_and_beyond_them_the_tail():
    values = np.random.default_rng(0).exponential(size=4_000)
    p = tail_p_values(values)
    body = values < np.quantile(values, 0.89)
    assert p[body] == pytest.approx([(values >= value).mean() for value in values[body]])
    far = np.append(values, 12.0)  # the true probability is exp(-12), 6e-6; the least rank 2.5e-4
    assert 6e-7 < tail_p_values(far)[-1] < 6e-5
    assert (np.diff(tail_p_values(far)[np.argsort(far)]) <= 0).all()
    assert tail_p_values(np.ones(200)) == pytest.approx(np.ones(200))


def test_of_many_clean_values_none_is_named():
    generator = np.random.default_rng(0)
    for dimensions in (8, 512):  # where the tail's model, fitted to all of it, would be sure and wrong
        distance = 0.5 * np.log(generator.chisquare(dimensions, 40_000))
        assert not benjamini_hochberg(tail_p_values(distance), LEVEL).any()


def test_distances_are_to_the_kth_record_of_the_nearest_class():
    points, labels, _ = drawn(0, 300)
    axes = np.random.default_rng(1).standard_normal((COLUMNS, COLUMNS)).astype(np.float32)
    reference = np.arange(0, 300, 2)
    reference = reference[np.argsort(labels[reference], kind="stable")]
    between = cdist(points @ axes, points[reference] @ axes)
    between[np.arange(300)[:, None] == reference] = np.inf
    nearest = [np.sort(between[:, labels[reference] == each], 1)[:, 4] for each in range(CLASSES)]
    found = _to_classes(points, axes, reference, labels)
    assert np.exp(found) == pytest.approx(np.min(nearest, axis=0), rel=1e-3)


def test_whitened_the_classes_have_unit_covariance_and_what_is_rare_is_not_far():
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((5, 5))
    labels = generator.integers(0, 3, 6_000)
    points = generator.standard_normal((6_000, 5)) @ mixing + 10 * generator.standard_normal((3, 5))[labels]
    white = points @ whitening(points, labels)
    within = np.cov((white - np.stack([white[labels == c].mean(0) for c in range(3)])[labels]).T)
    scale = np.trace(within) / 5
    assert 0.9 < scale < 1.4  # of all, where it was that of the nearest 95 % which became 1
    assert within / scale == pytest.approx(np.eye(5), abs=0.12)
    rare = np.column_stack([points, np.arange(6_000) % 1_000 == 0])
    axes = whitening(rare, labels)
    assert np.square(np.eye(6)[5] @ axes).sum() <= 1 / 0.05 + 1


def test_foreign_records_are_found_that_are_alike():
    points, labels, split = with_foreign(0)
    p = foreign_p_values(points, labels, split)
    named = benjamini_hochberg(p, LEVEL)
    assert named[:12].all()
    assert named.sum() <= 14
    assert np.argsort(p, kind="stable")[:12].max() < 12


def test_records_of_which_a_network_knows_nothing_are_found_by_their_length():
    _, labels, split = drawn(0)
    generator = np.random.default_rng(0)
    points = generator.standard_normal((1_200, 64)) + 2 + 2 * np.eye(64)[labels]
    points[:12] = 1 + 0.1 * points[:12]  # short, and so near to the middle of all that nothing is far
    points = points.astype(np.float32)
    p = foreign_p_values(points, labels, split, learned=True)
    assert np.argsort(p, kind="stable")[:12].max() < 12
    assert benjamini_hochberg(p, LEVEL)[:12].all()
    assert foreign_p_values(points, labels, split)[:12].min() > 0.5


def test_of_lengths_that_are_one_nothing_is_made():
    points, labels, split = drawn(0)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    apart = foreign_p_values(points, labels, split)
    np.testing.assert_array_equal(foreign_p_values(points, labels, split, learned=True), apart)


def test_small_splits_are_not_judged():
    points, labels, split = drawn(0)
    split[:80] = "test"
    p = foreign_p_values(points, labels, split)
    assert (np.isnan(p) == (split == "test")).all()
    assert np.isnan(foreign_p_values(points[:90], labels[:90], split[:90])).all()


def test_of_clean_draws_no_more_than_the_level_has_a_finding():
    alarms = 0
    for seed in range(40):
        p = foreign_p_values(*drawn(seed, 600), learned=bool(seed % 2))
        alarms += bool(benjamini_hochberg(p[~np.isnan(p)], LEVEL).any())
    assert alarms <= 40 * LEVEL


def foreign_among(n: int = 1_200) -> Dataset:
    points, labels, _ = with_foreign(0)
    columns, classes = tuple(f"x{i}" for i in range(COLUMNS)), tuple("abcd")
    return Dataset("d", "features", points[:n], labels[:n], classes, columns, np.arange(n), (), (), "d")


def test_an_audit(tmp_path, audited):
    data = foreign_among()
    options = AuditOptions(model=ModelOptions(epochs=5), keep_features=False)
    folder = swaypoint.audit(data, tmp_path / "audit", options=options)
    (found,) = find_outliers(folder)
    assert set(range(12)) <= set(found.index.tolist())
    table = folder.scores()
    wanted = foreign_p_values(data.inputs, data.labels, np.array(table["split"].to_pylist()))
    np.testing.assert_array_equal(table["p_foreign"].to_numpy(), wanted)
    assert found.evidence["expected_false"] == pytest.approx(LEVEL * len(found.index))
    assert found.severity == "high"  # 1 % of all
    assert find_outliers(AuditFolder(audited)) == []


def test_an_audit_of_before_has_its_p_values_made(tmp_path):
    options = AuditOptions(model=ModelOptions(epochs=5))
    folder = swaypoint.audit(foreign_among(), tmp_path / "audit", options=options)
    now, table = find_outliers(folder), folder.scores()
    write_table(folder.path / "scores.parquet", table.drop_columns(["p_foreign"]))
    (before,) = find_outliers(folder)
    assert before.described() == now[0].described()
    few = swaypoint.audit(foreign_among(100), tmp_path / "few", options=options)
    assert "p_foreign" not in few.scores().column_names
    assert find_outliers(few) == []
