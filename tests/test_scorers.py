"""Scores share one interface: a trained model in, float64 arrays out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import swaypoint
from cases import trained, two_layers
from swaypoint.scorers import scores
from swaypoint.scorers.base import of_points, register
from swaypoint.scoring.solver_choice import solvers
from swaypoint.scoring.trained_model import TrainedModel

CONVERGED = trained(two_layers, 0.005)


def subject(params=None, **options):
    model, x, y = CONVERGED
    return TrainedModel(model, (x, y), params=params, l2=0.005, **options)


@pytest.mark.parametrize("params", [None, "2.*", "*"])
def test_cooks_distance_is_the_influence_of_a_point_on_itself(params):
    _, x, y = CONVERGED
    trained_model = subject(params)
    cook = scores["cooks_distance"].score(trained_model)
    on = scores["cooks_distance"].on(trained_model, (x, y))
    assert cook.shape == (120,)
    np.testing.assert_allclose(on.diagonal(), cook, rtol=1e-9)


def test_the_last_layer_is_the_same_by_either_route():
    model, x, y = CONVERGED
    expected = swaypoint.cooks_distance(model, (x, y), l2=0.005, dtype=torch.float64, progress=False).values
    for params in (None, "2.*"):
        np.testing.assert_allclose(scores["cooks_distance"].score(subject(params)), expected, rtol=1e-8)


def test_every_score_says_where_it_comes_from():
    for name, score in scores.items():
        assert name == score.name
        assert score.source
        assert score.summary
        assert score.score is not None or score.on is not None


def test_the_earlier_name_of_scores_is_the_same_mapping():
    assert swaypoint.methods is swaypoint.scores is scores


def test_a_column_of_an_audit_is_a_score_of_every_point():
    assert of_points("knn") is scores["knn"].score
    with pytest.raises(swaypoint.InputError, match=r"there is no score 'tracing'; expected .*, tracin"):
        of_points("tracing")
    with pytest.raises(swaypoint.InputError, match=r"test points.*swaypoint.scores\['relatif_theta'\]"):
        of_points("relatif_theta")


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="already is a score 'knn'"):
        register(scores["knn"])


@pytest.mark.parametrize("params", ["*", ("0.*",)])
def test_the_public_ranking_by_any_parameters(params):
    model, x, y = CONVERGED
    ranking = swaypoint.cooks_distance(model, (x, y), params=params, l2=0.005, progress=False)
    np.testing.assert_allclose(ranking.values, scores["cooks_distance"].score(subject(params)), rtol=1e-9)
    assert ranking.diagnostics.verdict == "fit"
    last = swaypoint.cooks_distance(model, (x, y), l2=0.005, progress=False)
    np.testing.assert_array_equal(ranking.margin, last.margin)
    sketch = swaypoint.cooks_distance(model, (x, y), params=params, l2=0.005, solver="sketch", progress=False)
    off = (sketch.values - ranking.values) / sketch.standard_error
    assert np.sqrt(np.mean(off**2)) < 1.5


def test_what_only_the_last_layer_has_is_refused():
    model, x, y = CONVERGED
    with pytest.raises(swaypoint.InputError, match="leave params out"):
        swaypoint.cooks_distance(model, (x, y), params="*", removal="finite", progress=False)
    with pytest.raises(swaypoint.InputError, match="'cg'; the last layer takes"):
        swaypoint.cooks_distance(model, (x, y), solver="cg", progress=False)


def _table(first):
    """Rows of the table in docs/methods.md whose first column is called so: names, and the other cells."""
    text = (Path(__file__).parents[1] / "docs" / "methods.md").read_text()
    body = text.split(f"\n| {first} | ")[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in body]
    return [(name, cells) for names, *cells in rows for name in re.findall(r"`([^`]+)`", names)]


def test_the_table_of_scores_is_the_registry():
    rows = dict(_table("score"))
    assert rows.keys() == scores.keys()
    for name, (score, on, source) in rows.items():
        assert bool(score) == (scores[name].score is not None), name
        assert bool(on) == (scores[name].on is not None), name
        assert bool(source) >= (scores[name].source != "none"), name


def test_every_solver_is_documented():
    assert {name for name, _ in _table("`solver`")} == {*solvers} - {"auto"}


def test_no_score_has_the_name_of_a_column_that_is_another_quantity():
    """Its column would be dropped: of these the audit writes its own."""
    assert {"cook", "label", "loo_loss", "margin", "leverage", "suggested_label"}.isdisjoint(scores)
    # The loss is the same in both.
    model, x, y = trained(two_layers, 0.01)
    trained_model = TrainedModel(model, (x, y))
    expected = trained_model.influence.scores().loss
    np.testing.assert_allclose(scores["loss"].score(trained_model), expected)
