"""What a solve says of each point, and of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scoring.risks.chunk import Chunk

Removal = Literal["infinitesimal", "finite"]


@dataclass(frozen=True)
class Scores:
    """Per-point results in dataset order, float64 arrays of length n.

    ``cook`` is g^T H^-1 g for ``removal="infinitesimal"``. For ``"finite"`` it is n times
    dtheta^T (nH) dtheta of one Newton step without the point, the same quantity to first order (for
    linear regression n e^2 h / (1 - h)^2, exactly). ``margin`` is the leave-one-out probability of
    the given label minus the largest other; ``suggested_label`` the leave-one-out prediction (class
    index, or the predicted value of a single-output regression). ``first_order``: of the finite form, what
    the infinitesimal one would be; else None. ``probabilities``, where asked for and of a loss that has one
    class a point: the leave-one-out softmax ``(n, classes)`` float32.
    """

    cook: np.ndarray
    loss: np.ndarray
    loo_loss: np.ndarray
    leverage: np.ndarray
    margin: np.ndarray
    suggested_label: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray | None = None
    standard_error: np.ndarray | None = None
    first_order: np.ndarray | None = None


@dataclass(frozen=True)
class Expected:
    """The relative error to expect of Cook's distances.

    Attributes:
        value: NaN where it is not known.
        kind: what it is and how it is known, in a few words.
        held_to: the value up to which the check "Curvature" of :mod:`swaypoint.scoring.fitness` passes.
    """

    value: float
    kind: str
    held_to: float


@dataclass(frozen=True)
class Facts:
    """What a solver knows of how far to trust its scores; see :mod:`swaypoint.scoring.fitness`.

    ``decrement`` is the Newton decrement 1/2 grad^T H^-1 grad (Boyd & Vandenberghe, 2004, 9.5.1): how
    far below the mean loss and its ridge could still go. ``condition`` None: not known.
    """

    solver: str
    outcome: str
    precision: str
    error: Expected
    decrement: float
    saturated: float | None
    dropped: int
    condition: float | None = None
    cut: int = 0
    negative: float = 0.0

    @property
    def estimated_error(self) -> float:
        return self.error.value


def check_removal(removal: str, known: Sequence[str] = get_args(Removal)) -> None:
    """Refuse a form of removal that there is not.

    Raises:
        InputError: it is not ``known``.
    """
    if removal not in known:
        raise InputError(f"removal is {removal!r}; expected {' or '.join(map(repr, known))}")


def collected(
    parts: Iterable[Mapping[str, Tensor]], on_chunk: Callable[[int], None] | None = None
) -> dict[str, np.ndarray]:
    """The columns of all points from those of each chunk; ``on_chunk`` is called with the number of points
    done after each."""
    columns: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for name, values in part.items():
            columns.setdefault(name, []).append(values.cpu().numpy())
        if on_chunk is not None:
            on_chunk(len(part["loss"]))
    return {name: np.concatenate(arrays) for name, arrays in columns.items()}


def kept(left_out: Tensor | None, fitted: Tensor | None) -> dict[str, Tensor]:
    """The column of leave-one-out probabilities (b, C); where a point has leverage one, and the fit without
    it is undetermined, those of the ``fitted`` model."""
    if left_out is None or fitted is None:
        return {}
    known = left_out.isfinite().all(1, keepdim=True)
    return {"probabilities": torch.where(known, left_out, fitted).float()}


def prediction(
    chunk: Chunk, logits: Tensor, probabilities: Tensor | None, labels: Tensor | None
) -> dict[str, Tensor]:
    """Given label, suggested label and margin, from leave-one-out logits (of a regression: means)."""
    if probabilities is None or labels is None:
        missing = torch.full_like(chunk.terms.value, torch.nan)
        single = logits.shape[1] == 1
        given = chunk.targets[:, 0].double() if single and chunk.targets.ndim == 2 else missing
        return {"margin": missing, "suggested_label": logits[:, 0] if single else missing, "label": given}
    own = probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
    others = probabilities.scatter(1, labels.unsqueeze(1), -torch.inf).amax(1)
    suggested = probabilities.max(1).indices  # argmax takes five times as long
    return {"margin": own - others, "suggested_label": suggested, "label": labels}
