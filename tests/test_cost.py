"""What findings cost: against refits by scipy in float64, and dense derivatives."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.batches import ArrayBatches
from swaypoint.data.dataset import Dataset
from swaypoint.errors import InputError
from swaypoint.findings import Finding, cost, found
from swaypoint.findings import base as registered
from swaypoint.findings.cost import costs
from swaypoint.models.predictor import Objective
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import as_loss

LOSSES = ("cross_entropy", "squared_error", "binary_cross_entropy")
N, WIDTH, L2 = 240, 5, 0.02


def problem(loss: str, *, free_bias: bool = False):
    """A head at zero, training points, others, and the mean loss of logits in numpy."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(N + 120, WIDTH)).astype(np.float32)
    outputs = 3 if loss == "cross_entropy" else 1
    logits = features @ rng.normal(size=(WIDTH, outputs)) + rng.gumbel(size=(N + 120, outputs))
    labels = logits.argmax(1) if outputs > 1 else logits[:, 0]
    if loss == "binary_cross_entropy":
        labels = (labels > 0).astype(np.int64)
    head = HeadWeights(
        torch.zeros(outputs, WIDTH), torch.zeros(outputs), as_loss(loss), L2, penalize_bias=not free_bias
    )
    return head, features, labels


def losses(loss: str, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if loss == "cross_entropy":
        top = logits.max(1)
        return np.log(np.exp(logits - top[:, None]).sum(1)) + top - logits[np.arange(len(labels)), labels]
    if loss == "squared_error":
        return 0.5 * (logits[:, 0] - labels) ** 2
    return np.logaddexp(0, logits[:, 0]) - labels * logits[:, 0]


def objective(head: HeadWeights, features, labels, weights):
    """(1/n) sum w l + ridge as a function of a matrix ``(C, D + 1)`` in torch."""
    columns = torch.from_numpy(np.hstack([features.astype(np.float64), np.ones((len(features), 1))]))
    target, ridge = torch.from_numpy(labels), torch.full((WIDTH + 1,), head.l2, dtype=torch.float64)
    ridge[-1] = head.l2 if head.penalize_bias else 0.0

    def value(matrix: torch.Tensor) -> torch.Tensor:
        logits = columns @ matrix.T
        if head.loss.name == "cross_entropy":
            each = torch.nn.functional.cross_entropy(logits, target, reduction="none")
        elif head.loss.name == "squared_error":
            each = 0.5 * (logits[:, 0] - target) ** 2
        else:
            each = torch.nn.functional.softplus(logits[:, 0]) - target * logits[:, 0]
        return (torch.from_numpy(weights) * each).sum() / len(weights) + 0.5 * (ridge * matrix**2).sum()

    return value


def fitted(head: HeadWeights, features, labels, weights) -> np.ndarray:
    """The minimiser of :func:`objective` from zero by scipy's L-BFGS, ``(C, D + 1)``."""
    value = objective(head, features, labels, weights)

    def with_slope(flat: np.ndarray):
        matrix = torch.from_numpy(flat.reshape(head.outputs, -1)).requires_grad_()
        whole = value(matrix)
        (slope,) = torch.autograd.grad(whole, matrix)
        return whole.item(), slope.numpy().ravel()

    done = minimize(
        with_slope, np.zeros(head.outputs * (WIDTH + 1)), jac=True, method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 50_000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 40},
    )  # fmt: skip
    return done.x.reshape(head.outputs, -1)


def change(head: HeadWeights, features, labels, members) -> float:
    """Of the mean held-out loss, by two fits from scratch."""
    columns = np.hstack([features[N:].astype(np.float64), np.ones((120, 1))])
    weights = np.ones(N)
    means = []
    for left in (weights, np.where(np.isin(np.arange(N), members), 0.0, 1.0)):
        matrix = fitted(head, features[:N], labels[:N], left)
        means.append(losses(head.loss.name, columns @ matrix.T, labels[N:]).mean())
    return means[1] / means[0] - 1


def asked(head, features, labels, *groups):
    train, held_out = ArrayBatches(features[:N], labels[:N]), ArrayBatches(features[N:], labels[N:])
    return list(costs(head, train, held_out, [np.array(group) for group in groups]))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("free_bias", [False, True])
def test_the_refit_is_one_from_scratch_and_influence_is_near(loss, free_bias):
    head, features, labels = problem(loss, free_bias=free_bias)
    groups = ([7], [3, 40, 17], list(range(20)))
    for members, one in zip(groups, asked(head, features, labels, *groups), strict=True):
        expected = change(head, features, labels, members)
        assert one.refit == pytest.approx(expected, rel=1e-3, abs=1e-7)
        tolerance = 0.2 if len(members) > 5 else 0.05
        assert one.influence == pytest.approx(expected, rel=tolerance, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_second_order_is_the_formula_with_dense_derivatives(loss):
    head, features, labels = problem(loss)
    members, ones = np.arange(30), np.ones(N)
    matrix = torch.from_numpy(fitted(head, features[:N], labels[:N], ones)).requires_grad_()
    whole = objective(head, features[:N], labels[:N], ones)
    group = objective(replace(head, l2=0.0), features[:N], labels[:N], np.where(np.arange(N) < 30, 1.0, 0.0))
    hessians = [torch.autograd.functional.hessian(f, matrix) for f in (whole, group)]
    H, own = (one.reshape(matrix.numel(), -1) for one in hessians)
    inverse = torch.linalg.pinv(H, rcond=1e-10)  # the softmax does not see a shift of all logits

    def slope(function) -> torch.Tensor:
        return torch.autograd.grad(function(matrix), matrix, create_graph=True)[0]

    first = (inverse @ slope(group).flatten()).detach().view_as(matrix)
    (once,) = torch.autograd.grad((slope(whole) * first).sum(), matrix, create_graph=True)
    (third,) = torch.autograd.grad((once * first).sum(), matrix)
    second = inverse @ (own @ first.flatten() - 0.5 * third.flatten())
    moved = (matrix.detach() + first + second.view_as(matrix)).numpy()
    columns = np.hstack([features[N:].astype(np.float64), np.ones((120, 1))])
    means = [losses(loss, columns @ at.T, labels[N:]).mean() for at in (matrix.detach().numpy(), moved)]
    (one,) = asked(head, features, labels, members)
    assert one.influence == pytest.approx(means[1] / means[0] - 1, rel=1e-4)


def test_it_does_not_matter_where_the_head_begins():
    head, features, labels = problem("cross_entropy")
    away = replace(head, weight=torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0)))
    for one, other in zip(
        asked(head, features, labels, [1, 2]), asked(away, features, labels, [1, 2]), strict=True
    ):
        assert one.refit == pytest.approx(other.refit, rel=1e-5)
        assert one.influence == pytest.approx(other.influence, rel=1e-5)


@pytest.mark.parametrize("gap", [4, 8, 50])
def test_a_loss_without_a_minimum_is_said(gap):
    head, features, labels = problem("cross_entropy")
    apart = features.copy()
    apart[:, :3] += gap * np.eye(3, dtype=np.float32)[labels]
    with pytest.raises(InputError, match="leaves no loss that could change"):
        asked(replace(head, l2=0.0), apart, labels, [1])
    (one,) = asked(head, apart, labels, [1])  # by the ridge there is one
    assert one.influence == pytest.approx(one.refit, rel=0.05, abs=1e-4)


# -- in an audit -------------------------------------------------------------------------------------


@pytest.fixture
def audited(tmp_path, monkeypatch):
    """An audit of what :func:`problem` gives, which finds the records at these positions."""

    def make(*positions, **options):
        _, features, labels = problem("cross_entropy")
        index = np.arange(len(labels))
        data = Dataset(
            "points", "features", features, labels, tuple("abc"), tuple("uvwxy"), index, (), (), "points"
        )
        every = [
            Finding(f"stain {i}", "a stain", "low", {"share": 0.5}, np.array(each, np.int64), "wash it")
            for i, each in enumerate(positions)
        ]
        monkeypatch.setattr(registered, "findings", {"stain": lambda _: every})
        made = AuditOptions(objective=Objective(l2=L2), **options)
        return swaypoint.audit(data, tmp_path / "audit", options=made)

    return make


def test_an_audit_says_what_its_findings_cost(audited):
    folder = audited([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    split = np.array(folder.scores()["split"].to_pylist())
    _, features, labels = problem("cross_entropy")
    trained, others = np.flatnonzero(split == "train"), np.flatnonzero(split != "train")
    members = np.searchsorted(trained, np.arange(10)[split[:10] == "train"])
    head = replace(problem("cross_entropy", free_bias=True)[0], l2=L2)
    (expected,) = costs(
        head,
        ArrayBatches(features[trained], labels[trained]),
        ArrayBatches(features[others], labels[others]),
        [members],
    )
    given = found(folder).findings[0].evidence
    assert given["share"] == 0.5
    assert given["training_records"] == len(members)
    assert given["held_out_loss_change"] == pytest.approx(expected.influence, rel=1e-4)
    assert given["held_out_loss_change_refit"] == pytest.approx(expected.refit, rel=1e-4)
    page = (folder.path / "report.html").read_text()
    assert f"Without its {len(members)} training records the loss on what was held out would" in page
    stored = json.loads((folder.path / "findings.json").read_text())
    assert stored["finders"][0]["findings"][0]["evidence"] == given


def test_where_nothing_is_held_out_it_is_not_measured(audited):
    folder = audited([0], validation=0.0)
    assert found(folder).findings[0].evidence == {"share": 0.5}
    assert found(folder).notes == ()


def test_where_it_would_take_long_it_is_said(audited, monkeypatch):
    monkeypatch.setattr(cost, "REFIT", 100)
    folder = audited([0, 1, 2, 3])
    assert found(folder).findings[0].evidence == {"share": 0.5}
    (note,) = found(folder).notes
    assert note.startswith("what 1 finding costs: fits of 288 points and 18 weights take more than")
