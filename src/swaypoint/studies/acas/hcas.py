"""HorizontalCAS: the collision avoidance table of an open Markov decision process, solved backwards in tau.

State: range, bearing and heading of the intruder, two speeds, the previous advisory. During a second the
own ship turns as the previous advisory says, so one sparse matrix a previous advisory carries values one
second back.

Source: Julian and Kochenderfer, *Guaranteeing Safety for Neural Network-Based Aircraft Collision
Avoidance Systems* (2019), whose published networks agree with the solution at 97.6 % of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from swaypoint.data.parallel import ordered_map
from swaypoint.errors import InputError, require
from swaypoint.studies.acas.published import HCAS_ACTIONS, HCAS_TAUS
from swaypoint.studies.acas.table_writing import Plan, TableWriter, finished
from swaypoint.studies.acas.tables import EXTRA, Axis, Table

Values = NDArray[np.float64]

SPEEDS = (100, 200, 300, 400)  # ft/s
LAST_TAU = 60  # s
_RHO = (
    *(0, 25, 50, 75, 100, 150, 200, 300, 400, 500, 510, 750, 1000, 1500, 2000, 3000, 4000, 5000, 7000, 9000),
    *(11000, 13000, 15000, 17000, 19000, 21000, 25000, 30000, 35000, 40000, 48000, 56000),
)  # fmt: skip

# Turn rates [deg/s] and their probabilities, by previous advisory; the intruder turns as in COC.
_TURNS = (
    ((0.0, 0.34), (1.5, 0.33), (-1.5, 0.33)),
    ((1.5, 0.5), (2.0, 0.25), (1.25, 0.25)),
    ((-1.5, 0.5), (-2.0, 0.25), (-1.25, 0.25)),
    ((3.0, 0.5), (4.0, 0.25), (2.0, 0.25)),
    ((-3.0, 0.5), (-4.0, 0.25), (-2.0, 0.25)),
)
_COC = 0
_STRONG = (3, 4)
_WARM_START = 99  # backups at tau = 0 before the first that counts
# Values closer than this are equal and the first advisory wins: mirror images tie up to rounding.
_TIE = 1e-12


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the values of one pair of speeds are held; between, they are interpolated.

    Attributes:
        rho: (r,) range [ft].
        theta: (t,) bearing [rad], from -pi to pi.
        psi: (p,) intruder's heading [rad], from -pi to pi.
    """

    rho: Values
    theta: Values
    psi: Values

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.psi), len(self.theta), len(self.rho)

    def mesh(self) -> tuple[Values, Values, Values]:
        """psi, theta, rho of every state, each (states,) in C order."""
        psi, theta, rho = np.meshgrid(self.psi, self.theta, self.rho, indexing="ij")
        return psi.ravel(), theta.ravel(), rho.ravel()


def default_grid() -> Grid:
    """The grid of the paper: 41 x 41 x 32 states."""
    angles = np.linspace(-math.pi, math.pi, 41)
    return Grid(np.array(_RHO, np.float64), angles, angles)


@dataclass(frozen=True, eq=False)
class Solution:
    """The solved table of one pair of speeds.

    Attributes:
        taus: the times kept [s].
        q: values (previous, tau, psi, theta, rho, action) float32; a cost is minus a value.
        advisory: (previous, tau, psi, theta, rho) uint8, of the highest value.
    """

    taus: tuple[int, ...]
    q: NDArray[np.float32]
    advisory: NDArray[np.uint8]


def solve(
    v_own: float,
    v_int: float,
    *,
    taus: Sequence[int] = HCAS_TAUS,
    grid: Grid | None = None,
    warm_start: int = _WARM_START,
) -> Solution:
    """Solve the process for one pair of speeds [ft/s] by backward induction.

    Args:
        taus: which of 0..60 s to keep.
        grid: default: the paper's.
        warm_start: backups with the reward of tau = 0 before tau = 0 itself.

    Raises:
        InputError: a tau outside 0..60, or a negative speed.
        MissingExtra: scipy is not installed.
    """
    if not taus or not all(0 <= tau <= LAST_TAU and tau == int(tau) for tau in taus):
        raise InputError(f"taus are {list(taus)}; expected whole seconds from 0 to {LAST_TAU}")
    if not (0 <= v_own < math.inf and 0 <= v_int < math.inf):
        raise InputError(f"speeds are {v_own} and {v_int} ft/s; expected numbers from 0")
    grid = default_grid() if grid is None else grid
    step = transition(grid, v_own, v_int)
    rewards = rewards_of(grid, v_own, v_int)
    ends = rewards + collision(grid)[:, None]
    values = np.zeros(rewards.shape[1:])
    kept = {}
    for tau in range(-warm_start, max(taus) + 1):
        q = (step @ values).reshape(rewards.shape)
        q += ends if tau <= 0 else rewards
        # Six times as fast as q.max(2), which reduces five numbers at a time.
        values = np.maximum.reduce([q[:, :, action] for action in range(q.shape[2])]).T.copy()
        if tau in taus:
            kept[tau] = q
    q = np.stack([kept[tau] for tau in taus], 1)
    advisory = (q >= q.max(-1, keepdims=True) - _TIE).argmax(-1).astype(np.uint8)
    shape = (len(q), len(taus), *grid.shape)
    return Solution(tuple(taus), q.astype(np.float32).reshape(*shape, -1), advisory.reshape(shape))


def collision(grid: Grid) -> Values:
    """Reward (states,) at tau = 0, once the intruder is at the own ship's height."""
    rho = grid.mesh()[2]
    return np.where(rho <= 500, -1.0, -np.exp(-(rho - 500) / 500))


def rewards_of(grid: Grid, v_own: float, v_int: float) -> Values:
    """Rewards (previous, states, action) of giving an advisory, at any tau."""
    count = len(HCAS_ACTIONS)
    danger = _danger(grid, v_own, v_int)
    rewards = np.empty((count, len(danger), count))
    for previous in range(count):
        factor = 1.0 if previous == _COC else 0.1
        rewards[previous, :, _COC] = -1e-2 * danger / factor
        for action in range(1, count):
            rewards[previous, :, action] = _alert(previous, action, factor)
    return rewards


def _alert(previous: int, action: int, factor: float) -> float:
    """Reward of advising a turn, and of changing the sense or strength of the previous one."""
    reward = -5e-4 * factor
    if action in _STRONG:
        reward -= 2e-3 * factor
    if previous != _COC and action % 2 != previous % 2:
        return reward - 5e-2  # reversal
    if action > previous:
        return reward - 1e-3  # strengthening
    return reward - 2e-4 if action < previous else reward  # weakening


def _danger(grid: Grid, v_own: float, v_int: float) -> Values:
    """exp(-d/500) exp(-t/10) at the closest point of approach of straight flight: d [ft], t [s]."""
    psi, theta, rho = grid.mesh()
    x, y = rho * np.cos(theta), rho * np.sin(theta)
    vx, vy = v_int * np.cos(psi) - v_own, v_int * np.sin(psi)
    speed = vx**2 + vy**2
    moving = speed > 0
    time = np.where(moving, -(x * vx + y * vy) / np.where(moving, speed, 1.0), 0.0)
    time = np.maximum(time, 0.0)
    distance = np.where(time > 0, np.hypot(x + vx * time, y + vy * time), rho)
    return np.exp(-distance / 500) * np.exp(-time / 10)


def transition(grid: Grid, v_own: float, v_int: float) -> Any:
    """Probabilities of the next state, as a sparse array (previous x states, states) of scipy.

    The rows of a previous advisory stand together.
    """
    sparse = require("scipy.sparse", EXTRA)
    turns = sorted({turn for turns in _TURNS for turn, _ in turns})
    same = sparse.eye_array(len(grid.theta) * len(grid.rho))
    moved = {
        turn: move @ sparse.kron(sparse.csr_array(_heading_mix(grid, math.radians(turn))), same, "csr")
        for turn, move in zip(turns, _movement(grid, v_own, v_int, np.radians(turns)), strict=True)
    }
    return sparse.vstack([sum(share * moved[turn] for turn, share in turns) for turns in _TURNS], "csr")


def _heading_mix(grid: Grid, turn: float) -> Values:
    """Matrix (psi, psi) of the intruder's next heading when the own ship turns by ``turn`` [rad]."""
    mix = np.zeros((len(grid.psi), len(grid.psi)))
    rows = np.arange(len(grid.psi))
    for degrees, share in _TURNS[_COC]:
        place, weight = interpolation(grid.psi, _wrapped(grid.psi + math.radians(degrees) - turn))
        np.add.at(mix, (rows, place), share * (1 - weight))
        np.add.at(mix, (rows, place + 1), share * weight)
    return mix


def _movement(grid: Grid, v_own: float, v_int: float, turns: Values) -> list[Any]:
    """For every turn [rad] of the own ship, a sparse (states, states): next bearing and range."""
    sparse = require("scipy.sparse", EXTRA)
    psi, theta, rho = grid.mesh()
    x = rho * np.cos(theta) + v_int * np.cos(psi) - v_own
    y = rho * np.sin(theta) + v_int * np.sin(psi)
    at_rho, rho_weight = interpolation(grid.rho, np.hypot(x, y))
    bearing = np.arctan2(y, x)
    states = len(psi)
    heading = np.arange(states) // (len(grid.theta) * len(grid.rho))
    ends = np.arange(0, 4 * states + 1, 4)
    matrices = []
    for turn in turns:
        at_theta, theta_weight = interpolation(grid.theta, _wrapped(bearing - turn))
        corner = (heading * len(grid.theta) + at_theta) * len(grid.rho) + at_rho
        columns = np.stack([corner, corner + 1, corner + len(grid.rho), corner + len(grid.rho) + 1], 1)
        weights = np.stack(
            [
                (1 - theta_weight) * (1 - rho_weight),
                (1 - theta_weight) * rho_weight,
                theta_weight * (1 - rho_weight),
                theta_weight * rho_weight,
            ],
            1,
        )
        parts = (weights.ravel(), columns.ravel().astype(np.int32), ends.astype(np.int32))
        matrices.append(sparse.csr_array(parts, shape=(states, states)))
    return matrices


def interpolation(axis: Values, at: Values) -> tuple[NDArray[np.int64], Values]:
    """Place (n,) of the left neighbour on an axis and weight (n,) of the right one, clamped to the axis."""
    at = np.clip(at, axis[0], axis[-1])
    place = np.clip(np.searchsorted(axis, at, side="right") - 1, 0, len(axis) - 2)
    return place, (at - axis[place]) / (axis[place + 1] - axis[place])


def _wrapped(angle: Values) -> Values:
    """The same angle from -pi to pi."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def solve_all(
    out: str | Path,
    *,
    speeds: Sequence[float] = SPEEDS,
    taus: Sequence[int] = HCAS_TAUS,
    costs: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Solve every pair of speeds [ft/s] and write the table to an HDF5 file, and open it.

    Axes: previous, tau, v_own, v_int, psi, theta, rho. A second call returns the finished table; an
    interrupted one goes on with the next pair of speeds.

    Args:
        costs: write the costs too, minus the values.
        on_progress: told how many pairs of how many are solved.

    Raises:
        InputError: as :func:`solve`; or ``out`` holds another table, or the disk is full.
        MissingExtra: h5py or scipy is not installed.
    """
    out, plan = Path(out), hcas_plan(speeds, taus, costs=costs)
    if (table := finished(out, plan)) is not None:
        return table
    blocks = np.arange(plan.block_count).reshape(*plan.heads[:2], -1)  # one column a pair of speeds
    with TableWriter(out, plan) as writer:
        missing = set(writer.missing)
        pairs = [pair for pair in range(blocks.shape[2]) if not missing.isdisjoint(blocks[:, :, pair].flat)]

        def solved(pair: int) -> Solution:
            own, intruder = divmod(pair, len(speeds))
            return solve(speeds[own], speeds[intruder], taus=taus)

        solutions = ordered_map(solved, pairs, torch.device("cpu"))
        for done, (pair, solution) in enumerate(zip(pairs, solutions, strict=True), 1):
            advisory = solution.advisory.reshape(-1, *plan.block_shape)
            cost = -solution.q.reshape(-1, *plan.block_shape, len(HCAS_ACTIONS))
            for place, block in enumerate(blocks[:, :, pair].flat):
                writer.put(int(block), advisory[place], cost[place])
            if on_progress:
                on_progress(blocks.shape[2] - len(pairs) + done, blocks.shape[2])
        return writer.finish()


def hcas_plan(speeds: Sequence[float], taus: Sequence[int], *, costs: bool = False) -> Plan:
    """What :func:`solve_all` writes."""
    grid = default_grid()
    axes = (
        Axis("previous", "", np.arange(len(HCAS_ACTIONS), dtype=np.float64)),
        Axis("tau", "s", np.array(taus, np.float64)),
        Axis("v_own", "ft/s", np.array(speeds, np.float64)),
        Axis("v_int", "ft/s", np.array(speeds, np.float64)),
        Axis("psi", "rad", grid.psi),
        Axis("theta", "rad", grid.theta),
        Axis("rho", "ft", grid.rho),
    )
    return Plan("HorizontalCAS", axes, HCAS_ACTIONS, costs, "solved by backward induction", leading=4)
