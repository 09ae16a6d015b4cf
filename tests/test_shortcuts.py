"""What tells the label without being the object: planted, absent, and the numbers beside other libraries'."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from statsmodels.stats.multitest import multipletests

import swaypoint
from review_audit import quick
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset
from swaypoint.findings import find_shortcuts
from swaypoint.findings.shortcuts import (
    LEVEL,
    Attribute,
    _permuted_p,
    guess,
    named,
    pictured,
    skill,
    written,
)
from swaypoint.findings.significance import holm
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions


def number(values: np.ndarray) -> Attribute:
    return Attribute("it", "column", values)


def test_holm_as_statsmodels_does():
    generator = np.random.default_rng(0)
    for m in (1, 6, 40):
        p = generator.random(m) ** 6
        assert (holm(p, LEVEL) == multipletests(p, LEVEL, "holm")[0]).all()


def test_guesses_of_a_label_that_is_known():
    label = np.random.default_rng(0).integers(0, 3, 900)
    found = guess(number(label * 10.0), label)
    assert (found.accuracy, found.right.all()) == (1.0, True)
    assert found.p < 1e-50
    some = np.where(np.arange(900) % 2 == 0, label, 0).astype(float)
    half = guess(number(some), label)
    best = np.where(some == 0, 0, label)  # of the value 0 the class in which it is most frequent
    assert half.accuracy == pytest.approx(balanced_accuracy_score(label, best))
    assert half.accuracy == pytest.approx(np.mean([half.right[label == c].mean() for c in range(3)]))
    assert skill(half.accuracy, 3) == pytest.approx(balanced_accuracy_score(label, best, adjusted=True))


def test_the_p_value_is_that_of_permuted_labels():
    generator = np.random.default_rng(0)
    label = generator.choice(3, 400, p=[0.6, 0.3, 0.1])
    given = np.where(generator.random(400) < 0.1, label, generator.integers(-1, 3, 400))
    weight = 1 / np.bincount(label)

    def value(labels: np.ndarray) -> float:
        return weight[labels[given == labels]].sum()

    permuted = np.array([value(generator.permutation(label)) for _ in range(4_000)])
    expected = (permuted >= value(label)).mean()
    assert 0.001 < expected < 0.2
    assert _permuted_p(given, label, 3) == pytest.approx(expected, rel=0.35)


@pytest.mark.parametrize("categories", [False, True])
def test_what_is_independent_of_the_label_is_seldom_named(categories):
    small = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        label = generator.choice(3, 300, p=[0.7, 0.2, 0.1])
        values = generator.integers(0, 40, 300) if categories else generator.standard_normal(300)
        found = guess(Attribute("it", "name", values, categories), label)
        small += found.p <= LEVEL
    assert small <= 12  # of 100 at 5 %: more in one of a thousand


def test_what_is_measured_of_pictures():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
    pixels[1] = 200
    files = []
    for each in pixels:
        buffer = io.BytesIO()
        Image.fromarray(each).save(buffer, "PNG")
        files.append(buffer.getvalue())
    found = {attribute.name: attribute.values for attribute in pictured(files)}
    grey = pixels.astype(float).mean(3)
    assert found["brightness"] == pytest.approx(grey.mean((1, 2)), rel=1e-5)
    assert found["contrast"] == pytest.approx(grey.std((1, 2)), rel=1e-5)
    border = np.ones((6, 8), bool)
    border[1:-1, 1:-1] = False
    assert found["brightness of the border"] == pytest.approx(grey[:, border].mean(1), rel=1e-5)
    assert found["contrast of the border"][1] == 0
    assert found["red"][1] == pytest.approx(1 / 3)
    assert found["bytes as PNG"].tolist() == [len(file) for file in files]


def test_what_is_measured_of_texts():
    found = {attribute.name: attribute.values for attribute in written(["AB c1", "", "äé\n\n"])}
    assert found["length"].tolist() == [5, 0, 4]
    assert found["share of capitals"].tolist() == [0.4, 0, 0]
    assert found["share of digits"].tolist() == [0.2, 0, 0]
    assert found["share of characters beyond ASCII"].tolist() == [0, 0, 0.5]
    assert found["share of line breaks"].tolist() == [0, 0, 0.5]


def test_the_folder_of_a_class_is_no_source():
    label = np.arange(40) % 2
    names = [f"{'ab'[code]}/{'zoo' if i < 20 else 'farm'}/img{i}.png" for i, code in enumerate(label)]
    found = {attribute.name: attribute for attribute in named(names, label, ("a", "b"))}
    assert list(found) == ["folder of the file"]  # one beginning and one type
    assert len(set(found["folder of the file"].values[:20])) == 1
    assert named([""] * 40, label, ("a", "b")) == []


def test_an_audit_of_a_table(tmp_path):
    generator = np.random.default_rng(0)
    label = np.sort(generator.integers(0, 2, 600))
    inputs = np.column_stack(
        [generator.standard_normal(600) + label, label + 0.1 * generator.random(600), np.full(600, 7.0),
         generator.permutation(600)]
    ).astype(np.float32)  # fmt: skip
    columns = ("honest", "leak", "same", "number")
    data = Dataset("d", "rows", inputs, label, ("a", "b"), columns, np.arange(600), (), (), "d")
    folder = swaypoint.audit(data, tmp_path / "audit", options=AuditOptions(model=ModelOptions(epochs=5)))
    found = {finding.name: finding for finding in find_shortcuts(folder)}
    assert sorted(found) == [
        "column leak gives the label away", "columns of one value", "columns that number the records",
        "sorted by label",
    ]  # fmt: skip
    leak = found["column leak gives the label away"]
    assert leak.severity == "high"
    assert leak.evidence["balanced_accuracy"] > 0.99  # a range of values may hold the border of both
    assert "column same has one value" in found["columns of one value"].sentence
    assert "column number" in found["columns that number the records"].sentence
    assert found["sorted by label"].severity == "low"


def test_pictures(tmp_path, audited):
    assert find_shortcuts(AuditFolder(audited)) == []
    generator = np.random.default_rng(0)
    label = generator.permutation(600) % 10
    grey = generator.integers(0, 60, (600, 8, 8, 1)) + 15 * label[:, None, None, None]
    pixels = np.repeat(grey, 3, axis=3).astype(np.uint8)
    classes = tuple("0123456789")
    data = Dataset("d", "images", pixels, label, classes, (), np.arange(600), (), (), "d")
    folder = swaypoint.audit(data, tmp_path / "audit", options=quick("digits"))
    found = {finding.name: finding for finding in find_shortcuts(folder)}
    assert found["brightness tells the label"].severity == "high"
    assert found["brightness tells the label"].evidence["by_chance"] == 0.1
    assert "labels depend on the order" not in found
