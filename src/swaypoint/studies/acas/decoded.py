"""The decoded ACAS Xu table: the advisories of the 45 published networks on a grid, 92.0 million points.

The networks run in float32, and wherever the two lowest costs are closer than its rounding could bring
them, again in float64: the advisory is that of the exact network whatever the size of the batches, the
number of threads or the processor.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swaypoint.data.parallel import ordered_map
from swaypoint.errors import InputError
from swaypoint.studies.acas.nnet import Network
from swaypoint.studies.acas.published import ACAS_ACTIONS, ACAS_TAUS, acas_network
from swaypoint.studies.acas.table_writing import Plan, TableWriter, finished
from swaypoint.studies.acas.tables import Axis, Table, block_place, leading_axes, points_at

AXES = ("tau", "v_own", "v_int", "psi", "theta", "rho")
UNITS = {"tau": "s", "v_own": "ft/s", "v_int": "ft/s", "psi": "rad", "theta": "rad", "rho": "ft"}
_INPUTS = ("rho", "theta", "psi", "v_own", "v_int")  # of the networks, in order
_RHO = (
    *(0, 25, 50, 75, 100, 150, 200, 300, 400, 499, 510, 750, 1000, 1500, 2000, 3000, 4000, 5000, 6000, 7000),
    *(8000, 9000, 10000, 11000, 13000, 15000, 17000, 19000, 21000, 23000, 25000, 30000, 35000, 40000, 44000),
    *(48000, 52000, 56000, 60760),
)  # fmt: skip
_CUT = 4  # axes before theta and rho: with them fixed, the rest is one picture
_BATCH = 3200  # points of 50 units in float32: 0.6 MB, about the second-level cache
_ANGLES = tuple(np.linspace(-math.pi, math.pi, 41))
# Costs closer than this share of the outputs' range are evaluated again: half a percent of the points. The
# largest error of float32 among a million points of all 45 networks is 2.4e-6.
_TIE = 2e-5


def acas_axis(name: str, values: Sequence[float]) -> Axis:
    """One of :data:`AXES` with its unit."""
    return Axis(name, UNITS[name], np.asarray(values, np.float64))


def default_axes() -> tuple[Axis, ...]:
    """The grid of 92.0 million points: 9 x 12 x 13 x 41 x 41 x 39."""
    values: dict[str, Sequence[float]] = {
        "tau": ACAS_TAUS,
        "v_own": range(100, 1201, 100),
        "v_int": range(0, 1201, 100),
        "psi": _ANGLES,
        "theta": _ANGLES,
        "rho": _RHO,
    }
    return tuple(acas_axis(name, values[name]) for name in AXES)


def network_inputs(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points (b, 6) in the order of :data:`AXES` as inputs (b, 5) of the network for their tau."""
    return points[:, [AXES.index(name) for name in _INPUTS]]


@dataclass(frozen=True, eq=False)
class Block:
    """Decisions (b,) uint8 and costs (b, 5) float32 of consecutive points."""

    decisions: NDArray[np.uint8]
    costs: NDArray[np.float32]


class Decoder:
    """Evaluates the networks of one previous advisory on a grid, block by block; threads may share it.

    Args:
        folder: holds the ``.nnet`` files.
        previous: advisory, 0 (COC) to 4.
        axes: named as :data:`AXES`, in that order; tau among those of the networks. Default: 92.0 million
            points.

    Raises:
        InputError: no networks there, or axes of other names or taus.
    """

    def __init__(self, folder: str | Path, previous: int = 0, axes: Sequence[Axis] | None = None) -> None:
        self.axes = default_axes() if axes is None else tuple(axes)
        if tuple(axis.name for axis in self.axes) != AXES:
            raise InputError(f"axes are {[axis.name for axis in self.axes]}; expected {', '.join(AXES)}")
        self.previous = previous
        self.networks = [acas_network(folder, previous, tau) for tau in self.axes[0].values]
        self._shape = tuple(len(axis) for axis in self.axes)
        self._outer = max(leading_axes(self._shape), _CUT)
        self._grids = [_NetworkOnGrid(network, self.axes, self._outer) for network in self.networks]

    def plan(self, *, costs: bool = False) -> Plan:
        """What :func:`decode` writes."""
        digest = hashlib.sha256()
        for network in self.networks:
            digest.update(repr((network.output_mean, network.output_range)).encode())
            inputs = (network.minima, network.maxima, network.means, network.ranges)
            for array in (*inputs, *network.weights, *network.biases):
                digest.update(array.tobytes())
        name = f"ACAS Xu, decoded, previous advisory {ACAS_ACTIONS[self.previous]}"
        return Plan(name, self.axes, ACAS_ACTIONS, costs, f"networks of sha256 {digest.hexdigest()}")

    def block(self, block: int) -> Block:
        """The points of one block of the table (see :meth:`~swaypoint.studies.acas.tables.Table.blocks`)."""
        place = block_place(self._shape[: leading_axes(self._shape)], block)
        places = [range(p, p + 1) for p in place] + [range(size) for size in self._shape[len(place) :]]
        costs = [self._grids[tau].costs(list(product(*places[1 : self._outer]))) for tau in places[0]]
        return self._decide(torch.cat(costs, 1), block)

    def _decide(self, costs: Tensor, block: int) -> Block:
        """Of costs (5, b) in float32, with the near ties evaluated again."""
        if not bool(costs.isfinite().all()):
            raise InputError(
                "the networks' costs overflow float32; a .nnet file has a wrong number: fetch the files anew"
            )
        best, decisions = costs.min(0)
        scale = max(network.output_range for network in self.networks)
        ties = ((costs < best + _TIE * scale).sum(0) > 1).nonzero()[:, 0].numpy()
        block_costs, block_decisions = costs.T.contiguous().numpy(), decisions.to(torch.uint8).numpy()
        if len(ties):
            flat = ties + block * len(block_decisions)
            block_costs[ties] = exact = self.exact_costs(flat)
            block_decisions[ties] = exact.argmin(1)
        return Block(block_decisions, block_costs)

    def exact_costs(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Costs (b, 5) in float64 at a flat index (b,): the plain evaluation of the networks."""
        points = points_at(self.axes, index)
        taus = index // math.prod(self._shape[1:])
        costs = np.empty((len(index), len(ACAS_ACTIONS)))
        for tau in np.unique(taus):
            rows = taus == tau
            costs[rows] = self.networks[tau].evaluate(network_inputs(points[rows]))
        return costs


class _NetworkOnGrid:
    """One network on all axes but tau, in float32.

    On a grid the first layer is a sum of one term an axis: those of the inner axes are summed once.
    """

    def __init__(self, network: Network, axes: Sequence[Axis], outer: int) -> None:
        terms = []
        for axis in axes[1:]:
            place = _INPUTS.index(axis.name)
            values = axis.values.astype(np.float32).astype(np.float64)
            values = np.clip(values, network.minima[place], network.maxima[place])
            scaled = (values - network.means[place]) / network.ranges[place]
            terms.append(np.outer(network.weights[0][:, place], scaled))
        self._outer_terms = terms[: outer - 1]
        inner = network.biases[0][:, None]
        for term in terms[outer - 1 :]:
            inner = (inner[:, :, None] + term[:, None, :]).reshape(len(inner), -1)
        self._inner = torch.as_tensor(inner, dtype=torch.float32)
        # The last layer takes over the outputs' normalisation.
        weights, biases = list(network.weights[1:]), list(network.biases[1:])
        weights[-1] = weights[-1] * network.output_range
        biases[-1] = biases[-1] * network.output_range + network.output_mean
        self._layers = [
            (torch.as_tensor(w, dtype=torch.float32), torch.as_tensor(b[:, None], dtype=torch.float32))
            for w, b in zip(weights, biases, strict=True)
        ]

    def costs(self, places: Sequence[tuple[int, ...]]) -> Tensor:
        """Costs (5, b) at places on the outer axes, every one with all points of the inner axes."""
        columns = zip(self._outer_terms, np.transpose(places), strict=True)
        shifts = torch.as_tensor(sum(term[:, place] for term, place in columns), dtype=torch.float32)
        inner = self._inner.shape[1]
        result = torch.empty(len(self._layers[-1][1]), len(places) * inner)
        for start in range(0, len(places), step := max(1, _BATCH // inner)):
            hidden = (self._inner[:, None, :] + shifts[:, start : start + step, None]).flatten(1).relu_()
            for weight, bias in self._layers[:-1]:
                hidden = torch.addmm(bias, weight, hidden).relu_()
            weight, bias = self._layers[-1]
            result[:, start * inner : start * inner + hidden.shape[1]] = torch.addmm(bias, weight, hidden)
        return result


def decode(
    folder: str | Path,
    out: str | Path,
    *,
    previous: int = 0,
    axes: Sequence[Axis] | None = None,
    costs: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Write the advisories of the published networks on a grid to an HDF5 file, and open it.

    A second call returns the finished table; an interrupted one goes on where it was.

    Args:
        folder, previous, axes: as of :class:`Decoder`.
        costs: write the costs too: 1.8 GB before compression on the default grid.
        on_progress: told how many blocks of how many are decoded.

    Raises:
        InputError: as :class:`Decoder`; or ``out`` holds another table, or the disk is full.
        MissingExtra: h5py is not installed.
    """
    decoder, out = Decoder(folder, previous, axes), Path(out)
    plan = decoder.plan(costs=costs)
    if (table := finished(out, plan)) is not None:
        return table
    with TableWriter(out, plan) as writer:
        missing = writer.missing
        decoded = ordered_map(decoder.block, missing, torch.device("cpu"))
        for block, values in zip(missing, decoded, strict=True):
            writer.put(block, values.decisions, values.costs)
            if on_progress:
                on_progress(plan.block_count - len(writer.missing), plan.block_count)
        return writer.finish()
