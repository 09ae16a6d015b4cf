"""From a risk over any parameters to an inverse curvature: which solver, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.extending.registry import Registry
from swaypoint.scoring.risks.gauss_newton import dense_ggn
from swaypoint.scoring.risks.kronecker import kronecker
from swaypoint.scoring.risks.model import Kind, ModelRisk
from swaypoint.scoring.solvers.base import Inverse, Solution
from swaypoint.scoring.solvers.conjugate_gradient import IterativeInverse
from swaypoint.scoring.solvers.dense import dense_inverse
from swaypoint.scoring.solvers.kronecker import KroneckerInverse
from swaypoint.scoring.solvers.lissa import LissaInverse
from swaypoint.scoring.solvers.low_rank import lanczos, nystroem, nystroem_preconditioner
from swaypoint.scoring.solvers.sketch import SketchInverse

DENSE_LIMIT = 15_000
"""Parameters up to which ``solver="auto"`` forms the matrix: 1.8 GB, and at work up to three times that."""
_DRAWS = 256
_SKETCH_TOLERANCE = 1e-3
"""Of a sketch's solves: its own noise is a hundred times that."""
_RANK, _SKETCH_RANK = 200, 500
"""Of the preconditioner: so many products, paid back by the steps that each column is spared."""
_PRECONDITIONER_BYTES = 128 << 20
_NOISE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-2, torch.bfloat16: 1e-1}
"""Relative accuracy of a curvature's entries, by the model's dtype."""


@dataclass(frozen=True)
class Solver:
    """A way to invert a curvature.

    Attributes:
        summary: what it does, in a line.
        invert: from the risk and the kind of its curvature to the inverse.
    """

    summary: str
    invert: Callable[[ModelRisk, Kind], Inverse]


solvers: Registry[Solver] = Registry("solver", "swaypoint.solvers", Solver, home=__name__)
"""What ``solver`` may name where ``params`` are given; each is entered here, and named nowhere else."""


def invert(risk: ModelRisk, kind: Kind = "ggn", solver: str = "auto") -> Inverse:
    """The inverse of the curvature of ``risk``; what it solves says how, and why so.

    Args:
        solver: a name in :data:`solvers`.

    Raises:
        InputError: ``solver`` is unknown or does not go with ``kind``; the curvature is indefinite.
    """
    return solvers.named(solver).invert(risk, kind)


@dataclass(frozen=True)
class Chosen(Inverse):
    """An inverse, and why it was taken, which its solutions then say."""

    inverse: Inverse
    why: str

    def solve(self, vectors: Tensor) -> Solution:
        return self._told(self.inverse.solve(vectors))

    def quadratic(self, rows: Tensor) -> Solution:
        return self._told(self.inverse.quadratic(rows))

    def _told(self, solution: Solution) -> Solution:
        return replace(solution, outcome=f"{solution.outcome} (auto: {self.why})")


def _auto(risk: ModelRisk, kind: Kind) -> Inverse:
    size = f"{risk.dimension:,} parameters"
    if risk.dimension <= DENSE_LIMIT:
        return Chosen(_exact(risk, kind), f"{size} fit in memory")
    many = f"{size} are too many for an exact inverse"
    if kind == "ggn" and risk.loss.convex:
        return Chosen(_ekfac(risk, kind), f"{many}; 'cg' and 'sketch' know their error and are slower")
    return Chosen(_cg(risk, kind), many)


def _exact(risk: ModelRisk, kind: Kind) -> Inverse:
    matrix = dense_ggn(risk) if kind == "ggn" else risk.curvature(kind).dense().double()
    return dense_inverse(matrix, _NOISE[risk.theta.dtype], floor=float(risk.ridge.min()))


def _cg(risk: ModelRisk, kind: Kind, *, rank: int = _RANK, tolerance: float = 1e-6) -> Inverse:
    return IterativeInverse(
        risk.curvature(kind), tolerance=tolerance, precondition=_preconditioner(risk, rank)
    )


def _preconditioner(risk: ModelRisk, rank: int) -> Inverse | None:
    # EK-FAC makes it worse: a perceptron of condition number 2e5 takes 380 steps without a
    # preconditioner, 1,150 with EK-FAC, 23 with this at rank 200, and 4 at rank 500.
    if not risk.loss.convex:
        return None
    fitting = _PRECONDITIONER_BYTES // (risk.dimension * risk.theta.element_size())
    ridge = float(risk.ridge.min())
    return nystroem_preconditioner(risk.curvature("ggn"), ridge=ridge, rank=max(10, min(rank, fitting)))


def _sketch(risk: ModelRisk, kind: Kind) -> Inverse:
    _needs_ggn("sketch", kind)
    if not risk.loss.convex:
        raise InputError("a custom loss has no sketch; use solver='exact' or 'cg', or a named loss")
    inverse = _cg(risk, kind, rank=_SKETCH_RANK, tolerance=_SKETCH_TOLERANCE)
    return SketchInverse(inverse, risk.root_draws(_DRAWS))


def _ekfac(risk: ModelRisk, kind: Kind) -> Inverse:
    _needs_ggn("ekfac", kind)
    return KroneckerInverse(kronecker(risk), "approximate: EK-FAC, error not known")


def _kfac(risk: ModelRisk, kind: Kind) -> Inverse:
    _needs_ggn("kfac", kind)
    return KroneckerInverse(kronecker(risk, corrected=False), "approximate: K-FAC, error not known")


def _lanczos(risk: ModelRisk, kind: Kind) -> Inverse:
    return lanczos(risk.curvature(kind))


def _nystroem(risk: ModelRisk, kind: Kind) -> Inverse:
    return nystroem(risk.curvature(kind), ridge=float(risk.ridge.min()))


def _lissa(risk: ModelRisk, kind: Kind) -> Inverse:
    curvature = risk.curvature(kind)
    return LissaInverse(curvature, curvature.random_batches)


def _needs_ggn(solver: str, kind: Kind) -> None:
    if kind != "ggn":
        raise InputError(f"solver={solver!r} approximates the Gauss-Newton matrix; use curvature='ggn'")


for _name, _summary, _invert in (
    ("auto", f"exact up to {DENSE_LIMIT:,} parameters; beyond, ekfac (of the ggn) or cg", _auto),
    ("exact", "forms the matrix and factorises it", _exact),
    ("cg", "conjugate gradients, preconditioned by a Nystroem approximation, to a residual of 1e-6", _cg),
    ("sketch", f"self-influences of all points from {_DRAWS} solves to 1e-3, with a standard error", _sketch),
    ("ekfac", "Kronecker factors per layer, eigenvalues corrected; error not known", _ekfac),
    ("kfac", "Kronecker factors per layer; error not known", _kfac),
    ("lanczos", "the largest eigenvalues of a Krylov space; error not known", _lanczos),
    ("nystroem", "randomised low rank, the rest taken as the ridge; error not known", _nystroem),
    ("lissa", "Neumann series over random batches; its residual is told", _lissa),
):
    solvers.register(_name, Solver(_summary, _invert))
