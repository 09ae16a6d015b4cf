"""Every inverse against the dense float64 answer, where one exists."""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
import pytest
import torch
from torch import nn

import swaypoint
from cases import as_function, trained, two_layers
from swaypoint.scoring import solver_choice
from swaypoint.scoring.operators.base import Operator
from swaypoint.scoring.risks.gauss_newton import dense_ggn
from swaypoint.scoring.risks.kronecker import kronecker
from swaypoint.scoring.risks.layers import Layers
from swaypoint.scoring.risks.model import ModelRisk
from swaypoint.scoring.solver_choice import Solver, invert, solvers
from swaypoint.scoring.solvers import conjugate_gradient
from swaypoint.scoring.solvers.base import Inverse, Solution
from swaypoint.scoring.solvers.conjugate_gradient import (
    BlockSolution,
    IterativeInverse,
    block_conjugate_gradient,
)
from swaypoint.scoring.solvers.dense import dense_inverse
from swaypoint.scoring.solvers.lissa import LissaInverse
from swaypoint.scoring.solvers.low_rank import lanczos, nystroem, nystroem_preconditioner

RIDGE = 0.005


@pytest.fixture(scope="module")
def converged():
    model, x, y = trained(two_layers, RIDGE)
    return ModelRisk(model, (x, y), l2=RIDGE, batch_size=50)


def gauss_newton(model, risk, x, loss):
    """(1/n) J^T Lambda J, plainly, without ridge."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model.eval()
        logits, theta = as_function(model, risk, x)
        jacobian = torch.autograd.functional.jacobian(logits, theta)
        p = logits(theta).softmax(1)
    inner = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    if loss == "squared_error":
        inner = torch.eye(p.shape[1]).double().expand_as(inner)
    return torch.einsum("bcp,bcd,bdq->pq", jacobian, inner, jacobian) / len(x)


def exact_forms(risk, kind="ggn"):
    matrix = risk.curvature(kind) @ torch.eye(risk.dimension).double()
    rows = torch.cat(list(risk.gradients()))
    return rows, (rows * torch.linalg.solve(matrix, rows.T).T).sum(1), matrix


def test_the_dense_ggn_is_that_of_the_jacobian(case):
    model, x, _, loss, risk = case
    expected = gauss_newton(model, risk, x, loss) + 0.3 * torch.eye(risk.dimension)
    torch.testing.assert_close(dense_ggn(risk), expected)


def test_contraction_of_a_deep_perceptron_with_in_place_activations():
    torch.manual_seed(0)
    layers = [nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 5, bias=False), nn.ReLU(inplace=True)]
    model = nn.Sequential(*layers, nn.Linear(5, 3)).double()
    x, y = torch.randn(30, 3).double(), torch.arange(30) % 3
    risk = ModelRisk(model, (x, y), batch_size=7)
    torch.testing.assert_close(dense_ggn(risk), gauss_newton(model, risk, x, "cross_entropy"))


@pytest.mark.parametrize("kind", ["ggn", "hessian", "empirical_fisher"])
@pytest.mark.parametrize("solver", ["exact", "cg", "auto"])
def test_exact_solvers(converged, solver, kind):
    rows, expected, matrix = exact_forms(converged, kind)
    rows, expected = rows[::4], expected[::4]
    inverse = invert(converged, kind, solver)
    torch.testing.assert_close(inverse.quadratic(rows).value, expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(
        inverse.solve(rows.T).value, torch.linalg.solve(matrix, rows.T), rtol=1e-3, atol=1e-4
    )


def test_the_empirical_fisher_is_the_mean_of_outer_products(converged):
    rows = torch.cat(list(converged.gradients()))
    expected = rows.T @ rows / len(rows) + RIDGE * torch.eye(converged.dimension)
    torch.testing.assert_close(converged.curvature("empirical_fisher").dense(), expected)


def test_the_sketch_is_within_its_standard_error(converged):
    rows, expected, _ = exact_forms(converged)
    solution = invert(converged, solver="sketch").quadratic(rows)
    off = (solution.value / expected - 1) / solution.error
    assert float(off.square().mean().sqrt()) < 1.5
    assert float(off.abs().max()) < 5
    assert "standard error 8.8%" in solution.outcome


def test_low_rank_inverses_of_full_rank_are_exact(converged):
    rows, expected, _ = exact_forms(converged)
    full = converged.dimension
    for inverse in (
        lanczos(converged.curvature(), rank=full, steps=full),
        nystroem(converged.curvature(), ridge=RIDGE, rank=full),
    ):
        torch.testing.assert_close(inverse.quadratic(rows).value, expected, rtol=1e-4, atol=0)
        torch.testing.assert_close((rows * inverse.solve(rows.T).value.T).sum(1), expected, rtol=1e-4, atol=0)


def test_lanczos_finds_the_largest_eigenvalues(converged):
    matrix = converged.curvature().dense()
    values, vectors = torch.linalg.eigh(matrix)
    rows = torch.cat(list(converged.gradients()))
    expected = ((rows @ vectors[:, -5:]).square() / values[-5:]).sum(1)
    torch.testing.assert_close(lanczos(converged.curvature(), rank=5).quadratic(rows).value, expected)


def test_nystroem_of_low_rank_curvature_takes_the_ridge_for_the_rest():
    torch.manual_seed(0)
    root = torch.randn(40, 5).double()
    matrix = root @ root.T + 0.1 * torch.eye(40)
    operator = Matrix(matrix)
    rows = torch.randn(6, 40).double()
    inverse = nystroem(operator, ridge=0.1, rank=8)
    torch.testing.assert_close(
        inverse.solve(rows.T).value, torch.linalg.solve(matrix, rows.T), rtol=1e-5, atol=1e-6
    )


class Matrix(Operator):
    def __init__(self, matrix):
        self.matrix, self.dimension = matrix, len(matrix)
        self.dtype, self.device = matrix.dtype, matrix.device

    def matmul(self, vectors):
        return self.matrix @ vectors


def test_lissa_converges_to_the_solution(converged):
    rows, _, matrix = exact_forms(converged)
    curvature = converged.curvature()
    some = [
        product(torch.eye(curvature.dimension).double()) for product in islice(curvature.random_batches(), 40)
    ]
    inverse = LissaInverse(
        curvature, lambda: cycle([matrix.matmul for matrix in some]), depth=4000, repeats=2
    )
    expected = torch.linalg.solve(matrix, rows[:3].T)
    solution = inverse.solve(rows[:3].T)
    assert float((solution.value - expected).norm() / expected.norm()) < 0.1
    assert f"relative residual {solution.residual:.1e}" in solution.outcome


def test_kfac_is_exact_where_the_curvature_is_a_kronecker_product():
    torch.manual_seed(0)
    model, x = nn.Linear(5, 3).double(), torch.randn(40, 5).double()
    risk = ModelRisk(model, (x, torch.randn(40, 3)), loss="squared_error", l2=0.01)
    rows, expected, matrix = exact_forms(risk)
    for solver in ("kfac", "ekfac"):
        inverse = invert(risk, solver=solver)
        torch.testing.assert_close(inverse.quadratic(rows).value, expected)
        torch.testing.assert_close(inverse.solve(rows.T).value, torch.linalg.solve(matrix, rows.T))


def test_ekfac_keeps_the_trace_and_the_diagonal_of_other_layers(case):
    model, x, _, loss, risk = case
    dense = gauss_newton(model, risk, x, loss)
    curvature = kronecker(risk)
    torch.testing.assert_close(curvature.diagonal, dense.diagonal()[curvature.rest])
    for block in curvature.blocks:
        trace = dense.diagonal()[block.index.flatten()].sum()
        torch.testing.assert_close(block.values.sum(), trace)


def test_the_diagonal_of_norms_and_of_layers_that_run_twice():
    class Norms(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.group = nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4)
            self.again, self.batch = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
            self.layer, self.head = nn.LayerNorm((4, 5)), nn.Linear(20, 3)

        def forward(self, x):
            x = self.group(self.conv(x)).tanh()
            x = self.batch(self.again(self.batch(self.again(x)).tanh()))
            return self.head(self.layer(x.mean(3)).tanh().flatten(1))

    torch.manual_seed(0)
    model = Norms().double().eval()
    for module in (model.group, model.batch, model.layer):
        nn.init.normal_(module.weight)
    model.batch.running_var.uniform_(0.5, 2)
    x = torch.randn(9, 2, 5, 5).double()
    risk = ModelRisk(model, (x, torch.arange(9) % 3), batch_size=4)
    assert len(Layers(risk).rest) == 0
    dense, curvature = gauss_newton(model, risk, x, "cross_entropy"), kronecker(risk)
    torch.testing.assert_close(curvature.diagonal, dense.diagonal()[curvature.rest])
    for block in curvature.blocks:
        trace = dense.diagonal()[block.index.flatten()].sum()
        torch.testing.assert_close(block.values.sum(), trace)


def test_ekfac_values_are_the_mean_squares_in_the_eigenbasis(case):
    model, x, _, loss, risk = case
    dense = gauss_newton(model, risk, x, loss)
    for block in kronecker(risk).blocks:
        index = block.index.flatten()
        basis = torch.kron(block.outputs, block.inputs)
        rotated = basis.T @ dense[index.unsqueeze(1), index] @ basis
        torch.testing.assert_close(block.values.flatten(), rotated.diagonal())


def test_many_classes_are_mixed_without_bias():
    torch.manual_seed(0)
    model, x = nn.Linear(3, 40).double(), torch.randn(3000, 3).double()
    risk = ModelRisk(model, (x, torch.arange(3000) % 40), batch_size=1000)
    expected = dense_ggn(risk).diagonal().sum()
    torch.testing.assert_close(kronecker(risk).blocks[0].values.sum(), expected, rtol=0.05, atol=0)


def test_a_preconditioner_saves_steps():
    torch.manual_seed(0)
    scales = torch.logspace(-2, 1, 12).double()
    model = nn.Sequential(nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    risk = ModelRisk(model, (torch.randn(200, 12).double() * scales, torch.arange(200) % 3), l2=1e-4)
    rows = torch.cat(list(risk.gradients()))[:10]
    plain, helped = IterativeInverse(risk.curvature()).solve(rows.T), invert(risk, solver="cg").solve(rows.T)
    torch.testing.assert_close(plain.value, helped.value, rtol=1e-2, atol=1e-2)
    steps = [int(solution.outcome.split(" after ")[1].split()[0]) for solution in (plain, helped)]
    assert steps[1] < 0.7 * steps[0]


@pytest.mark.parametrize("solver", ["exact", "cg", "lanczos", "nystroem"])
def test_negative_curvature_is_reported_by_every_solver(solver):
    torch.manual_seed(0)
    model = nn.Sequential(*two_layers()).double()
    risk = ModelRisk(model, (torch.randn(60, 4).double(), torch.arange(60) % 2))
    rows = next(risk.gradients())
    with pytest.raises(swaypoint.InputError, match=r"indefinite.*damping above.*'ggn'"):
        invert(risk, "hessian", solver).solve(rows.T)


def test_singular_curvature_gives_the_pseudo_inverse():
    torch.manual_seed(0)
    root = torch.randn(3, 6).double()
    matrix, rows = root.T @ root, torch.randn(5, 3).double() @ root
    inverse = dense_inverse(matrix, 1e-12)
    torch.testing.assert_close(inverse.solve(rows.T).value, torch.linalg.pinv(matrix) @ rows.T)
    outcome = inverse.solve(rows.T).outcome
    assert "3 of 6 directions without curvature were dropped" in outcome


def test_a_small_ridge_drops_nothing():
    matrix = torch.diag(torch.tensor([1e4, 1.0, 1e-5])).double()
    inverse = dense_inverse(matrix, 1e-6, floor=1e-5)
    torch.testing.assert_close(inverse.solve(torch.eye(3).double()).value, torch.linalg.inv(matrix))
    assert "1 of 3 directions" in dense_inverse(matrix, 1e-6).solve(torch.eye(3).double()).outcome


def test_what_does_not_go_together_is_refused(converged):
    with pytest.raises(swaypoint.InputError, match="no solver 'newton'; expected auto, cg"):
        invert(converged, solver="newton")
    with pytest.raises(swaypoint.InputError, match="approximates the Gauss-Newton matrix"):
        invert(converged, "hessian", "ekfac")
    with pytest.raises(swaypoint.InputError, match="expected one of 'hessian', 'ggn', 'empirical_fisher'"):
        converged.curvature("newton")


def test_a_ridge_for_each_layer():
    model, x, y = trained(two_layers, RIDGE)
    l2 = {"2.*": 0.3, "*.weight": 0.02}
    risk = ModelRisk(model, (x, y), l2=l2, batch_size=50)
    ridge = torch.cat([torch.full((k,), v) for k, v in ((24, 0.02), (6, 0.0), (12, 0.3), (2, 0.3))]).double()
    matrix = gauss_newton(model, risk, x, "cross_entropy") + torch.diag(ridge)
    torch.testing.assert_close(risk.curvature() @ torch.eye(44).double(), matrix)
    rows = torch.cat(list(risk.gradients()))
    expected = (rows * torch.linalg.solve(matrix, rows.T).T).sum(1)
    for solver in ("exact", "cg", "sketch"):
        values = invert(risk, solver=solver).quadratic(rows).value
        if solver != "sketch":
            torch.testing.assert_close(values, expected, rtol=1e-4, atol=0)
        else:
            assert float((values / expected - 1).square().mean().sqrt()) < 1.5 * (2 / 256) ** 0.5
    last = swaypoint.LinearHead.from_module(model, l2=l2).weights
    assert (last.l2, last.penalize_bias) == (0.3, True)
    with pytest.raises(swaypoint.InputError, match=r"0\.02 for 2\.weight and 0\.3 for its bias"):
        swaypoint.LinearHead.from_module(model, l2={"*.weight": 0.02, "2.*": 0.3})


def test_ekfac_with_a_ridge_for_each_layer_is_exact_where_the_curvature_is_a_kronecker_product():
    torch.manual_seed(0)
    model, x = nn.Linear(5, 3, bias=False).double(), torch.randn(40, 5).double()
    risk = ModelRisk(model, (x, torch.randn(40, 3)), loss="squared_error", l2={"weight": 0.7})
    rows, expected, _ = exact_forms(risk)
    torch.testing.assert_close(invert(risk, solver="ekfac").quadratic(rows).value, expected)


class Tripled(nn.Linear):
    def forward(self, x):
        return torch.nn.functional.linear(x, 3 * self.weight, self.bias)


class Reused(nn.Module):
    """Uses a layer's weight outside the layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 3)

    def forward(self, x):
        return self.b(self.a(x).tanh() @ self.a.weight)


class Doubled(nn.Module):
    """Folds two views of a point into the batch."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x):
        both = self.a(torch.cat([x, -x])).tanh()
        return self.b(both[: len(x)] * both[len(x) :])


class Idle(nn.Module):
    """Runs a layer that does not reach the logits."""

    def __init__(self):
        super().__init__()
        self.a, self.pooler = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        self.pooler(x)
        return self.a(x)


@pytest.mark.parametrize("make", [lambda: nn.Sequential(Tripled(3, 3)), Reused, Doubled, Idle])
def test_layers_that_are_not_what_they_seem(make):
    torch.manual_seed(0)
    model, x = make().double(), torch.randn(20, 3).double()
    risk = ModelRisk(model, (x, torch.arange(20) % 3), damping=0.1, batch_size=8)
    rows, expected, _ = exact_forms(risk)
    for solver in ("exact", "cg"):
        values = invert(risk, solver=solver).quadratic(rows).value
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-9)


def test_padding_that_unfold_does_not_know():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(32, 3)
    model, x = nn.Sequential(*layers).double(), torch.randn(9, 1, 4, 4).double()
    risk = ModelRisk(model, (x, torch.arange(9) % 3))
    dense, curvature = gauss_newton(model, risk, x, "cross_entropy"), kronecker(risk)
    torch.testing.assert_close(curvature.diagonal, dense.diagonal()[curvature.rest])


def test_the_preconditioner_leaves_a_small_condition_number():
    """With rank r the spectrum that is left is that of the part below the r-th eigenvalue (Frangella, Tropp
    & Udell, 2023, theorem 5.1)."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(300, 300, generator=generator, dtype=torch.float64))[0]
    ridge, values = 1e-4, 100.0 * 0.9 ** torch.arange(300, dtype=torch.float64)
    matrix = (basis * (values + ridge)) @ basis.T
    operator = Matrix(matrix)
    inverse = nystroem_preconditioner(operator, ridge=ridge, rank=150)
    root = torch.linalg.cholesky(inverse.solve(torch.eye(300, dtype=torch.float64)).value)
    left = torch.linalg.eigvalsh(root.T @ matrix @ root)
    assert left[-1] / left[0] < 10 < 1e5 < (values[0] + ridge) / ridge
    right = torch.randn(300, 4, generator=generator, dtype=torch.float64)

    def solved(precondition):
        return block_conjugate_gradient(
            operator.matmul, right, tolerance=1e-8, max_steps=1000, precondition=precondition
        )

    found = solved(lambda v: inverse.solve(v).value)
    torch.testing.assert_close(found.value, torch.linalg.solve(matrix, right), rtol=1e-4, atol=1e-2)
    assert 5 * found.steps < solved(None).steps


def test_conjugate_gradients_see_what_the_preconditioner_hardly_does():
    torch.manual_seed(0)
    x = torch.randn(50, 2).double() * torch.tensor([1.0, 1e-4])
    model = nn.Linear(2, 1, bias=False).double()
    risk = ModelRisk(model, (x, torch.randn(50, 1)), loss="squared_error")
    rows = torch.cat(list(risk.gradients()))
    exact = invert(risk, solver="exact").quadratic(rows).value
    torch.testing.assert_close(invert(risk, solver="cg").quadratic(rows).value, exact, rtol=1e-4, atol=0)


def test_ties_for_the_largest_logit_have_the_right_slope():
    model, x = nn.Linear(2, 3).double(), torch.ones(3, 2).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    rows = torch.cat(list(ModelRisk(model, (x, torch.arange(3))).gradients()))
    expected = (torch.full((3, 3), 1 / 3) - torch.eye(3)).double()
    torch.testing.assert_close(rows[:, -3:], expected)
    hessian = ModelRisk(model, (x, torch.arange(3)), parameters="bias").curvature("hessian").dense()
    torch.testing.assert_close(hessian, (torch.eye(3) / 3 - 1 / 9).double())


def test_bad_inputs_and_options_are_named(converged):
    model, x, y = trained(two_layers, RIDGE)
    broken = x.clone()
    broken[70, 1] = torch.nan
    with pytest.raises(swaypoint.InputError, match="gradient of row 70 is NaN or infinite"):
        list(ModelRisk(model, (broken, y), batch_size=50).gradients())
    with pytest.raises(swaypoint.InputError, match="no parameter matches l2's 'haed"):
        ModelRisk(model, (x, y), l2={"haed.*": 1.0})
    with pytest.raises(swaypoint.InputError, match="both must be >= 0"):
        ModelRisk(model, (x, y), damping=-0.1)
    model[0].requires_grad_(False)
    assert ModelRisk(model, (x, y)).names == ("2.weight", "2.bias")
    with pytest.raises(swaypoint.InputError, match="are frozen"):
        ModelRisk(model, (x, y), parameters="0.*")
    custom = ModelRisk(model, (x, y), loss=lambda z, t: (z - t).square().sum())
    for solver in ("sketch", "ekfac"):
        with pytest.raises(swaypoint.InputError, match="a custom loss has no"):
            invert(custom, solver=solver)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_residual_that_the_steps_did_not_see_is_told_relative_to_the_right_side(scale, monkeypatch):
    solution = BlockSolution(torch.zeros(3, 1), torch.zeros(1), steps=2, converged=True)
    monkeypatch.setattr(conjugate_gradient, "block_conjugate_gradient", lambda *_, **__: solution)
    with pytest.raises(swaypoint.InputError, match=r"relative residual 1\.0e\+00"):
        IterativeInverse(Matrix(torch.eye(3))).solve(torch.full((3, 1), scale))


# -- outcomes are values --------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["auto", "cg", "sketch", "lissa"])
def test_no_solve_changes_its_inverse(converged, solver):
    """The same question has the same answer and outcome, whatever was asked between."""
    rows = torch.cat(list(converged.gradients()))
    inverse = invert(converged, solver=solver)
    if isinstance(inverse, LissaInverse):
        inverse._depth = 50  # that the batches are the same again shows at once
    before = dict(vars(inverse))
    first = inverse.solve(rows[:2].T)
    between = inverse.solve(1e6 * rows[2:9].T)
    again = inverse.solve(rows[:2].T)
    assert torch.equal(first.value, again.value)
    assert (first.outcome, first.error, first.residual) == (again.outcome, again.error, again.residual)
    assert between.value.shape == (converged.dimension, 7)
    assert vars(inverse) == before


def test_auto_says_why_of_every_solution(converged, monkeypatch):
    rows = torch.cat(list(converged.gradients()))[:5]
    assert invert(converged).solve(rows.T).outcome.endswith("(auto: 44 parameters fit in memory)")
    monkeypatch.setattr(solver_choice, "DENSE_LIMIT", 10)
    for kind, words in (("ggn", "EK-FAC, error not known (auto: 44 "), ("hessian", "steps (auto: 44 ")):
        inverse = invert(converged, kind)
        for solution in (inverse.solve(rows.T), inverse.quadratic(rows)):
            assert words in solution.outcome
            assert "too many for an exact inverse" in solution.outcome


# -- written by others ----------------------------------------------------------------------------


class Diagonal(Inverse):
    """Ignores how parameters interact."""

    def __init__(self, risk, kind):
        self.diagonal = risk.curvature(kind).dense().diagonal()

    def solve(self, vectors):
        return Solution(vectors / self.diagonal.unsqueeze(1).to(vectors), "approximate: the diagonal alone")


@pytest.fixture
def diagonal():
    solvers.register("diagonal", Solver("the diagonal alone", Diagonal))
    yield
    del solvers._own["diagonal"]


@pytest.mark.usefixtures("diagonal")
def test_a_solver_of_anothers_works_where_ours_do(converged):
    model, x, y = trained(two_layers, RIDGE)
    matrix = gauss_newton(model, converged, x, "cross_entropy") + RIDGE * torch.eye(converged.dimension)
    rows = torch.cat(list(converged.gradients()))
    options = {"l2": RIDGE, "params": "*", "solver": "diagonal"}
    ranking = swaypoint.cooks_distance(model, (x, y), **options, progress=False)
    expected = rows.square() @ (1 / matrix.diagonal())
    torch.testing.assert_close(torch.from_numpy(ranking.values), expected)
    assert ranking.diagnostics.outcome == "approximate: the diagonal alone"
    assert np.isnan(ranking.diagnostics.estimated_error)
    found = swaypoint.influence(model, (x, y), (x[:3], y[:3]), **options)
    torch.testing.assert_close(torch.from_numpy(found), (rows[:3] / matrix.diagonal()) @ rows.T)
    assert "diagonal" in solvers
