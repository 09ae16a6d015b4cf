"""All quadratic forms g^T H^-1 g from a few solves (Johnson & Lindenstrauss; Drineas et al., 2012)."""

from __future__ import annotations

from torch import Tensor

from swaypoint.scoring.solvers.base import Inverse, Solution


class SketchInverse(Inverse):
    """With H = B^T B and a random sign matrix W, g^T H^-1 g = ||B H^-1 g||^2 is the mean over draws w of
    (g . x)^2 with x = H^-1 B^T w. Relative standard error sqrt(2 / draws), for every point alike.

    Args:
        inverse: solves with H.
        draws: B^T W, ``(P, k)``.
    """

    def __init__(self, inverse: Inverse, draws: Tensor) -> None:
        self._inverse, self._solved = inverse, inverse.solve(draws)

    def solve(self, vectors: Tensor) -> Solution:
        return self._inverse.solve(vectors)

    def quadratic(self, rows: Tensor) -> Solution:
        solved = self._solved.value
        draws = solved.shape[1]
        error = (2.0 / draws) ** 0.5
        return Solution(
            (rows.to(solved) @ solved).double().square().mean(1),
            f"approximate: sketch of {draws} draws, relative standard error {error:.1%};"
            f" {self._solved.outcome}",
            error,
        )
