"""From a risk over any parameters to an inverse curvature: which solver, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch

from swaypoint.errors import InputError
from swaypoint.scoring.risks.layers import dense_ggn, kronecker
from swaypoint.scoring.risks.model import Kind, ModelRisk
from swaypoint.scoring.solvers.base import Inverse
from swaypoint.scoring.solvers.conjugate_gradient import IterativeInverse
from swaypoint.scoring.solvers.dense import dense_inverse
from swaypoint.scoring.solvers.kronecker import KroneckerInverse
from swaypoint.scoring.solvers.lissa import LissaInverse
from swaypoint.scoring.solvers.low_rank import lanczos, nystroem, nystroem_preconditioner
from swaypoint.scoring.solvers.sketch import SketchInverse

Solver = Literal["auto", "exact", "cg", "sketch", "ekfac", "kfac", "lanczos", "nystroem", "lissa"]
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


def invert(risk: ModelRisk, kind: Kind = "ggn", solver: Solver = "auto") -> Inverse:
    """The inverse of the curvature of ``risk``; its ``outcome`` says what was done and why.

    Args:
        solver: ``"exact"`` forms the matrix and factorises it. ``"cg"`` solves matrix-free by conjugate
            gradients, preconditioned by a Nystroem approximation, to a relative residual of 1e-6.
            ``"sketch"`` makes self-influences of all points from 256 such solves to 1e-3, with a standard
            error.
            ``"ekfac"`` and ``"kfac"`` (of the Gauss-Newton matrix), ``"lanczos"``, ``"nystroem"`` and
            ``"lissa"`` are approximations of unknown error. ``"auto"``: exact up to ``DENSE_LIMIT``
            parameters, else EK-FAC.

    Raises:
        InputError: ``solver`` is unknown or does not go with ``kind``; the curvature is indefinite.
    """
    if solver not in _SOLVERS:
        raise InputError(f"solver is {solver!r}; expected one of {', '.join(map(repr, get_args(Solver)))}")
    return _SOLVERS[solver](risk, kind)


def _auto(risk: ModelRisk, kind: Kind) -> Inverse:
    size = f"{risk.dimension:,} parameters"
    if risk.dimension <= DENSE_LIMIT:
        inverse = _exact(risk, kind)
        inverse.outcome += f" (auto: {size} fit in memory)"
    elif kind == "ggn" and risk.loss.convex:
        inverse = _ekfac(risk, kind)
        inverse.outcome += (
            f" (auto: {size} are too many for an exact inverse; 'cg' and 'sketch' know their error and are"
            " slower)"
        )
    else:
        inverse = _cg(risk, kind)
        inverse.outcome += f" (auto: {size} are too many for an exact inverse)"
    return inverse


def _exact(risk: ModelRisk, kind: Kind) -> Inverse:
    matrix = dense_ggn(risk) if kind == "ggn" else risk.curvature(kind).dense().double()
    return dense_inverse(matrix, _NOISE[risk.theta.dtype], floor=float(risk.ridge.min()))


def _cg(risk: ModelRisk, kind: Kind, *, rank: int = _RANK, tolerance: float = 1e-6) -> IterativeInverse:
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
    return LissaInverse(curvature, curvature.random_batches())


def _needs_ggn(solver: str, kind: Kind) -> None:
    if kind != "ggn":
        raise InputError(f"solver={solver!r} approximates the Gauss-Newton matrix; use curvature='ggn'")


_SOLVERS: dict[str, Callable[[ModelRisk, Kind], Inverse]] = {
    "auto": _auto,
    "exact": _exact,
    "cg": _cg,
    "sketch": _sketch,
    "ekfac": _ekfac,
    "kfac": _kfac,
    "lanczos": _lanczos,
    "nystroem": _nystroem,
    "lissa": _lissa,
}
