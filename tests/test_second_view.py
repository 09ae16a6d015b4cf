"""Boosted trees beside a table's perceptron: which serves what, and what they add."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.special import softmax
from sklearn.ensemble import HistGradientBoostingClassifier

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.second import SecondView
from swaypoint.folder.manifest import SecondModel
from swaypoint.models.predictor import ModelOptions
from swaypoint.report.terminal import suspected_words

OPTIONS = AuditOptions(model=ModelOptions(epochs=20), scores=("auto",))


def boxes(points: int = 500) -> tuple[pa.Table, np.ndarray]:
    """Classes by a chessboard, which trees tell apart and a short training does not; and which labels are
    wrong, 5 %."""
    generator = np.random.default_rng(0)
    places = generator.uniform(0, 3, (points, 2))
    label = np.floor(places).astype(int).sum(1) % 2
    wrong = np.zeros(points, dtype=bool)
    wrong[generator.choice(points, points // 20, replace=False)] = True
    noise = generator.normal(size=(points, 3))
    columns = {f"x{i}": column for i, column in enumerate(np.hstack([places, noise]).T)}
    return pa.table({**columns, "label": np.array(["black", "white"])[label ^ wrong]}), wrong


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    table, wrong = boxes()
    return swaypoint.audit(table, tmp_path_factory.mktemp("second") / "audit", options=OPTIONS), table, wrong


def test_the_accuracy_is_that_of_scikit_learns_trees(audited):
    folder, table, _ = audited
    scores = folder.scores()
    train = scores.filter(pc.equal(scores["split"], "train"))["index"].to_numpy()
    held = scores.filter(pc.equal(scores["split"], "held_out"))["index"].to_numpy()
    x = np.stack([table[f"x{i}"].to_numpy() for i in range(5)], 1).astype(np.float32)
    y = table["label"].to_numpy(zero_copy_only=False)
    trees = HistGradientBoostingClassifier(early_stopping=False, random_state=0).fit(x[train], y[train])
    second = folder.manifest().suspected.second
    assert second.accuracy == pytest.approx(trees.score(x[held], y[held]), abs=0.02)  # as standardised
    words = suspected_words(folder.manifest())
    assert f"boosted trees that saw no point they judge, held-out accuracy {second.accuracy:.1%}" in words


def test_wrong_labels_that_only_trees_can_tell_are_found(audited):
    folder, _, wrong = audited
    order = np.argsort(folder.scores()["rank"].to_numpy())
    first = folder.scores()["index"].to_numpy()[order][: wrong.sum()]
    assert wrong[first].mean() >= 0.5
    alone = np.argsort(-folder.scores()["loss"].to_numpy())[: wrong.sum()]
    assert wrong[alone].mean() < 0.4


def test_as_many_are_expected_as_the_model_alone_expects(audited, monkeypatch, tmp_path):
    from swaypoint.auditing import held

    folder, table, _ = audited
    monkeypatch.setattr(held, "second_view", lambda *_: None)
    alone = swaypoint.audit(table, tmp_path / "alone", options=OPTIONS).manifest().suspected
    assert alone.second is None
    assert folder.manifest().suspected.expected == pytest.approx(alone.expected, rel=0.02)


def test_the_joined_probabilities_are_their_geometric_mean():
    generator = np.random.default_rng(1)
    p, q = (softmax(3 * generator.normal(size=(50, 4)), axis=1) for _ in range(2))
    (found,) = SecondView([q], SecondModel("trees", None)).joined([p])
    np.testing.assert_allclose(found, np.sqrt(p * q) / np.sqrt(p * q).sum(1, keepdims=True), rtol=1e-5)


def test_few_rows_and_other_data_have_no_second_view(tmp_path):
    few = swaypoint.audit(boxes(80)[0], tmp_path / "few", options=OPTIONS)
    assert few.manifest().suspected.second is None
