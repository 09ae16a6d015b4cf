"""The two open collision avoidance tables: decoding, solving, and agreement with the published networks.

    python -m benchmarks.acas_tables [--networks DIR] [--whole] [--docs docs]

``--whole`` also decodes the 92.0 million points and solves all 16 pairs of speeds; ``--docs`` writes the
agreement and a picture of one cut into a folder.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe, memory, product_rate
from swaypoint.data.parallel import ordered_map
from swaypoint.folder.writing import write_json
from swaypoint.studies.acas import hcas
from swaypoint.studies.acas.decoded import Decoder, decode
from swaypoint.studies.acas.published import HCAS_ACTIONS, HCAS_TAUS, hcas_network

ROUNDS = 5
FLOPS = 2 * (5 * 50 + 5 * 50 * 50 + 50 * 5)  # of one network at one point
SPEED = 200  # ft/s, of both aircraft, for which the networks were trained
CUT = {"previous": 0, "tau": 2, "psi": 10}  # indices: COC, 10 s, -90 degrees
WITHIN = 20_000  # ft, of the picture


def decoding(folder: Path, whole: bool) -> None:
    decoder = Decoder(folder)
    blocks = range(0, 1404, 27)
    points = len(blocks) * len(decoder.block(0).decisions)

    def sample() -> None:
        for _ in ordered_map(decoder.block, blocks, torch.device("cpu")):
            pass

    rows = []
    for _ in range(ROUNDS):  # side by side: the speed of shared machines drifts within seconds
        rate, seconds = product_rate(size=2048), elapsed(sample)
        rows.append((points / seconds, FLOPS * points / seconds / rate / 1e9))
    speed, share = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"decoding in memory: {speed / 1e6:.2f} million points/s, {share:.0%} of the matrix-product rate")
    if whole:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "decoded.h5"
            seconds = elapsed(lambda: decode(folder, path))
            size = path.stat().st_size / 1e6
        print(f"92.0 million points into a file of {size:.1f} MB: {seconds:.0f} s;", memory())


def solving(whole: bool) -> hcas.Solution:
    hcas.solve(SPEED, SPEED, taus=(0,), warm_start=0)
    seconds = statistics.median(elapsed(lambda: hcas.solve(SPEED, SPEED)) for _ in range(3))
    print(f"one pair of speeds: {seconds:.1f} s")
    if whole:
        with tempfile.TemporaryDirectory() as scratch:
            seconds = elapsed(lambda: hcas.solve_all(Path(scratch) / "hcas.h5", costs=True))
        print(f"16 pairs of speeds into a file, with costs: {seconds:.0f} s;", memory())
    return hcas.solve(SPEED, SPEED)


def network_advisories() -> np.ndarray:
    """Of the published networks on the grid: (previous, tau, psi, theta, rho)."""
    grid = hcas.default_grid()
    psi, theta, rho = grid.mesh()
    points = np.stack([rho * np.cos(theta), rho * np.sin(theta), psi], 1)
    chosen = [
        [hcas_network(previous, tau).evaluate(points, torch.float32).argmax(1) for tau in HCAS_TAUS]
        for previous in range(len(HCAS_ACTIONS))
    ]
    return np.array(chosen, np.uint8).reshape(len(HCAS_ACTIONS), len(HCAS_TAUS), *grid.shape)


def print_agreement(agreement: np.ndarray) -> None:
    print(f"agreement with the 40 published networks: {agreement.mean():.1%}, lowest {agreement.min():.1%}")
    print("previous  " + "".join(f"{f'tau {tau} s':>10}" for tau in HCAS_TAUS))
    for name, row in zip(HCAS_ACTIONS, agreement, strict=True):
        print(f"{name:<10}" + "".join(f"{share:>10.1%}" for share in row))


def draw(table: np.ndarray, network: np.ndarray, path: Path) -> None:
    """One cut: the table's advisories, the network's, and where they differ."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    grid = hcas.default_grid()
    near = grid.rho <= WITHIN
    theta, rho = np.meshgrid(cell_edges(grid.theta), cell_edges(grid.rho[near]), indexing="ij")
    x, y = rho * np.cos(theta) / 1000, rho * np.sin(theta) / 1000
    colours = ["#eeeeee", "#9ecae1", "#fdae6b", "#2171b5", "#d94801"]
    cuts = [part[CUT["previous"], CUT["tau"], CUT["psi"]][:, near] for part in (table, network)]
    figure, panels = plt.subplots(1, 3, figsize=(12, 5), sharey=True, layout="compressed")
    for panel, cut, title in zip(panels, cuts, ("Solved table", "Published network"), strict=False):
        panel.pcolormesh(x, y, cut, cmap=ListedColormap(colours), vmin=0, vmax=4)
        panel.set_title(title)
    panels[2].pcolormesh(x, y, cuts[0] != cuts[1], cmap=ListedColormap(["#eeeeee", "#444444"]))
    panels[2].set_title(f"Agree at {(cuts[0] == cuts[1]).mean():.1%} of the points shown")
    for panel in panels:
        panel.plot(0, 0, "k>", markersize=6)
        panel.set(aspect="equal", xlabel="ahead [1000 ft]")
    panels[0].set_ylabel("to the left [1000 ft]")
    keys = [Patch(color=colour, label=name) for colour, name in zip(colours, HCAS_ACTIONS, strict=True)]
    figure.legend(handles=keys, loc="outside lower center", ncols=5, frameon=False)
    heading = np.degrees(grid.psi[CUT["psi"]])
    figure.suptitle(
        f"HorizontalCAS, previous advisory {HCAS_ACTIONS[CUT['previous']]}, {HCAS_TAUS[CUT['tau']]} s to loss"
        f" of vertical separation, intruder's heading {heading:.0f}°, both {SPEED} ft/s"
    )
    figure.savefig(path, dpi=110)


def cell_edges(axis: np.ndarray) -> np.ndarray:
    return np.concatenate([axis[:1], (axis[1:] + axis[:-1]) / 2, axis[-1:]])


def elapsed(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=Path, help="folder of the 45 ACAS Xu networks")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--docs", type=Path)
    options = parser.parse_args()
    print(machine := describe())
    if options.networks:
        decoding(options.networks, options.whole)
    solution = solving(options.whole)
    networks = network_advisories()
    agreement = (networks == solution.advisory).mean((2, 3, 4))
    print_agreement(agreement)
    if options.docs:
        shares = {
            name: {str(tau): round(float(share), 4) for tau, share in zip(HCAS_TAUS, row, strict=True)}
            for name, row in zip(HCAS_ACTIONS, agreement, strict=True)
        }
        values = {"machine": machine, "overall": round(float(agreement.mean()), 4), "agreement": shares}
        write_json(options.docs / "acas-hcas.json", values)
        draw(solution.advisory, networks, options.docs / "acas-hcas.png")


if __name__ == "__main__":
    main()
