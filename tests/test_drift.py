"""Drift: planted, absent, and its test beside other libraries'."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.findings import find_drift
from swaypoint.findings.drift import LEVEL, change
from swaypoint.findings.significance import chi_squared, holm
from swaypoint.models.predictor import ModelOptions


@pytest.mark.parametrize("degrees", range(1, 12))
def test_chi_squared_as_scipy_has_it(degrees):
    for value in (0.0, 0.3, 4.0, 25.0, 300.0):
        assert chi_squared(value, degrees) == pytest.approx(stats.chi2.sf(value, degrees), rel=1e-9)


@pytest.mark.parametrize("distinct", [4, 10**6])
def test_of_one_group_it_is_the_test_of_kruskal_and_wallis(distinct):
    generator = np.random.default_rng(0)
    values = generator.integers(0, distinct, 437).astype(float)
    values[350:] += distinct / 8
    seen = change(np.arange(437) * 3.0, values, np.zeros(437))
    stretches = [values[seen.stretch == one] for one in range(10)]
    assert seen.p == pytest.approx(stats.kruskal(*stretches).pvalue, rel=1e-9)
    assert seen.stretch.tolist() == sorted(seen.stretch)
    ranks = stats.rankdata(values)
    away = ranks - ranks.mean()
    between = sum(len(one) * one.mean() ** 2 for one in (away[seen.stretch == s] for s in range(10)))
    by_chance = 9 / 436 * (away**2).sum()  # of permutations, exactly
    assert seen.share == pytest.approx((between - by_chance) / (away**2).sum())


def test_within_groups_the_p_value_is_that_of_permutations():
    generator = np.random.default_rng(1)
    group = np.sort(generator.integers(0, 3, 240))  # sorted by label
    values, order = group * 5 + generator.normal(size=240), np.arange(240.0)
    values += 0.5 * (order % 80 > 60)
    seen = change(order, values, group)
    drawn = []
    for _ in range(2_000):
        mixed = values.copy()
        for one in range(3):
            mixed[group == one] = generator.permutation(mixed[group == one])
        drawn.append(change(order, mixed, group).share)
    assert seen.p == pytest.approx(np.mean(np.array(drawn) >= seen.share), abs=0.02)
    assert 0.005 < seen.p < 0.4


def test_equal_times_stay_together_and_a_group_of_its_own_says_nothing():
    day = np.repeat(np.arange(3.0), 100)
    seen = change(day, np.random.default_rng(0).normal(size=300), np.zeros(300))
    assert len(seen.mean) == 3
    np.testing.assert_array_equal(seen.stretch, day)
    assert change(np.arange(5.0), np.arange(5.0), np.arange(5)).p == 1.0
    assert change(np.zeros(5), np.arange(5.0), np.zeros(5)).p == 1.0


@pytest.mark.parametrize("distinct", [2, 30, 10**6])
def test_what_does_not_change_is_seldom_named(distinct):
    """Of 200 draws with eight columns each, sorted by label; the bound is exceeded once in 10,000."""
    named = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        group = np.sort(generator.integers(0, 4, 300))
        values = generator.integers(0, distinct, (8, 300)) + group
        p = np.array([change(np.arange(300.0), column, group).p for column in values])
        named += holm(p, LEVEL).any()
    assert named <= stats.binom.isf(1e-4, 200, LEVEL)


def test_a_table_with_dates(tmp_path):
    """One column creeps up, another is noise; late records are rather labelled "yes"."""
    generator = np.random.default_rng(1)
    n = 500
    day = generator.permutation(np.arange(n))
    signal, noise = generator.normal(size=n), generator.normal(size=n)
    creeping = generator.normal(size=n) + 3 * (day / n) ** 2
    yes = signal + 1.5 * (day / n - 0.5) + 0.3 * generator.normal(size=n) > 0
    table = pd.DataFrame({
        "when": (pd.Timestamp("2024-03-01") + pd.to_timedelta(day, "D")).strftime("%d.%m.%Y"),
        "signal": signal, "noise": noise, "creeping": creeping, "state": np.where(yes, "yes", "no"),
    })  # fmt: skip
    table.to_csv(tmp_path / "rows.csv", index=False)
    options = AuditOptions(model=ModelOptions("head"))
    folder = swaypoint.audit(
        tmp_path / "rows.csv", tmp_path / "a", read=ReadOptions("state"), options=options
    )
    found = {finding.name: finding for finding in find_drift(folder)}
    assert list(found) == ["features drift along when", "labels drift along when"]  # rows are in no order
    features = found["features drift along when"]
    assert "most of all creeping" in features.sentence
    assert "stretch 10 of 10 is highest" in features.sentence
    assert features.evidence["tried"] == 8  # three columns twice, two classes
    index = folder.scores()["index"].to_numpy()[features.index]
    assert np.median(day[index]) > 0.9 * n
    assert "the share of " in found["labels drift along when"].sentence


def test_along_the_source_and_where_nothing_changes(tmp_path):
    generator = np.random.default_rng(0)
    label = np.sort(generator.integers(0, 2, 400))
    inputs = (generator.normal(size=(400, 4)) + label[:, None]).astype(np.float32)
    columns = tuple("abcd")

    def drift(values, name):
        data = Dataset(name, "features", values, label, ("x", "y"), columns, np.arange(400), (), (), name)
        return find_drift(swaypoint.audit(data, tmp_path / name, options=AuditOptions()))

    assert drift(inputs, "even") == []  # sorted by label is no drift
    inputs[:, 2] += np.tile(np.linspace(0, 2, 200), 2).astype(np.float32)
    (found,) = drift(inputs, "creeping")
    assert found.name == "features drift along place in the source"
    assert "most of all c:" in found.sentence
    assert "1 of 4 features change along place in the source within the classes" in found.sentence
