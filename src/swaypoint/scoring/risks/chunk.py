"""Some points as a linear head sees them, and what a pass over all of them learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.folder.documents import free_memory
from swaypoint.scoring.risks.losses import Loss, Terms

LARGEST = 1e150
"""Of features: their squares have to be within the range of float64."""
_LEAST_KEPT = 128 << 20
_TERMS = 3
"""Logits' worth of memory that the terms of most losses take."""


class Chunk:
    """Some points: ``features`` (D, b) float64, targets, ``logits`` (b, C), and the loss's terms, which are
    made when they are first asked for.

    A chunk that is remembered between passes keeps ``reduced``, its whitened features, and makes the
    others anew when asked: half the memory, and fresh memory costs as much time as the arithmetic.
    """

    def __init__(
        self,
        features: Tensor,
        targets: Tensor,
        logits: Tensor,
        *,
        loss: Loss,
        offset: int,
        remake: Callable[[], Tensor],
    ) -> None:
        """The first point is row ``offset``; ``remake`` makes the features again.

        Raises:
            InputError: logits are not finite; the row is named. So are those of :attr:`terms`.
        """
        self._features: Tensor | None = features
        self._terms: Terms | None = None
        self._loss, self._offset, self._remake = loss, offset, remake
        self.targets, self.logits = targets, logits
        self.reduced: Tensor | None = None
        self._require_finite("logit", logits)

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def features(self) -> Tensor:
        return self._remake() if self._features is None else self._features

    @property
    def terms(self) -> Terms:
        if self._terms is None:
            self._terms = self._loss.terms(self.logits, self.targets)
            self._require_finite("gradient", self._terms.residual)
        return self._terms

    def _require_finite(self, what: str, rows: Tensor) -> None:
        if bool(torch.isfinite(rows.sum())):
            return
        bad = (~torch.isfinite(rows)).any(1)
        if bool(bad.any()):
            raise InputError(
                f"the {what} of row {self._offset + int(bad.nonzero()[0])} is NaN or infinite;"
                " check the loss and the head's weights"
            )

    def gradients(self) -> Tensor:
        """Of the points' losses by the head's matrix, ``(b, C, D)``."""
        return torch.einsum("bc,db->bcd", self.terms.residual, self.features)

    def squared_gradients(self) -> Tensor:
        """Their squared norms ``(b,)``, without forming them."""
        return self.terms.residual.square().sum(1) * self.features.square().sum(0)

    def release(self) -> int:
        """Forget the features; the bytes of the rest."""
        self._features = None
        terms = self._terms
        made = () if terms is None else (*terms, *vars(terms.curvature).values())
        held = (self.reduced, self.targets, self.logits, *made)
        to_come = _TERMS * self.logits.nbytes if terms is None else 0
        return sum({id(x): x.nbytes for x in held if isinstance(x, Tensor)}.values()) + to_come


def room(device: torch.device) -> int:
    """Bytes for what one pass makes of the points, so that the next need not: of memory an eighth. What was
    held while they were read, and is not any more, is as much."""
    return max(_LEAST_KEPT, int(free_memory() / 8)) if device.type == "cpu" else _LEAST_KEPT


@dataclass(frozen=True)
class Summary:
    """What pass one learned beside the curvature.

    ``loss`` is the mean loss, ``gradient`` its gradient ``(C, D)``; ``saturated`` the share of points with
    p_y > 1 - 1e-6.
    """

    points: int
    loss: float
    gradient: Tensor
    saturated: float | None
    dropped: int


def check_range(columns: Tensor, offset: int) -> None:
    """That features ``(D, b)`` float64, the first of which is row ``offset``, can be used.

    Raises:
        InputError: they are not finite, or too large; the row is named.
    """
    flat = (columns if columns.is_contiguous() else columns.T).flatten()  # as they lie in memory
    if bool(torch.dot(flat, flat) < LARGEST**2):  # of most data, and in half the time of a maximum
        return
    low, high = torch.aminmax(columns)
    if not bool(torch.maximum(-low, high) < LARGEST):  # a comparison that NaN fails as well
        _refuse(columns, offset)


def _refuse(columns: Tensor, offset: int) -> None:
    """Say which row cannot be used, and why."""
    finite = torch.isfinite(columns)
    if not bool(finite.all()):
        row = int((~finite).any(0).nonzero()[0])
        raise InputError(f"features of row {offset + row} are NaN or infinite; drop or impute that row")
    column, row = (int(i) for i in (columns.abs() >= LARGEST).nonzero()[0])
    raise InputError(
        f"feature {column} of row {offset + row} is {float(columns[column, row]):.3g}, whose square is beyond"
        " the range of float64; standardise the columns"
    )
