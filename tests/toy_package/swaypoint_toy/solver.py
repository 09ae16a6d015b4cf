"""A solver: the largest eigenvalue in place of all, so that influence is that of one step of descent."""

from dataclasses import dataclass

from torch import Tensor

from swaypoint.scoring.risks.model import Kind, ModelRisk
from swaypoint.scoring.solver_choice import Solver
from swaypoint.scoring.solvers.base import Inverse, Solution, largest_eigenvalue


@dataclass(frozen=True)
class Step(Inverse):
    """K = rate I."""

    rate: float

    def solve(self, vectors: Tensor) -> Solution:
        return Solution(self.rate * vectors, "approximate: a step of gradient descent, error not known")


def step(risk: ModelRisk, kind: Kind) -> Step:
    """Of the curvature of ``risk``, (P, P)."""
    curvature = risk.curvature(kind)
    return Step(1.0 / largest_eigenvalue(curvature.matmul, risk.theta.unsqueeze(1)))


toy = Solver("a step of gradient descent", step)
