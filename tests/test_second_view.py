"""Trees beside a table's perceptron: which serves what, and what they add."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.special import softmax
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, VotingClassifier

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.second import SecondView
from swaypoint.folder.manifest import SecondModel
from swaypoint.models.predictor import ModelOptions
from swaypoint.report.terminal import suspected_words
from swaypoint.scorers.recommended import recommended

TREES = SecondModel("trees", None)
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
    kinds = ExtraTreesClassifier, RandomForestClassifier
    forests = [(kind.__name__, kind(150, bootstrap=True, random_state=0)) for kind in kinds]
    trees = VotingClassifier(forests, voting="soft").fit(x[train], y[train])
    second = folder.manifest().suspected.second
    assert second.accuracy == pytest.approx(trees.score(x[held], y[held]), abs=0.05)  # other random splits
    words = suspected_words(folder.manifest())
    assert f"randomised trees that saw no point they judge, held-out accuracy {second.accuracy:.1%}" in words


def test_wrong_labels_that_only_trees_can_tell_are_found(audited):
    folder, _, wrong = audited
    order = np.argsort(folder.scores()["rank"].to_numpy())
    first = folder.scores()["index"].to_numpy()[order][: wrong.sum()]
    assert wrong[first].mean() >= 0.5
    alone = np.argsort(-folder.scores()["loss"].to_numpy())[: wrong.sum()]
    assert wrong[alone].mean() < 0.4


@pytest.fixture
def views():
    """Two models' probabilities of points trained on and held out, with labels of which some are wrong."""
    generator = np.random.default_rng(1)
    parts = []
    for n in (400, 100):
        labels = generator.integers(4, size=n)
        known = softmax(2 * np.eye(4)[labels] + generator.normal(size=(2, n, 4)), axis=2)
        given = np.where(generator.random(n) < 0.1, (labels + 1) % 4, labels)
        parts.append([(p, given) for p in known])
    return [list(view) for view in zip(*parts, strict=True)]


def test_the_trees_rank_alone_where_they_are_right_on_as_many_held_out(views):
    first, second = views
    first[1] = (second[1][0], first[1][1])  # the same on those held out
    for found, own in zip(SecondView(second, TREES).wrong(first), recommended(second), strict=True):
        np.testing.assert_array_equal(found.score, own.score)


def test_a_better_model_ranks_with_the_trees_by_the_geometric_mean_and_the_trees_count(views):
    first, second = views
    p, labels = first[1]
    first[1] = (p * (1 + 0.5 * np.eye(4)[labels]), labels)  # right on more of those held out, and as unsure
    found = SecondView(second, TREES).wrong(first)
    mean = [
        (np.sqrt(p * q) / np.sqrt(p * q).sum(1, keepdims=True), y)
        for (p, y), (q, _) in zip(first, second, strict=True)
    ]
    for one, expected in zip(found, recommended(mean), strict=True):
        np.testing.assert_array_equal(np.argsort(one.score), np.argsort(expected.score))
    counted = sum(one.expected for one in recommended(second))
    assert sum(one.expected for one in found) == pytest.approx(counted, rel=1e-3)


def test_a_model_that_is_better_without_the_trees_has_none(views):
    first, second = views
    labels = first[1][1]
    first[1] = (np.eye(4)[labels] * 0.9 + 0.025, labels)  # right on all held out
    second[1] = (np.roll(second[1][0], 1, axis=1), labels)  # right on next to none
    assert SecondView(second, TREES).wrong(first) is None


def test_without_points_held_out_both_rank(views):
    (first, *_), (second, *_) = views
    (found,) = SecondView([second], TREES).wrong([first])
    (alone,) = recommended([second])
    assert (found.score != alone.score).any()


def test_few_rows_and_other_data_have_no_second_view(tmp_path):
    few = swaypoint.audit(boxes(60)[0], tmp_path / "few", options=OPTIONS)
    assert few.manifest().suspected.second is None
