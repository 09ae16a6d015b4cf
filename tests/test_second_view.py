"""Trees beside a table's perceptron, naive Bayes beside a text's head: which serves what, what they add."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.sparse import csr_array
from scipy.special import softmax
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.second import side_by_side, trees_first
from swaypoint.models.naive_bayes import left_out_naive_bayes
from swaypoint.models.predictor import ModelOptions
from swaypoint.report.terminal import suspected_words
from swaypoint.scorers.recommended import recommended

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
    for found, own in zip(trees_first(first, second).wrong, recommended(second), strict=True):
        np.testing.assert_array_equal(found.score, own.score)


def test_a_better_model_ranks_with_the_trees_by_the_geometric_mean_and_the_trees_count(views):
    first, second = views
    p, labels = first[1]
    first[1] = (p * (1 + 0.5 * np.eye(4)[labels]), labels)  # right on more of those held out, and as unsure
    found = trees_first(first, second).wrong
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
    assert trees_first(first, second) is None


def test_without_points_held_out_both_rank(views):
    (first, *_), (second, *_) = views
    (found,) = trees_first([first], [second]).wrong
    (alone,) = recommended([second])
    assert (found.score != alone.score).any()


def test_few_rows_and_other_data_have_no_second_view(tmp_path):
    few = swaypoint.audit(boxes(60)[0], tmp_path / "few", options=OPTIONS)
    assert few.manifest().suspected.second is None


def test_naive_bayes_without_a_text_is_scikit_learns_fitted_to_the_others():
    generator = np.random.default_rng(3)
    counts = generator.poisson(0.3, (60, 25)) * generator.uniform(0.1, 1, (60, 25))
    counts[7] = 0  # a text of no known word
    labels = generator.integers(4, size=60)
    labels[11] = 4  # alone in its class
    found = left_out_naive_bayes(csr_array(counts), labels, classes=6, smoothing=0.05)
    assert found.dtype == np.float32
    for i in range(60):
        rest = np.arange(60) != i
        prior = (np.bincount(labels[rest], minlength=6) + 1) / (59 + 6)
        model = MultinomialNB(alpha=0.05, class_prior=prior)
        model.partial_fit(counts[rest], labels[rest], classes=np.arange(6))
        np.testing.assert_allclose(found[i], model.predict_proba(counts[i : i + 1])[0], rtol=1e-4, atol=1e-7)


def test_beside_another_model_both_rank_each_at_the_temperature_of_its_own(views):
    first, second = views
    cold = [(p**3 / (p**3).sum(1, keepdims=True), y) for p, y in second]  # as good, and far too sure
    for found, expected in zip(
        side_by_side(first, cold).wrong, side_by_side(first, second).wrong, strict=True
    ):
        np.testing.assert_allclose(found.score, expected.score, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found.p_wrong, expected.p_wrong, atol=1e-3)


def test_beside_a_model_that_is_better_alone_there_is_none(views):
    first, second = views
    better = [(softmax(np.log(p) + 2 * np.eye(4)[y], axis=1), y) for p, y in first]
    assert side_by_side(better, second) is None
    assert side_by_side(better[:1], second[:1]) is None  # none are held out


WORDS = np.array([f"{a}{b}" for a in "bdfgklmnprst" for b in ("an", "el", "ir", "om", "us")])


def texts(points: int = 300) -> tuple[pa.Table, np.ndarray]:
    """Of four classes with words that each uses more often, and which labels are wrong, 5 %."""
    generator = np.random.default_rng(5)
    label = generator.integers(4, size=points)
    chance = generator.dirichlet(np.full(len(WORDS), 0.5), 4)
    said = [" ".join(generator.choice(WORDS, 15, p=0.5 * chance[c] + 0.5 / len(WORDS))) for c in label]
    wrong = np.zeros(points, dtype=bool)
    wrong[generator.choice(points, points // 20, replace=False)] = True
    given = np.where(wrong, (label + generator.integers(1, 4, points)) % 4, label)
    return pa.table({"text": said, "label": np.array(["a", "b", "c", "d"])[given]}), wrong


def test_texts_have_naive_bayes_of_all_their_words_beside_the_head(tmp_path):
    table, wrong = texts()
    folder = swaypoint.audit(table, tmp_path / "audit", options=AuditOptions(scores=("auto",)))
    scores, second = folder.scores(), folder.manifest().suspected.second
    said, y = (
        table["text"].to_pylist(),
        np.unique(table["label"].to_numpy(zero_copy_only=False), return_inverse=True)[1],
    )
    held = scores.filter(pc.equal(scores["split"], "held_out"))["index"].to_numpy()
    trained = scores.filter(pc.equal(scores["split"], "train"))["index"].to_numpy()
    words = TfidfVectorizer(sublinear_tf=True).fit([said[i] for i in trained])
    x, right = words.transform(said), 0
    for i in held:
        rest = np.arange(len(y)) != i
        prior = (np.bincount(y[rest], minlength=4) + 1) / (len(y) + 3)
        right += MultinomialNB(alpha=0.02, class_prior=prior).fit(x[rest], y[rest]).predict(x[[i]])[0] == y[i]
    assert second.accuracy == pytest.approx(right / len(held))
    assert "by the estimate of the model and naive Bayes, neither with the label" in suspected_words(
        folder.manifest()
    )
    order = np.argsort(scores["rank"].to_numpy())
    first = scores["index"].to_numpy()[order][: wrong.sum()]
    alone = np.argsort(-scores["loo_loss"].to_numpy())[: wrong.sum()]
    assert wrong[first].sum() >= wrong[alone].sum()


def test_what_is_suggested_is_what_ranks_and_the_accuracy_stays_the_models(audited):
    folder, table, wrong = audited
    scores, names = folder.scores().to_pydict(), folder.manifest().data.classes
    first = scores["suggested_label"]
    given = table["label"].to_numpy(zero_copy_only=False)
    right = np.where(wrong, np.where(given == "black", "white", "black"), given)
    suggested = np.array([names[int(c)] for c in first])
    assert (suggested == right)[wrong].mean() > 0.7  # which the perceptron cannot tell
    margin, label = np.array(scores["margin"]), np.array(scores["label"])
    differs = np.array(first) != label
    assert (margin[differs] <= 0).all()
    assert (margin[~differs] >= 0).all()
    held = np.array(scores["split"]) == "held_out"
    accuracy = folder.manifest().model.accuracy.validation
    assert accuracy < (np.array(first) == label)[held].mean() - 0.1
