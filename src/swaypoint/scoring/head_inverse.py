"""The inverse of a head's Hessian as whole models have one."""

from __future__ import annotations

import torch
from torch import Tensor

from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.solvers.base import Inverse, Solution


class HeadInverse(Inverse):
    """The inverse of a factorised head on its parameters themselves, row-major in (C, D [+ 1]) with the
    bias as last column: the gradients' side of the interface that whole models have.

    Directions that no gradient has (the softmax gauge, dead features) are sent to zero.
    """

    def __init__(self, influence: Influence) -> None:
        self._influence = influence

    def solve(self, vectors: Tensor) -> Solution:
        risk, inverse = self._influence.risk, self._influence.inverse.matrix
        maps, blocks = risk.coordinates(), vectors.T.to(inverse).unflatten(1, risk.matrix.shape)
        reduced = torch.einsum("gcm,kcd,de->gkme", maps["outputs"], blocks, maps["features"])
        steps = (reduced.flatten(2) @ inverse).view_as(reduced)
        full = torch.einsum("gcm,gkme,de->kcd", maps["outputs"], steps, maps["features"])
        outcome = f"closed form: {self._influence.inverse.outcome}"
        return Solution(full.flatten(1).T.to(vectors), outcome, error=0.0)
