"""Wrong labels from probabilities, against slow loops in float64, laws, and planted pairs of classes."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.format import open_memmap
from scipy import integrate, special

import swaypoint
from swaypoint.errors import InputError
from swaypoint.scoring.wrong_labels import estimated_channel, log_odds_margin, wrong_labels

PAIRS = {0: 1, 2: 3}


def judged(seed=0, n=4000, classes=5, flips=0.1, pairs=PAIRS, sharpness=3.0):
    """Probabilities of the given labels, calibrated by construction: p = q T, true ~ q, given ~ T[true]."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(n, classes))
    q = special.softmax(logits, axis=1)
    channel = np.eye(classes)
    for true, given_ in pairs.items():
        channel[true, [true, given_]] = 1 - flips, flips
    true = (q.cumsum(1) > rng.random((n, 1))).argmax(1)
    labels = (channel[true].cumsum(1) > rng.random((n, 1))).argmax(1)
    return q @ channel, labels, true, channel


def margin_of(p, labels):
    """The log-odds margin, point by point."""
    return np.array(
        [
            math.log(max(v for k, v in enumerate(row) if k != y) / row[y])
            for row, y in zip(p, labels, strict=True)
        ]
    )


def average_precision(score, wrong):
    found = wrong[np.argsort(-score, kind="stable")]
    return float((found.cumsum() / np.arange(1, len(found) + 1))[found].mean())


def posterior_by_loops(p, labels, channel, steps=5):
    """Score and posterior of the true class as the documentation writes them, nothing vectorised."""
    classes, scores, posterior = len(channel), [], []
    for row, y in zip(p.tolist(), labels.tolist(), strict=True):
        q = list(row)
        for _ in range(steps):
            back = [sum(q[k] * channel[k][j] for k in range(classes)) for j in range(classes)]
            q = [q[k] * sum(channel[k][j] * row[j] / back[j] for j in range(classes)) for k in range(classes)]
            q = [value / sum(q) for value in q]
        a = [q[k] * channel[k][y] for k in range(classes)]
        margins = [math.log(max(v for k, v in enumerate(w) if k != y) / w[y]) for w in (q, a)]
        scores.append(sum(margins) / 2)
        posterior.append([value / sum(a) for value in a])
    return np.array(scores), np.array(posterior)


def counts_by_loops(p, labels):
    """Clear regions and borders, one point at a time."""
    classes = p.shape[1]
    counts, sizes, border = np.zeros((3, classes, classes))
    taken = [max(range(classes), key=row.__getitem__) for row in p.tolist()]
    for row in p.tolist():
        first, second = sorted(range(classes), key=row.__getitem__)[::-1][:2]
        if row[second] > 0.25 * row[first]:
            border[first, second] += 1
            border[second, first] += 1
    for k in range(classes):
        members = [i for i in range(len(p)) if taken[i] == k]
        for j in range(classes):
            ratios = sorted(p[i, j] / p[i, k] for i in members)
            regions = []
            for share in (0.25, 0.5, 0.75, 1.0):
                limit = ratios[max(math.ceil(share * len(members)) - 1, 0)]
                inside = [i for i in members if p[i, j] / p[i, k] <= limit]
                found = sum(labels[i] == j for i in inside)
                regions.append(((found + 1 + math.sqrt(found + 1)) / len(inside), found, len(inside)))
            _, counts[k, j], sizes[k, j] = min(regions, key=lambda region: region[0])
    return counts, sizes, border


def off_diagonal(classes):
    return [(k, j) for k in range(classes) for j in range(classes) if k != j]


def beyond_honest_confusions(counts, sizes, border):
    """What is left of the counts where honest confusions have been taken off."""
    pairs = off_diagonal(len(counts))
    found = sum(counts[pair] for pair in pairs)
    by_points, by_squares = (sum(border[pair] ** power for pair in pairs) for power in (1, 2))
    beyond = {}
    for pair in pairs:
        on_average = max(found * border[pair] / by_points, found * border[pair] ** 2 / by_squares)
        beyond[pair] = max(counts[pair] - min(0.08 * border[pair], 3 * on_average), 0)
    usual = sum(beyond.values()) / sum(sizes[pair] for pair in pairs)
    left = np.zeros_like(counts)
    for pair in pairs:
        left[pair] = max(beyond[pair], min(counts[pair], sizes[pair] * usual))
    return left


def channel_by_integrals(n, sizes):
    """The estimate with the Gamma prior integrated numerically instead of the negative binomial's formula."""
    classes, pairs = len(n), off_diagonal(len(n))
    mean = sum(n[pair] for pair in pairs) / sum(sizes[pair] for pair in pairs)

    def likelihood(pair, shape):
        def term(log_rate):
            rate = math.exp(log_rate)  # of a Gamma with mean 1; the substitution tames the pole at 0
            prior = shape * math.log(shape * rate) - shape * rate - special.gammaln(shape)
            return math.exp(
                prior
                + n[pair] * math.log(sizes[pair] * mean * rate)
                - sizes[pair] * mean * rate
                - special.gammaln(n[pair] + 1)
            )

        peak = math.log((n[pair] + shape) / (sizes[pair] * mean + shape))
        parts = [(peak - 400, peak - 3), (peak - 3, peak), (peak, peak + 3), (peak + 3, peak + 8)]
        return math.log(sum(integrate.quad(term, *part, limit=400)[0] for part in parts))

    shapes = np.geomspace(1e-6, 100, 81)
    sums = [sum(likelihood(pair, shape) for pair in pairs) for shape in shapes]
    shape = shapes[int(np.argmax(sums))]
    equal = sum(
        n[pair] * math.log(sizes[pair] * mean) - sizes[pair] * mean - special.gammaln(n[pair] + 1)
        for pair in pairs
    )
    channel = np.eye(classes)
    for pair in pairs:
        channel[pair] = (n[pair] + shape) / (sizes[pair] + shape / mean)
        channel[pair[0], pair[0]] -= channel[pair]
    return channel, max(sums) - equal


def test_is_public_and_pure():
    assert swaypoint.wrong_labels is wrong_labels
    p, labels, _, _ = judged(n=200)
    before = p.copy(), labels.copy()
    wrong_labels(p, labels)
    np.testing.assert_array_equal(p, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("n", [60, 4000])
def test_is_the_log_odds_margin_where_no_channel_is_told(n):
    p, labels, _, _ = judged(n=n, pairs={})
    found = wrong_labels(p, labels)
    assert not found.believed
    np.testing.assert_allclose(found.score, margin_of(p, labels), rtol=1e-12)
    off = found.channel[~np.eye(5, dtype=bool)]
    assert off.min() == off.max() > 0


def test_uniform_flips_tell_no_channel_and_are_counted():
    rng = np.random.default_rng(3)
    q, true, _, _ = judged(n=20_000, pairs={}, sharpness=100.0)
    flipped = rng.random(len(true)) < 0.05
    labels = np.where(flipped, (true + rng.integers(1, 5, len(true))) % 5, true)
    found = wrong_labels(0.9375 * q + 0.0125, labels)  # what a calibrated model of these labels says
    assert not found.believed
    assert found.expected == pytest.approx(flipped.sum(), rel=0.15)


@pytest.mark.parametrize("seed", range(5))
def test_planted_pairs_are_found_and_help(seed):
    p, labels, true, channel = judged(seed, n=8000, sharpness=8.0)
    found = wrong_labels(p, labels)
    assert found.believed
    off = found.channel - np.diag(found.channel.diagonal())
    assert {divmod(int(i), 5) for i in np.argsort(off, axis=None)[-2:]} == set(PAIRS.items())
    assert np.abs(found.channel - channel).max() < 0.05
    wrong = labels != true
    assert average_precision(found.score, wrong) > average_precision(margin_of(p, labels), wrong) + 0.1
    assert 0.5 < found.expected / wrong.sum() < 1.1  # cautious: an estimate from below


def test_honest_confusions_are_no_channel():
    rng = np.random.default_rng(5)
    logits = np.full((20_000, 4), -9.0)
    logits[:, 0] = 2 * rng.normal(size=len(logits))
    logits[:, 1] = -logits[:, 0]  # classes 0 and 1 look alike; so do 2 and 3
    other = rng.random(len(logits)) < 0.5
    logits[other] = logits[other][:, [2, 3, 0, 1]]
    q = special.softmax(logits, axis=1)
    labels = (q.cumsum(1) > rng.random((len(q), 1))).argmax(1)
    assert not wrong_labels(q, labels).believed


def test_a_strong_model_tells_a_rare_pair_though_it_is_unsure_of_many_points():
    rng, n = np.random.default_rng(0), 40_000
    true, flipped = rng.integers(10, size=n), rng.random(n)
    x = rng.normal(size=(n, 10)) + 3 * np.eye(10)[true]
    p = special.softmax(0.6 * x, axis=1)  # a fifth of the log-odds: borders are crowded, confusions rare
    found = wrong_labels(p, np.where((true == 3) & (flipped < 0.01), 7, true))
    assert found.believed
    assert np.argmax(found.channel - 2 * np.eye(10)) == 37
    anywhere = (true + rng.integers(1, 10, n)) % 10
    assert not wrong_labels(p, np.where(flipped < 0.001, anywhere, true)).believed


def test_scores_against_loops_through_a_given_channel():
    p, labels, _, channel = judged(n=200)
    channel = 0.97 * channel + 0.006
    found = wrong_labels(p, labels, channel=channel)
    score, posterior = posterior_by_loops(p, labels, channel.tolist())
    np.testing.assert_allclose(found.score, score, rtol=1e-9, atol=1e-12)
    own = np.eye(5, dtype=bool)[labels]
    np.testing.assert_allclose(found.p_wrong, 1 - posterior[own], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found.likely, np.where(own, -1, posterior).argmax(1))
    of = [posterior[labels == j] for j in range(5)]
    np.testing.assert_allclose(found.pairs, [rows.sum(0) for rows in of], rtol=1e-6)
    np.testing.assert_allclose(found.variance, [(rows * (1 - rows)).sum(0) for rows in of], rtol=1e-5)
    assert found.believed
    assert math.isnan(found.evidence)


def test_channel_against_loops_and_integrals():
    p, labels, _, _ = judged(n=1500, classes=4)
    found = wrong_labels(p, labels)
    counts, sizes, border = counts_by_loops(p, labels)
    left = beyond_honest_confusions(counts, sizes, border)
    without, evidence = channel_by_integrals(left, sizes)
    told, _ = channel_by_integrals(counts, sizes)
    cautious = 0.25 * told + 0.75 * without
    np.testing.assert_allclose(estimated_channel(counts, sizes, border)[1], cautious, rtol=1e-5)
    assert found.evidence == pytest.approx(evidence, rel=1e-5)
    np.testing.assert_allclose(found.channel, told, rtol=1e-5)


def test_pairs_with_a_crowded_border_need_more():
    sizes, border = np.full((3, 3), 1000.0), np.zeros((3, 3))
    counts = np.array([[900, 60, 0], [0, 900, 0], [0, 0, 900]])
    *_, clear = estimated_channel(counts, sizes, border)
    border[0, 1] = border[1, 0] = 800
    channel, _, weak = estimated_channel(counts, sizes, border)
    assert clear > 50 > 5 > weak
    assert len({*channel[~np.eye(3, dtype=bool)].tolist()}) == 1


def test_a_model_that_contradicts_most_labels_tells_no_channel():
    sizes, counts = np.full((3, 3), 1000.0), np.array([[600, 300, 0], [0, 600, 0], [0, 0, 600]])
    assert estimated_channel(counts, sizes, np.zeros((3, 3)))[2] > 50
    np.fill_diagonal(counts, 400)
    channel, cautious, evidence = estimated_channel(counts, sizes, np.zeros((3, 3)))
    assert evidence == 0
    assert len({*channel[~np.eye(3, dtype=bool)].tolist(), *cautious[~np.eye(3, dtype=bool)].tolist()}) == 1


@given(seed=st.integers(0, 2**16), order=st.permutations(range(5)), flips=st.sampled_from([0.0, 0.1, 0.4]))
@settings(max_examples=40, deadline=None)
def test_names_of_classes_and_order_of_points_do_not_matter(seed, order, flips):
    p, labels, _, _ = judged(seed, n=600, flips=flips)
    order, shuffled = np.array(order), np.random.default_rng(seed).permutation(len(p))
    plain = wrong_labels(p, labels)
    renamed = wrong_labels(p[shuffled][:, order], np.argsort(order)[labels[shuffled]])
    np.testing.assert_allclose(renamed.score, plain.score[shuffled], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(renamed.channel, plain.channel[np.ix_(order, order)], rtol=1e-9)
    assert renamed.believed == plain.believed


@given(
    seed=st.integers(0, 2**16),
    classes=st.integers(2, 8),
    n=st.integers(1, 80),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
@settings(max_examples=60, deadline=None)
def test_any_probabilities_give_finite_scores_and_probabilities(seed, classes, n, dtype):
    rng = np.random.default_rng(seed)
    p = special.softmax(20 * rng.normal(size=(n, classes)), axis=1).astype(dtype)
    p[rng.random(n) < 0.2] = np.eye(classes, dtype=dtype)[0]  # one-hot rows: zeros and ties
    labels = rng.integers(0, classes, n)
    for channel in (None, np.eye(classes)):
        found = wrong_labels(p, labels, channel=channel)
        assert np.isfinite(found.score).all()
        assert ((found.p_wrong >= 0) & (found.p_wrong <= 1)).all()
        np.testing.assert_allclose(found.channel.sum(1), 1)
        assert 0 <= found.expected <= n
        assert (found.likely != labels).all()
        off = found.pairs.sum() - found.pairs.trace()
        assert off <= found.expected + 1e-3  # a row that no class explains counts as wrong, for no pair


@pytest.mark.parametrize("pairs", [PAIRS, {}])
def test_chunks_do_not_matter(pairs, monkeypatch):
    p, labels, _, _ = judged(pairs=pairs)
    whole, pieces = wrong_labels(p, labels, rows=len(p)), wrong_labels(p, labels, rows=7)
    monkeypatch.setattr("swaypoint.scoring.wrong_labels._HELD", 1000)  # a class's columns one by one
    narrow = wrong_labels(p, labels)
    for other in (pieces, narrow):
        np.testing.assert_allclose(other.score, whole.score, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(other.p_wrong, whole.p_wrong, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(other.channel, whole.channel)
        np.testing.assert_allclose(other.pairs, whole.pairs, rtol=1e-9)


def test_half_precision_ranks_as_double():
    p, labels, _, _ = judged()
    double, half = wrong_labels(p, labels), wrong_labels(p.astype(np.float16), labels)
    np.testing.assert_allclose(half.channel, double.channel, atol=2e-3)
    sure = p[np.arange(len(p)), labels] > 1e-3
    np.testing.assert_allclose(half.score[sure], double.score[sure], atol=0.05)


def test_a_memory_map_is_never_held(tmp_path):
    n, classes = 40_000, 200
    stored = open_memmap(tmp_path / "p.npy", "w+", np.float16, (n, classes))
    labels = np.random.default_rng(0).integers(0, classes, n)
    for start in range(0, n, 4000):
        p = np.full((4000, classes), 0.1 / classes)
        p[np.arange(4000), labels[start : start + 4000]] += 0.9
        stored[start : start + 4000] = p
    tracemalloc.start()
    found = wrong_labels(stored, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.score) == n
    assert peak < stored.nbytes / 2


def test_zeros_stay_ordered():
    a = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    margins = log_odds_margin(a, np.array([0, 0, 0]))
    assert margins[0] < margins[1] == 0 < margins[2] < 100


GOOD = np.array([[0.7, 0.3], [0.4, 0.6]])
BAD = {
    "one class": (np.ones((3, 1)), [0, 0, 0], "two or more"),
    "one column for two classes": (np.array([0.2, 0.8]), [0, 1], "both columns"),
    "empty": (np.empty((0, 3)), np.empty(0, int), "shape (0, 3)"),
    "integers": (np.eye(2, dtype=int), [0, 1], "float32"),
    "logits": (np.array([[2.0, -1.0], [0.4, 0.6]]), [0, 1], "softmax outputs"),
    "sum": (np.array([[0.7, 0.3], [0.4, 0.5]]), [0, 1], "point 1"),
    "NaN": (np.array([[0.7, 0.3], [np.nan, 0.6]]), [0, 1], "point 1"),
    "infinite": (np.array([[np.inf, 0.3], [0.4, 0.6]]), [0, 1], "point 0"),
    "too few labels": (GOOD, [0], "one integer a row"),
    "labels of a wrong type": (GOOD, [0.0, 1.0], "one integer a row"),
    "label too large": (GOOD, [0, 2], "label 2 of point 1"),
    "label below 0": (GOOD, [-1, 0], "label -1 of point 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case):
    p, labels, message = BAD[case]
    with pytest.raises(InputError) as caught:
        wrong_labels(p, np.array(labels))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "channel",
    [np.eye(3), np.array([[0.5, 0.4], [0, 1]]), np.array([[0, 1], [0, 1]]), np.array([[2, -1], [0, 1]])],
)
def test_a_given_channel_is_checked(channel):
    with pytest.raises(InputError, match="rows"):
        wrong_labels(GOOD, np.array([0, 1]), channel=channel)
