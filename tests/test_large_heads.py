"""Heads too large for a square factor: the sketch and the panels against the exact closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import swaypoint
from swaypoint.data.batches import ArrayBatches, WeightedBatches
from swaypoint.scoring import panels, rank
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.fitness import Spread, diagnose, examine
from swaypoint.scoring.options import Solving
from swaypoint.scoring.panels import TiledInfluence
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import BinaryCrossEntropy, CrossEntropy, SquaredError
from swaypoint.scoring.risks.weighted import Weighted
from swaypoint.scoring.sketched import SketchedInfluence, log_ratios, shrinkage
from swaypoint.scoring.solvers.conjugate_gradient import block_conjugate_gradient
from swaypoint.scoring.solvers.panels import TiledCholesky


def problem(n=2500, d=24, c=16):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n, d, generator=generator).relu()
    weight = torch.randn(c, d, generator=generator)
    noise = -torch.log(-torch.log(torch.rand(n, c, generator=generator)))
    labels = (features @ weight.T + noise).argmax(1)
    return features, labels, weight, torch.zeros(c)


@pytest.mark.parametrize("l2", [0.0, 1e-2], ids=["plain", "ridge"])
@pytest.mark.parametrize("dead", [False, True], ids=["full rank", "dead feature"])
@pytest.mark.parametrize(
    "loss",
    [CrossEntropy(), CrossEntropy(label_smoothing=0.1), CrossEntropy(weight=torch.linspace(0.5, 2, 16))],
    ids=["plain", "smoothed", "weighted"],
)
def test_close_to_exact_and_within_its_errors(loss, dead, l2):
    features, labels, weight, bias = problem()
    if dead:
        features, weight = (
            torch.cat([features, torch.zeros(2500, 1)], 1),
            torch.cat([weight, weight[:, :1]], 1),
        )
    head, data = HeadWeights(weight, bias, loss, l2), ArrayBatches(features, labels)
    exact = Influence(head, data, dtype=torch.float64).scores()
    sketched = SketchedInfluence(head, data)
    scores = sketched.scores()
    error = scores.cook / exact.cook - 1
    assert np.median(np.abs(error)) < 0.03
    assert 0.3 < np.median(np.abs(scores.cook - exact.cook) / scores.standard_error) < 1.5  # 0.67 if normal
    first = [set(np.argsort(-values)[:25]) for values in (scores.cook, exact.cook)]
    assert len(first[0] & first[1]) >= 22
    assert np.median(np.abs(scores.loo_loss - exact.loo_loss)) < 1e-2 * np.median(exact.loo_loss)
    np.testing.assert_allclose(scores.leverage, exact.leverage, rtol=1e-6)
    facts = Influence(head, data, dtype=torch.float64).facts()
    assert sketched.facts().decrement == pytest.approx(facts.decrement, rel=1e-2)
    assert sketched.facts().dropped == facts.dropped


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), SquaredError()], ids=["multi-label", "squared"])
def test_uncoupled_outputs_leave_no_error(loss):
    features, labels, weight, bias = problem(c=4)
    head = HeadWeights(weight, bias, loss, 1e-3)
    data = ArrayBatches(features, torch.nn.functional.one_hot(labels, 4).double())
    exact = Influence(head, data, dtype=torch.float64).scores().cook
    np.testing.assert_allclose(SketchedInfluence(head, data).scores().cook, exact, rtol=2e-2)


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 1.0, 2.0, 3.0])])
def test_square_root_and_removal_of_the_logit_curvature(weight):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, generator=generator).double()
    curvature = CrossEntropy(weight=weight).terms(logits, torch.tensor([0, 1, 2, 3, 0])).curvature
    identity = torch.eye(4).double().expand(5, 4, 4)
    dense, root = curvature.matmul(identity), curvature.sqrt_matmul(identity)
    torch.testing.assert_close(root @ root.mT, dense)
    leverages, residuals = torch.rand(2, 5, 4, generator=generator).double()
    expected = torch.linalg.solve(identity - dense * leverages.unsqueeze(1), residuals)
    torch.testing.assert_close(curvature.solve_removal(leverages, residuals), expected)


def test_conjugate_gradients_solve_each_column():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator).double()
    matrix = root @ root.T + torch.eye(6)
    right = torch.randn(1, 3, 6, generator=generator).double()
    scale = 1.0 / matrix.diagonal()
    solution = block_conjugate_gradient(
        lambda v: v @ matrix, right, precondition=lambda v: v * scale, tolerance=1e-12, max_steps=50
    )
    torch.testing.assert_close(solution.value, right @ torch.linalg.inv(matrix))
    assert solution.converged
    assert float(solution.residuals.max()) <= 1e-12


def estimates(points, outliers=0):
    """Values around a line, some far from it, two estimates of each, their noise, and the regressors."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(points, generator=generator).double()
    truth = 1 + 0.1 * x + 0.05 * torch.randn(points, generator=generator)
    truth[:outliers] += 2.0
    noise = 0.05**2 * (0.5 + torch.rand(points, generator=generator)).double()
    off = (2 * noise).sqrt().unsqueeze(1) * torch.randn(points, 2, generator=generator)
    return truth, truth.unsqueeze(1) + off, noise, torch.stack([torch.ones_like(x), x], 1)


def test_shrinking_beats_both_the_estimates_and_the_fit():
    truth, *given = estimates(5000)
    value, error = shrinkage(*given).applied(*given)
    rms = (value - truth).square().mean().sqrt()
    assert rms < 0.8 * 0.05
    assert error.square().mean().sqrt() == pytest.approx(float(rms), rel=0.1)


def test_values_unlike_all_others_stay_where_they_are():
    truth, *given = estimates(5000, outliers=100)
    value, error = shrinkage(*given).applied(*given)
    # Their own noise; moved as the others they would miss by nearly one.
    rms = (value - truth)[:100].square().mean().sqrt()
    assert rms < 1.1 * 0.05
    assert error[:100].square().mean().sqrt() == pytest.approx(float(rms), rel=0.15)
    assert (value - truth)[100:].square().mean().sqrt() < 0.8 * 0.05


@pytest.mark.parametrize("correlation", [0.0, 0.9, 0.999])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_a_ratio_by_its_control_is_unbiased_and_as_noisy_as_told(ratio, correlation):
    points, draws, known = 4000, 160, 7e-9
    generator = torch.Generator().manual_seed(1)
    c, e = torch.randn(2, points, draws, generator=generator).double() * known**0.5
    s = ratio**0.5 * (correlation * c + (1 - correlation**2) ** 0.5 * e)
    halves, noise = log_ratios(s, c, torch.full((points,), known).double())
    value = halves.mean(1)
    expected = 2 * (1 - correlation**4) / draws  # of a normal pair, to first order (Anderson, 1957)
    assert float(value.mean()) == pytest.approx(np.log(ratio), abs=4 * (expected / points) ** 0.5 + 2e-4)
    assert float(value.var()) == pytest.approx(expected, rel=0.1)
    assert float(noise.mean()) == pytest.approx(expected, rel=0.05)
    apart = halves - np.log(ratio)
    assert abs(float((apart[:, 0] * apart[:, 1]).mean())) < 0.2 * expected  # independent


def test_ratios_where_the_control_says_all_and_where_there_is_nothing():
    control = torch.randn(2, 20, generator=torch.Generator().manual_seed(2)).double()
    control[1] = 0.0
    halves, noise = log_ratios(3.0 * control, control, torch.tensor([1.3, 0.0]).double())
    torch.testing.assert_close(halves, torch.tensor([[np.log(9.0)] * 2, [0.0, 0.0]]), rtol=1e-9, atol=1e-9)
    assert float(noise[0]) < 1e-9
    assert torch.isfinite(noise).all()


def test_points_without_a_gradient_have_no_influence_and_do_not_disturb_the_others():
    features, labels, weight, bias = problem(n=800)
    head, weights = HeadWeights(weight, bias, Weighted(CrossEntropy())), torch.ones(800).double()
    weights[200:] = 0.0
    weighted = WeightedBatches(ArrayBatches(features, labels), weights)
    scores = SketchedInfluence(head, weighted).scores()
    exact = Influence(head, weighted, dtype=torch.float64).scores()
    assert (scores.cook[200:] == 0).all()
    assert np.median(np.abs(scores.cook[:200] / exact.cook[:200] - 1)) < 0.06


def test_a_fit_without_errors_and_a_row_without_features():
    features, _, weight, _ = problem(n=300)
    features[0] = 0.0
    head = HeadWeights(weight, None, SquaredError(), 1e-3)
    perfect = SketchedInfluence(head, ArrayBatches(features, features @ weight.T))
    assert (perfect.scores().cook <= 1e-9).all()
    assert 0 <= perfect.facts().error.value < 1
    labels = torch.zeros(300, dtype=torch.long)
    scores = SketchedInfluence(
        HeadWeights(weight, None, CrossEntropy(), 1e-3), ArrayBatches(features, labels)
    ).scores()
    assert scores.cook[0] == 0
    assert np.isfinite(scores.cook).all()


@pytest.mark.parametrize("draws", [2, 7])
def test_a_number_of_draws_without_two_halves_is_refused(draws):
    features, labels, weight, bias = problem(n=50)
    with pytest.raises(swaypoint.InputError, match=f"draws is {draws}; expected an even number"):
        SketchedInfluence(
            HeadWeights(weight, bias, CrossEntropy()), ArrayBatches(features, labels), draws=draws
        )


def test_auto_sketches_what_is_too_large(monkeypatch):
    features, labels, weight, bias = problem(n=500)
    head = swaypoint.LinearHead(HeadWeights(weight, bias, CrossEntropy(), 1e-3))
    monkeypatch.setattr(rank, "EXACT_LIMIT", 100)
    ranking = swaypoint.cooks_distance(head, (features, labels), progress=False)
    assert ranking.diagnostics.solver.startswith("sketch of")
    assert (ranking.top(5).standard_error > 0).all()
    exact = swaypoint.cooks_distance(head, (features, labels), solver="exact", progress=False)
    assert exact.standard_error is None
    with pytest.raises(swaypoint.InputError, match="pass solver='exact'"):
        swaypoint.cooks_distance(head, (features, labels), removal="finite", progress=False)
    with pytest.raises(swaypoint.InputError, match="solver is 'lu'"):
        swaypoint.cooks_distance(head, (features, labels), solver="lu", progress=False)


@pytest.mark.parametrize("l2", [0.0, 1e-2], ids=["plain", "ridge"])
@pytest.mark.parametrize("dead", [False, True], ids=["full rank", "dead feature"])
def test_panels_equal_the_square_factor(dead, l2, monkeypatch):
    features, labels, weight, bias = problem()
    if dead:
        features = torch.cat([features, torch.zeros(2500, 1)], 1)
        weight = torch.cat([weight, weight[:, :1]], 1)
    head, data = HeadWeights(weight, bias, CrossEntropy(), l2), ArrayBatches(features, labels)
    exact = Influence(head, data, dtype=torch.float64)
    expected = exact.scores()
    monkeypatch.setattr(panels, "_SLACK_BYTES", 0)
    assert len(panels._groups(15, 25)) > 2  # several passes over the data
    solved = TiledInfluence(head, data)
    scores = solved.scores()
    np.testing.assert_allclose(scores.cook, expected.cook, rtol=1e-4)
    np.testing.assert_allclose(scores.leverage, expected.leverage, rtol=1e-6)
    assert np.median(np.abs(scores.loo_loss - expected.loo_loss)) < 1e-2 * np.median(expected.loo_loss)
    facts = solved.facts()
    assert facts.decrement == pytest.approx(exact.facts().decrement, rel=1e-4)
    assert 1 < facts.condition <= exact.facts().condition
    assert facts.dropped == int(dead)


def test_a_factor_in_panels_is_that_of_the_whole():
    root = torch.randn(9, 30, generator=torch.Generator().manual_seed(0)).double()
    matrix = root @ root.T
    factor, start = TiledCholesky(), 0
    for stop in (2, 5, 9):
        factor.append(matrix[start:stop, :stop].clone())
        start = stop
    right = torch.eye(9, dtype=torch.float64)
    inverse = factor.forward(right.clone())
    torch.testing.assert_close(inverse.T @ inverse, torch.linalg.inv(matrix))


def test_a_singular_panel_names_the_remedy():
    factor = TiledCholesky()
    factor.append(torch.eye(2))
    with pytest.raises(swaypoint.InputError, match=r"singular.*add a ridge"):
        factor.append(torch.tensor([[1.0, 0.0, 1.0]]))


def test_exact_takes_panels_where_the_square_is_too_large(monkeypatch):
    features, labels, weight, bias = problem(n=500)
    head = swaypoint.LinearHead(HeadWeights(weight, bias, CrossEntropy(), 1e-3))
    square = swaypoint.cooks_distance(head, (features, labels), progress=False)
    monkeypatch.setattr(rank, "EXACT_LIMIT", 100)
    tiled = swaypoint.cooks_distance(head, (features, labels), solver="exact", progress=False)
    assert "in panels" in tiled.diagnostics.solver
    np.testing.assert_allclose(tiled.values, square.values, rtol=1e-4)
    monkeypatch.setattr("os.sysconf", lambda name: 1)
    with pytest.raises(swaypoint.InputError, match=r"needs .* GB .* use solver='sketch'"):
        swaypoint.cooks_distance(head, (features, labels), solver="exact", progress=False)


@pytest.mark.parametrize(
    ("loss", "outputs", "width", "method"),
    [
        (CrossEntropy(), 100, 120, "dense"),
        (CrossEntropy(), 100, 121, "sketch"),
        (BinaryCrossEntropy(), 100, 1200, "dense"),  # 100 matrices of 1200 x 1200
        (BinaryCrossEntropy(), 101, 1200, "sketch"),
    ],
)
def test_what_auto_factorises_fits_in_the_memory_that_it_promises(loss, outputs, width, method):
    head = HeadWeights(torch.zeros(outputs, width), None, loss, 1e-3)
    assert rank.choose(head, Solving()) == method


def test_auto_sketches_many_labels(monkeypatch):
    features, _, weight, bias = problem(n=400)
    targets = (features @ weight.T > 1).double()
    head = swaypoint.LinearHead(HeadWeights(weight, bias, BinaryCrossEntropy(), 1e-3))
    exact = swaypoint.cooks_distance(head, (features, targets), progress=False)
    monkeypatch.setattr(rank, "EXACT_LIMIT", 90)  # less than 16 matrices of 25 x 25 take
    ranking = swaypoint.cooks_distance(head, (features, targets), progress=False)
    assert ranking.diagnostics.solver.startswith("sketch of")
    np.testing.assert_allclose(ranking.values, exact.values, rtol=1e-3)


# -- the error to expect ----------------------------------------------------------------------------


def relative_error(scores, exact):
    """The largest of points whose score float32 can hold, which squares gradients."""
    held = exact.cook > 1e-30
    return np.abs(scores.cook[held] / exact.cook[held] - 1).max()


def curvature_check(solution):
    checks = diagnose(solution.facts(), Spread.of(solution.scores().cook)).checks
    return next(check for check in checks if check.name == "Curvature")


@pytest.mark.parametrize(
    ("size", "scale", "l2", "condition", "error", "verdict"),
    [
        ({}, 4.0, 1e-2, 84, 1e-5, "fit"),
        ({"n": 4000, "d": 20, "c": 30}, 4.0, 1e-4, 300, 1e-4, "fit"),
        ({"n": 4000, "d": 20, "c": 30}, 8.0, 1e-4, 1e4, np.inf, "caution"),
    ],
    ids=["moderate", "large", "too large"],
)
def test_panels_are_held_to_what_float32_can_keep(size, scale, l2, condition, error, verdict):
    features, labels, weight, bias = problem(**size)
    head, data = HeadWeights(scale * weight, bias, CrossEntropy(), l2), ArrayBatches(features, labels)
    solved = TiledInfluence(head, data)
    facts = solved.facts()
    found = relative_error(solved.scores(), Influence(head, data, dtype=torch.float64).scores())
    assert facts.condition > condition
    assert found < error
    assert facts.error.held_to == panels.ACCURACY
    assert (found > panels.ACCURACY) == (verdict == "caution")
    assert found < 5 * facts.error.value
    check = curvature_check(solved)
    assert check.verdict == verdict
    assert ("held to 0.001" in check.value) == (verdict == "caution")


def test_each_solution_says_what_its_error_is():
    features, labels, weight, bias = problem(n=500)
    head, data = HeadWeights(weight, bias, CrossEntropy(), 1e-3), ArrayBatches(features, labels)
    exact = Influence(head, data, dtype=torch.float64)
    sketched = SketchedInfluence(head, data)
    scores, facts = sketched.scores(), sketched.facts()
    assert facts.error.kind.startswith("standard error")
    assert facts.error.value == facts.estimated_error
    measured = np.sqrt(np.mean((scores.cook / exact.scores().cook - 1) ** 2))
    assert measured < 2 * facts.error.value < 2 * facts.error.held_to
    assert curvature_check(sketched).verdict == "fit"
    single = Influence(head, data, dtype=torch.float32)
    assert "rounding of the products in float32" in single.facts().error.kind
    assert relative_error(single.scores(), exact.scores()) < single.facts().error.held_to
    assert sketched.factor() is None
    assert examine(sketched) == ()
    torch.testing.assert_close(exact.factor()["inverse"], exact.inverse.matrix)


def test_a_sketch_that_is_asked_twice_answers_the_same():
    features, labels, weight, bias = problem(n=300)
    head, data = HeadWeights(weight, bias, CrossEntropy(), 1e-3), ArrayBatches(features, labels)
    early, late = SketchedInfluence(head, data), SketchedInfluence(head, data)
    facts = early.facts()  # before the scores
    scores = late.scores()
    assert facts == late.facts()
    np.testing.assert_array_equal(early.scores().cook, scores.cook)
    for solution in (early, TiledInfluence(head, data)):
        with pytest.raises(swaypoint.InputError, match="removal is 'finite'; expected 'infinitesimal'"):
            solution.scores(removal="finite")
