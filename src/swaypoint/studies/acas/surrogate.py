"""The perceptron that learns an advisory table, and what it is shown of a state."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

SPEED, RANGE, DELAY = 1200.0, 60760.0, 100.0
"""ft/s, ft and s: what states are scaled by."""
_STEP = 2048
"""States that a layer works on at a time: of 50 units 0.4 MB, which the cache holds."""
_NEAR = 500.0
"""ft: a near miss; distances are shown on a logarithmic scale from here."""


class Encounter(nn.Module):
    """A state ``(b, 6)`` float32 (tau [s], v_own, v_int [ft/s], psi, theta [rad], rho [ft]) as ``(b, 23)``
    numbers of order one: the state itself, its angles as directions, the relative position and velocity,
    and the closest point of approach if both fly straight on (Julian & Kochenderfer, 2019)."""

    width = 23

    def forward(self, states: Tensor) -> Tensor:
        tau, own, intruder, psi, theta, rho = states.unbind(1)
        own, intruder, rho, tau = own / SPEED, intruder / SPEED, rho / RANGE, tau / DELAY
        across, ahead = torch.sin(theta), torch.cos(theta)
        turn, along = torch.sin(psi), torch.cos(psi)
        # Relative velocity in units of SPEED; the own ship flies along x.
        vx, vy = intruder * along - own, intruder * turn
        speed = (vx.square() + vy.square()).sqrt().clamp_min(1e-3)
        closing = -rho * (ahead * vx + across * vy) / speed  # distance still to fly to the closest point
        miss = rho * (ahead * vy - across * vx) / speed  # signed by the side on which it passes
        wait = (closing / speed).clamp(-8.0, 8.0)  # in units of RANGE / SPEED = 50.6 s
        near = RANGE / _NEAR
        columns = (
            rho, torch.log1p(near * rho) / 5, theta / math.pi, psi / math.pi, own, intruder,
            tau, torch.log1p(DELAY * tau) / 4, across, ahead, turn, along,
            vx, vy, speed, rho * ahead, rho * across,
            closing, miss, _signed_log(near * closing), _signed_log(near * miss), wait,
            wait - tau * (DELAY * SPEED / RANGE),
        )  # fmt: skip
        return torch.stack(columns, 1)


def _signed_log(x: Tensor) -> Tensor:
    return x.sign() * torch.log1p(x.abs()) / 5


class Surrogate(nn.Module):
    """Six hidden ReLU layers and a linear head, as in Picard et al. (2022), on :class:`Encounter`.

    Args:
        width: of the hidden layers. 50 is that of the published ACAS Xu networks; 390 makes 0.8 million
            parameters, the paper's 3 MB.
        outputs: number of advisories.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        sizes = [Encounter.width, *[width] * 6]
        self.encounter = Encounter()
        self.hidden = nn.Sequential(
            *(layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU()))
        )
        self.head = nn.Linear(width, outputs)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def features(self, states: Tensor) -> Tensor:
        """What the head sees: ``(b, 6) -> (b, width)``."""
        return self.hidden(self.encounter(states))

    @torch.no_grad()
    def columns(self, states: Tensor) -> Tensor:
        """:meth:`features` of many states, one state a column, in half the time: ``(b, 6) -> (width, b)``,
        without a gradient."""
        shown = self.encounter(states).T
        found = shown.new_empty(self.head.in_features, len(states))
        layers = [layer for layer in self.hidden if isinstance(layer, nn.Linear)]
        for start in range(0, len(states), _STEP):
            part = shown[:, start : start + _STEP]
            for layer in layers:
                part = torch.addmm(layer.bias.unsqueeze(1), layer.weight, part).relu_()
            found[:, start : start + _STEP] = part
        return found

    def forward(self, states: Tensor) -> Tensor:
        return self.head(self.features(states))
