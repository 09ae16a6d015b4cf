"""What each point does while a model learns, recorded from the training's own passes, at no further cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from swaypoint.scoring.trained_model import last_third

_MOST_BYTES = 1 << 30
_GATHERED = 2048
"""Points whose records are worked out at once: of one batch of 64 that takes as long as its backward pass."""


class Trajectory:
    """Margin, loss and gradient of every training point at every visit, as the training saw it: augmented,
    and with the weights of that step.

    Areas under the margin (Pleiss et al., 2020) and forgetting events (Toneva et al., 2019) are defined on
    such records, and so is the idealised form of TracIn (Pruthi et al., 2020, section 3.1), which sums
    rate ||g||^2 over the visits themselves, here of the head's parameters.

    Args:
        head: name of the last linear layer.
        points: of the split, in or out of the training.
        epochs: of the training.
        outputs: of the head, to record probabilities too, unless their sums take more than a GiB; 0: none.

    Steps are gathered and worked out some at a time; what is recorded is whole after :meth:`stop`.

    Attributes:
        margins: logit of the label minus the largest other, ``(points, epochs)`` float32; NaN: not visited.
        losses: cross-entropies, likewise.
        tracin: sum of rate ||g||^2, ``(points,)`` float32.
    """

    def __init__(self, head: str, points: int, epochs: int, outputs: int = 0) -> None:
        self._head, self._rate = head, 0.0
        self._last = last_third(epochs)
        recorded = outputs if 8 * points * outputs <= _MOST_BYTES else 0
        self._sums = torch.zeros(2, points, recorded)
        self.margins = torch.full((points, epochs), torch.nan)
        self.losses = torch.full((points, epochs), torch.nan)
        self.tracin = torch.zeros(points)
        self._seen: tuple[Tensor, Tensor] | None = None
        self._gathered: list[tuple[Tensor, ...]] = []
        self._epoch = self._points = 0

    def start(self, model: nn.Module) -> None:
        def keep(_: nn.Module, arguments: tuple[Tensor, ...], logits: Tensor) -> None:
            self._seen = arguments[0].detach().float(), logits.detach().float()

        self._hook = model.get_submodule(self._head).register_forward_hook(keep)

    def stop(self) -> None:
        self._hook.remove()
        self._record()

    def before_step(self, rate: float) -> None:
        self._rate = rate

    def after_step(self, targets: Tensor, rows: Tensor, epoch: int) -> None:
        assert self._seen is not None
        if epoch != self._epoch:
            self._record()
        features, logits = self._seen
        rates = torch.full(targets.shape, self._rate)
        self._gathered.append((features, logits, targets, rows.cpu(), rates))
        self._epoch, self._points = epoch, self._points + len(rows)
        if self._points >= _GATHERED:
            self._record()

    def _record(self) -> None:
        """Work out what has been gathered, all of one epoch."""
        if not self._gathered:
            return
        features, logits, targets, rows, rates = map(torch.cat, zip(*self._gathered, strict=True))
        self._gathered, self._points = [], 0
        epoch = self._epoch
        own = logits.gather(1, targets[:, None])
        others = logits.scatter(1, targets[:, None], -torch.inf)
        probabilities = logits.softmax(1)
        residuals = probabilities.scatter_add(1, targets[:, None], -torch.ones_like(own))
        squares = residuals.square().sum(1) * (features.square().sum(1) + 1.0)
        self.margins[rows, epoch] = (own.squeeze(1) - others.amax(1)).cpu()
        self.losses[rows, epoch] = (torch.logaddexp(own.squeeze(1), others.logsumexp(1)) - own[:, 0]).cpu()
        self.tracin.index_add_(0, rows, rates * squares.cpu())
        if self._sums.shape[2]:
            self._sums[int(epoch >= self._last)].index_add_(0, rows, probabilities.cpu())

    def course(self) -> dict[str, Tensor]:
        """What a :class:`~swaypoint.scoring.trained_model.Course` holds, of all points of the split;
        probabilities are NaN where they were not visited."""
        found = {"margins": self.margins, "losses": self.losses}
        if not self._sums.shape[2]:
            return found
        visited = ~self.losses.isnan()
        last = self._sums[1] / visited[:, self._last :].sum(1, keepdim=True)
        whole = self._sums.sum(0) / visited.sum(1, keepdim=True)
        return found | {"probabilities": last.half(), "whole": whole.half()}

    def state_dict(self) -> dict[str, Any]:
        self._record()
        recorded = {"margins": self.margins, "losses": self.losses, "tracin": self.tracin}
        return recorded | {"sums": self._sums}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.margins, self.losses = state_dict["margins"], state_dict["losses"]
        self.tracin, self._sums = state_dict["tracin"], state_dict["sums"]
