"""A solver: the largest eigenvalue in place of all, so that influence is that of one step of descent."""

from dataclasses import dataclass

from torch import Tensor

from swaypoint.scoring.risks.model import Kind, ModelRisk
from swaypoint.scoring.solvers.base import Inverse, largest_eigenvalue


@dataclass(frozen=True)
class Step(Inverse):
    """K = rate I."""

    rate: float
    outcome: str = "approximate: a step of gradient descent, error not known"

    def solve(self, vectors: Tensor) -> Tensor:
        return self.rate * vectors


def toy(risk: ModelRisk, kind: Kind) -> Inverse:
    """Of the curvature of ``risk``, (P, P)."""
    curvature = risk.curvature(kind)
    return Step(1.0 / largest_eigenvalue(curvature.matmul, risk.theta.unsqueeze(1)))
