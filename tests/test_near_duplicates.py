"""Near copies: planted ones among real digits, photographs made of noise, texts, rows; and none where none
are."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.fft import dct
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import beta
from sklearn.datasets import load_digits, load_wine
from sklearn.neighbors import NearestNeighbors

import swaypoint
from review_audit import quick
from swaypoint.auditing.options import AuditOptions
from swaypoint.data import neighbours
from swaypoint.data.dataset import Dataset
from swaypoint.data.readers import read_dataset
from swaypoint.findings import find_near_duplicates
from swaypoint.findings.duplicates import pictures, texts
from swaypoint.findings.duplicates.groups import Groups, joined
from swaypoint.findings.duplicates.nearest import chance, near_pairs, near_rows
from swaypoint.findings.duplicates.pictures import (
    CONFIRMED,
    aligned,
    candidates,
    confirmed,
    near_pictures,
    sketched,
)
from swaypoint.findings.duplicates.texts import near_texts


def photographs(n: int, side: int = 32, seed: int = 0) -> np.ndarray:
    """Noise with the spectrum of photographs, 1 / f, in colour, ``(n, side, side, 3)`` uint8."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    frequency[0, 0] = 1
    noise = generator.normal(size=(n, 3, side, frequency.shape[1], 2)) @ [1, 1j]
    noise += 2 * noise.mean(1, keepdims=True)
    values = np.fft.irfft2(noise / frequency, s=(side, side))
    values = 128 + 45 * values / values.std((1, 2, 3), keepdims=True)
    return values.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def image(of):
    return lambda pixels: np.asarray(of(Image.fromarray(pixels)))


def saved_again(quality: int):
    def of(shown):
        buffer = io.BytesIO()
        shown.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert(shown.mode)

    return image(of)


def smaller(shown):
    return shown.resize([3 * side // 4 for side in shown.size], Image.BICUBIC).resize(
        shown.size, Image.BICUBIC
    )


def cropped(shown):
    width, height = shown.size
    return shown.crop((1, 2, 1 + round(0.9 * width), 2 + round(0.9 * height))).resize(
        shown.size, Image.BICUBIC
    )


COPIES = {
    "saved again": saved_again(50),
    "smaller": image(smaller),
    "brighter": image(lambda shown: ImageEnhance.Brightness(shown).enhance(1.2)),
    "cropped": image(cropped),
    "mirrored": lambda pixels: np.ascontiguousarray(pixels[:, ::-1]),
    "cropped and mirrored": lambda pixels: np.ascontiguousarray(image(cropped)(pixels)[:, ::-1]),
}


# -- the rule --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "m"), [(2, 1.0), (16, 7.5)])
def test_chance_is_the_distribution_of_the_nearest_of_k(k, m):
    ratio = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(chance(ratio, m, k), beta(1, k - 1).cdf(ratio**m), rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("dimension", [2, 5])
def test_the_dimension_of_even_points_and_no_pair_among_them(dimension):
    points = np.random.default_rng(0).uniform(size=(1500, dimension))
    distance, index = NearestNeighbors(n_neighbors=17).fit(points).kneighbors(points)
    pairs, rule = near_pairs(index[:, 1:], distance[:, 1:])
    assert rule.dimension == pytest.approx(dimension, rel=0.15)
    assert not len(pairs)


def test_planted_pairs_and_a_large_group_are_found_among_even_points():
    generator = np.random.default_rng(1)
    points = generator.uniform(size=(800, 4))
    copies = np.concatenate([points[:20], np.repeat(points[20:21], 30, 0)])
    points = np.concatenate([points, copies + 1e-4 * generator.normal(size=copies.shape)])
    distance, index = NearestNeighbors(n_neighbors=17).fit(points).kneighbors(points)
    pairs, _ = near_pairs(index[:, 1:], distance[:, 1:])
    of = joined(len(points), pairs)
    assert (of[800:820] == np.arange(20)).all()
    assert (of[820:] == 20).all()
    assert (of[:800] == np.arange(800)).all()


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_joined_are_the_connected_components(given_pairs):
    pairs = np.array(given_pairs, dtype=np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(pairs)), tuple(pairs.T)), shape=(31, 31))
    expected = connected_components(graph, directed=False)[1]
    found = joined(31, pairs)
    assert ((found[:, None] == found) == (expected[:, None] == expected)).all()
    assert all(found[i] == np.flatnonzero(expected == expected[i]).min() for i in range(31))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=20), st.data())
def test_who_leaves_is_a_copy_of_one_that_stays_and_no_two_copies_stay(contents, data):
    values = np.unique(contents)
    near = data.draw(st.lists(st.tuples(*[st.sampled_from(range(len(contents)))] * 2), max_size=10))
    groups = Groups.by(np.array(contents), np.array(near, dtype=np.int64).reshape(-1, 2))
    leaving = set(groups.surplus(data.draw(st.permutations(range(len(contents))))).tolist())
    staying = set(range(len(contents))) - leaving
    alike = {frozenset((contents[i], contents[j])) for i, j in near}

    def copies(i, j):
        return contents[i] == contents[j] or frozenset((contents[i], contents[j])) in alike

    assert len(values) >= len(staying)
    assert not any(copies(i, j) for i, j in combinations(staying, 2))
    assert all(any(copies(i, j) for j in staying) for i in leaving)


# -- pictures --------------------------------------------------------------------------------------


def test_the_lowest_frequencies_have_the_signs_of_phash():
    """pHash: the 32 x 32 grey picture, a type-II cosine transform both ways, the lowest 8 x 8, each above
    their median or not; as `imagehash` has it."""
    shown = photographs(20, side=48)
    found = sketched(shown).coefficients[:, :8, :8].astype(np.float64)
    side = 32
    for picture, low in zip(shown, found, strict=True):
        small = Image.fromarray(picture).convert("L").resize((side, side), Image.LANCZOS)
        waves = dct(dct(np.asarray(small, np.float64), axis=0), axis=1)[:8, :8]
        scale = np.full(8, np.sqrt(1 / (2 * side)))
        scale[0] = np.sqrt(1 / (4 * side))
        np.testing.assert_allclose(low, waves * scale[:, None] * scale, atol=1e-2)
        there = low / scale[:, None] / scale
        assert ((there > np.median(there)) == (waves > np.median(waves))).all()


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_photographs(kind):
    shown = photographs(600)
    copies = np.stack([COPIES[kind](picture) for picture in shown[:40]])
    pairs = near_pictures(sketched([*shown, *copies]))
    assert {tuple(pair) for pair in pairs.tolist()} == {(i, 600 + i) for i in range(40)}


def test_alike_as_a_whole_and_not_in_its_parts():
    """One horizon, and another ship on it."""
    sea = np.where(np.arange(32)[:, None, None] < 16, 170, 60) + np.zeros((32, 32, 3))
    ships = (sea + 0.8 * (photographs(60, seed=1).astype(float) - 128)).clip(0, 255).astype(np.uint8)
    again = np.stack([COPIES["mirrored"](COPIES["brighter"](ship)) for ship in ships])
    found = sketched([*ships, *again])
    others = np.stack([np.arange(59), np.arange(1, 60)], axis=1)
    whole = found.coefficients.reshape(120, -1)[:, 1:]
    whole = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    assert np.median((whole[others[:, 0]] * whole[others[:, 1]]).sum(1)) > 0.6
    assert (confirmed(found, others) < CONFIRMED).all()
    copies = np.stack([np.arange(60), 60 + np.arange(60)], axis=1)
    assert (confirmed(found, copies) >= CONFIRMED).all()


def test_small_digits_have_no_near_copies_until_some_are_planted():
    """8 x 8 pixels, where every 0 is like another: a picture saved at high quality is still told from it."""
    shown = (load_digits().images * 255 / 16).round().astype(np.uint8)
    for half in np.random.default_rng(0).permutation(len(shown)).reshape(-1, 599)[:2]:
        assert not len(near_pictures(sketched(shown[half])))
    assert not len(near_pictures(sketched(shown)))
    copies = [saved_again(90)(picture) for picture in shown[:50]]
    pairs = {tuple(pair) for pair in near_pictures(sketched([*shown, *copies])).tolist()}
    assert len(pairs & {(i, 1797 + i) for i in range(50)}) >= 49
    assert len(pairs) <= 51


def test_candidates_are_the_most_correlated_either_way_round():
    found = sketched(photographs(80))
    low = found.directions(6).astype(np.float64)
    turned = low * pictures.mirrored(6)
    best = np.maximum(low @ low.T, turned @ low.T)
    np.fill_diagonal(best, -2)
    chosen = candidates(found, k=5)
    np.testing.assert_allclose(np.sort(np.take_along_axis(best, chosen, 1)), np.sort(best)[:, -5:], atol=1e-6)
    alike = aligned(found, chosen)
    full, turn = found.directions(16).astype(np.float64), pictures.mirrored(16)
    assert (
        alike >= np.maximum(full @ full.T, (full * turn) @ full.T)[np.arange(80)[:, None], chosen] - 1e-5
    ).all()


def test_one_colour_all_over_and_too_few():
    plain = np.full((40, 32, 32, 3), 7, np.uint8)
    assert len(near_pictures(sketched(plain))) == 0
    assert len(near_pictures(sketched(plain[:1]))) == 0
    assert len(near_pictures(sketched([]))) == 0


def test_candidates_of_many_pictures_are_those_of_few(monkeypatch):
    shown = sketched(photographs(300))
    few = candidates(shown, k=5)
    monkeypatch.setattr(pictures, "_EXACT", 100)
    monkeypatch.setattr(neighbours, "_VISITED", 9)  # of 17 cells
    many = candidates(shown, k=5)
    assert np.mean([len(np.intersect1d(*pair)) / 5 for pair in zip(few, many, strict=True)]) > 0.95
    copies = np.stack([COPIES["mirrored"](picture) for picture in photographs(20)])
    found = candidates(sketched([*photographs(300), *copies]), k=1)
    assert found[300:, 0].tolist() == list(range(20))


# -- texts and rows --------------------------------------------------------------------------------


def sentences(n: int, length: int = 25, seed: int = 0) -> list[str]:
    """Words by Zipf's law."""
    generator = np.random.default_rng(seed)
    words = 5000 ** generator.random((n, length))
    return [" ".join(f"w{word:.0f}" for word in text) for text in words]


def test_texts_with_words_left_out_and_written_otherwise():
    said = sentences(500, 40)
    generator = np.random.default_rng(1)
    fewer = [" ".join(word for word in text.split() if generator.random() > 0.1) for text in said[:50]]
    other = [f"  {text.upper()} ! ".replace(" ", "\n") for text in said[50:60]]
    pairs = near_texts([*said, *fewer, *other])
    assert {tuple(pair) for pair in pairs.tolist()} == {(i, 500 + i) for i in range(60)}


def test_short_texts_are_near_only_if_their_words_are_the_same():
    said = ["good day", "good day sir", "Good, day!", "very good day", "!!", "??", ""]
    assert near_texts(said).tolist() == [[0, 2]]
    assert near_texts(["a"]).tolist() == []


def test_shared_weight_is_that_of_the_definition():
    said = sentences(60, 12)
    sets = [np.unique([int(word[1:]) for word in text.split()]) for text in said]
    weights = np.random.default_rng(0).uniform(size=5000)
    pairs = np.array(list(combinations(range(60), 2)))
    common, union = texts._weighed(sets, weights, pairs)
    for (i, j), both, either in zip(pairs.tolist(), common, union, strict=True):
        one, other = set(sets[i].tolist()), set(sets[j].tolist())
        assert both == pytest.approx(sum(weights[word] for word in one & other))
        assert either == pytest.approx(sum(weights[word] for word in one | other))


def test_rows_that_were_rounded_are_near_and_rows_of_few_values_are_not():
    wine = load_wine().data.astype(np.float32)
    again = wine[:12] * (1 + 1e-4 * np.random.default_rng(0).normal(size=wine[:12].shape)).astype(np.float32)
    pairs = near_rows(np.concatenate([wine, again]), tolerance=True)
    assert {tuple(pair) for pair in pairs.tolist()} == {(i, 178 + i) for i in range(12)}
    assert not len(near_rows(wine, tolerance=True))
    answers = np.unique(np.random.default_rng(0).integers(0, 4, (3000, 8)), axis=0).astype(np.float32)
    assert not len(near_rows(answers, tolerance=True))
    assert not len(near_rows(np.full((5, 2), np.nan, np.float32), tolerance=True))


def test_three_digits_of_a_value_far_out_are_that_value():
    generator = np.random.default_rng(0)
    rows = np.exp(2 * generator.normal(size=(400, 5))).astype(np.float32)
    largest = np.argsort(rows.max(1))[-12:]
    rounded = np.vectorize(lambda value: float(f"{value:.3g}"))(rows[largest]).astype(np.float32)
    assert (np.abs(rounded - rows[largest]) > 0.01 * rows.std(0)).any(1).sum() > 3
    pairs = {tuple(pair) for pair in near_rows(np.concatenate([rows, rounded]), tolerance=True).tolist()}
    assert pairs == {(i, 400 + k) for k, i in enumerate(largest.tolist())}


# -- of an audit -----------------------------------------------------------------------------------


def test_an_audit_of_pictures(tmp_path):
    digits = read_dataset("sklearn:digits").subset(np.arange(500))
    copies = np.stack([saved_again(95)(picture) for picture in digits.inputs[:60]])
    labels = digits.labels[np.r_[:500, :60]].copy()
    labels[550:] = (labels[550:] + 1) % 10
    inputs = np.concatenate([digits.inputs, copies])
    data = replace(digits, inputs=inputs, labels=labels, index=np.arange(560))
    folder = swaypoint.audit(data, tmp_path / "audit", options=quick("digits"))
    found = {finding.name: finding for finding in find_near_duplicates(folder)}
    split = np.array(folder.scores()["split"].to_pylist())
    pair = {i: i + 500 if i < 60 else i - 500 for i in [*range(60), *range(500, 560)]}
    at = {int(index): position for position, index in enumerate(folder.scores()["index"].to_numpy())}
    other = {at[i]: at[j] for i, j in pair.items()}
    leaked = found["held_out records near to ones that were trained on"]
    expected = [i for i in other if split[i] == "held_out" and split[other[i]] == "train"]
    assert sorted(leaked.index.tolist()) == sorted(leaked.drop.tolist()) == sorted(expected)
    within = found["near copies within a split"]
    assert sorted(within.index.tolist()) == sorted(i for i in other if split[i] == split[other[i]])
    assert len(within.drop) == len(within.index) / 2
    contradicting = found["near copies that contradict each other"]
    assert sorted(contradicting.index.tolist()) == sorted(at[i] for i in pair if i % 500 >= 50)
    suspicion = folder.scores()["p_wrong"].to_numpy()
    for i in contradicting.drop.tolist():
        stays = other[i]
        assert stays not in contradicting.drop
        assert (split[i] != "train", suspicion[i]) >= (split[stays] != "train", suspicion[stays])


def test_an_audit_of_features_and_of_one_without_near_copies(tmp_path):
    features = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)
    rows = np.concatenate([features, features[:15] + 1e-5])
    labels = (rows[:, 0] > 0).astype(np.int64)
    columns = tuple(f"x{i}" for i in range(6))
    data = Dataset("rows", "features", rows, labels, ("a", "b"), columns, np.arange(315), (), (), "rows")
    folder = swaypoint.audit(data, tmp_path / "audit", options=AuditOptions())
    found = find_near_duplicates(folder)
    split = np.array(folder.scores()["split"].to_pylist())
    apart = [i for i in range(15) if split[i] != split[300 + i]]
    assert sum(len(each.index) for each in found) == len(apart) + 2 * (15 - len(apart))
    assert find_near_duplicates(swaypoint.audit("sklearn:wine", tmp_path / "wine")) == []
