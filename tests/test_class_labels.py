"""Labels as people have them: whatever they are called, the ranking is that of class indices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import swaypoint
from swaypoint.data.class_labels import class_labels

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(90, 4))
INDEX = (FEATURES @ RNG.normal(size=(4, 3))).argmax(1)
NAMES = np.array(["bird", "cat", "dog"])


def ranked(labels, **options):
    return swaypoint.cooks_distance_from_features(FEATURES, labels, progress=False, **options)


def forms():
    pandas = pytest.importorskip("pandas")
    yield "texts", NAMES[INDEX], NAMES
    yield "list", NAMES[INDEX].tolist(), NAMES
    yield "objects", NAMES[INDEX].astype(object), NAMES
    yield "codes", np.array([0, 200, 7000])[INDEX], np.array([0, 200, 7000])
    yield "negative codes", np.array([-1, 0, 1])[INDEX], np.array([-1, 0, 1])
    yield "whole floats", INDEX.astype(float), np.arange(3)
    yield "tensor", torch.tensor(INDEX), np.arange(3)
    yield "series", pandas.Series(NAMES[INDEX], index=range(500, 590)), NAMES
    yield "categorical", pandas.Series(pandas.Categorical(NAMES[INDEX])), NAMES


@pytest.mark.parametrize("form", list(forms()), ids=lambda form: form[0])
def test_the_ranking_is_that_of_the_indices_and_has_the_labels_as_given(form):
    _, labels, names = form
    expected, found = ranked(INDEX), ranked(labels)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.label.tolist() == names[INDEX].tolist()
    assert found.suggested_label.tolist() == names[expected.suggested_label.astype(int)].tolist()


def test_booleans_are_two_classes():
    two = ranked(INDEX == 0)
    np.testing.assert_array_equal(two.values, ranked((INDEX == 0).astype(int)).values)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (FEATURES[:, 0], r"row 0 is .*, a real value and no class.*loss='squared_error'"),
        (np.where(np.arange(90) == 3, np.nan, INDEX), "row 3 is missing"),
        ([None, *NAMES[INDEX[1:]]], "row 0 is missing"),
        (np.arange(90), "90 different numbers in 90 points.*squared_error.*as text"),
        (np.eye(3)[INDEX] + np.eye(3)[(INDEX + 1) % 3], "sums to 2.*binary_cross_entropy"),
    ],
    ids=["real values", "nan", "none", "numbers", "several labels a point"],
)
def test_what_is_no_class_is_said_in_one_sentence(labels, words):
    with pytest.raises(swaypoint.InputError, match=words):
        ranked(labels)


def test_real_values_go_with_a_regression():
    assert len(ranked(FEATURES[:, 0] + 1.0, loss="squared_error")) == 90


def test_what_occurs_is_what_there_is():
    found = class_labels(["b", "a", "b"])
    assert (found.index.tolist(), found.values.tolist(), found.are_indices) == ([1, 0, 1], ["a", "b"], False)
