"""Cook's distances of a linear head in float64: by swaypoint, and by other routes that it has no part in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 5_000


@dataclass(frozen=True)
class Problem:
    """A softmax head and its data; ``features`` may be a memory map."""

    features: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Problem:
        arrays = np.load(folder / "arrays.npz")
        features = np.load(folder / "features.npy", mmap_mode="r")
        return cls(features, arrays["labels"], arrays["weight0"], arrays["bias0"])

    def chunks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Inputs with their constant 1, probabilities, labels; float64."""
        weight, bias = torch.tensor(self.weight).double(), torch.tensor(self.bias).double()
        for start in range(0, len(self.labels), _CHUNK):
            part = slice(start, start + _CHUNK)
            x = torch.tensor(self.features[part]).double()
            p = (x @ weight.T + bias).softmax(1)
            yield F.pad(x, (0, 1), value=1.0), p, torch.tensor(self.labels[part])

    def residuals(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Inputs (m, D + 1) and residuals p - onehot (m, C) of some points.

        The label's residual is minus the sum of the others: p - 1 has lost its digits where p is near 1.
        """
        part = Problem(self.features[rows], self.labels[rows], self.weight, self.bias)
        x, p, y = (torch.cat(pieces) for pieces in zip(*part.chunks(), strict=True))
        others = p * (1 - F.one_hot(y, p.shape[1]))
        return x, others - F.one_hot(y, p.shape[1]) * others.sum(1, keepdim=True)


def by_swaypoint(problem: Problem, ridge: float) -> np.ndarray:
    from swaypoint.data.batches import ArrayBatches
    from swaypoint.scoring.closed_form import Influence
    from swaypoint.scoring.risks.head import HeadWeights
    from swaypoint.scoring.risks.losses import CrossEntropy

    head = HeadWeights(torch.tensor(problem.weight), torch.tensor(problem.bias), CrossEntropy())
    data = ArrayBatches(problem.features, problem.labels)
    return Influence(head, data, damping=ridge, dtype=torch.float64).scores(leave_one_out=False).cook


def by_dense_solve(problem: Problem, rows: np.ndarray, ridges: tuple[float, ...]) -> list[np.ndarray]:
    """g^T (H + ridge)^-1 g from H as it is defined; without a ridge, from its pseudo-inverse."""
    width, classes = problem.weight.shape[1] + 1, len(problem.weight)
    hessian = torch.zeros(classes, width, classes, width, dtype=torch.float64)
    for x, p, _ in problem.chunks():
        for a in range(classes):
            for b in range(a, classes):
                block = (x * (p[:, a] * (float(a == b) - p[:, b])).unsqueeze(1)).T @ x / len(problem.labels)
                hessian[a, :, b] += block
                if a != b:
                    hessian[b, :, a] += block
    x, r = problem.residuals(rows)
    gradients = (r.unsqueeze(2) * x.unsqueeze(1)).flatten(1)
    eigenvalues, vectors = torch.linalg.eigh(hessian.flatten(2).flatten(0, 1))
    rotated = (gradients @ vectors).square()
    answers = []
    for ridge in ridges:
        inverse = 1 / (eigenvalues + ridge)
        if ridge == 0:
            inverse[eigenvalues < 1e-13 * eigenvalues[-1]] = 0
        answers.append((rotated @ inverse).numpy())
    return answers


def by_conjugate_gradients(problem: Problem, rows: np.ndarray, tolerance: float = 1e-5) -> np.ndarray:
    """g^T H^+ g of some points; the values are right to about the square of the residual's ``tolerance``.

    Preconditioned by the pseudo-inverse of (mean of Lambda) x (mean of phi phi^T).

    Raises:
        AssertionError: no convergence in 200 steps.
    """
    chunks = list(problem.chunks())
    n = len(problem.labels)
    moments = sum(x.T @ x for x, _, _ in chunks) / n
    spread = sum(torch.diag(p.sum(0)) - p.T @ p for _, p, _ in chunks) / n
    right, left = (
        torch.linalg.pinv(moments, hermitian=True),
        torch.linalg.pinv(spread, rtol=1e-12, hermitian=True),
    )

    def product(v: Tensor) -> Tensor:
        total = torch.zeros_like(v)
        for x, p, _ in chunks:
            logits = torch.einsum("nd,mcd->nmc", x, v)
            pulled = p.unsqueeze(1) * (logits - torch.einsum("nc,nmc->nm", p, logits).unsqueeze(2))
            total += torch.einsum("nmc,nd->mcd", pulled, x) / n
        return total

    def precondition(v: Tensor) -> Tensor:
        return left @ v @ right

    x, r = problem.residuals(rows)
    return _solve(product, precondition, r.unsqueeze(2) * x.unsqueeze(1), tolerance).numpy()


def _solve(product, precondition, goal: Tensor, tolerance: float) -> Tensor:  # type: ignore[no-untyped-def]
    """goal^T A^-1 goal, each row by its own conjugate gradients, side by side."""

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((1, 2))

    solution, residual = torch.zeros_like(goal), goal.clone()
    direction = step = precondition(residual)
    energy = inner(residual, step)
    for _ in range(200):
        pushed = product(direction)
        length = (energy / inner(direction, pushed)).view(-1, 1, 1)
        solution, residual = solution + length * direction, residual - length * pushed
        if (inner(residual, residual) < tolerance**2 * inner(goal, goal)).all():
            return inner(goal, solution)
        step, before = precondition(residual), energy
        energy = inner(residual, step)
        direction = step + (energy / before).view(-1, 1, 1) * direction
    raise AssertionError("conjugate gradients did not converge in 200 steps")
