"""How time grows with points, features, classes and workers, as a table and a picture.

    python -m benchmarks.scaling                     # in memory: a few minutes
    python -m benchmarks.scaling --streamed 1e6 1e7 1e8 --workers 1,2 --engine ray --csv docs/scaling.csv
    python -m benchmarks.scaling --draw docs/scaling.csv

Each run adds its rows to the table (``--csv``): what varied, n, D, C, workers, seconds (the median of three
in memory, one streamed run), peak memory in MB of streamed runs, and the float32 product rate beside it.
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe, product_rate
from benchmarks.workloads import head_problem
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy

COLUMNS = ("varied", "points", "features", "classes", "workers", "seconds", "peak", "gflops")
BASE = {"points": 20_000, "features": 64, "classes": 10}
VARIED = {
    "points": (12_500, 25_000, 50_000, 100_000, 200_000),
    "features": (16, 32, 64, 128, 256, 512),
    "classes": (2, 4, 8, 16, 32, 64),
}
ROUNDS = 3
Row = dict[str, str | float]


def in_memory(n: int, d: int, c: int) -> float:
    """Seconds of all Cook's distances, both passes, the median of :data:`ROUNDS`."""
    features, labels, weight, bias = head_problem(n, d, c)
    head, data = HeadWeights(weight, bias, CrossEntropy()), ArrayBatches(features, labels)
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        Influence(head, data).scores(leave_one_out=False)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def curves() -> list[Row]:
    rows: list[Row] = []
    for varied, values in VARIED.items():
        for value in values:
            size = BASE | {varied: value}
            row = {"varied": varied, **size, "workers": torch.get_num_threads(), "peak": ""}
            row |= {"gflops": product_rate(), "seconds": in_memory(*size.values())}
            print(row, flush=True)
            rows.append(row)
    return rows


def streamed(points: list[float], engine: str, workers: str) -> list[Row]:
    """By ``benchmarks.scale``, from what it prints."""
    command = [sys.executable, "-m", "benchmarks.scale", "--engine", engine, "--workers", workers]
    process = subprocess.Popen([*command, *map(str, points)], stdout=subprocess.PIPE, text=True)
    rows: list[Row] = []
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if found := re.match(
            r"\s*([\d,]+) points, (\S+), (\d+) workers:\s+([\d.]+) s.*peak ([\d,]+) MB", line
        ):
            n, name, count, seconds, peak = (part.replace(",", "") for part in found.groups())
            sizes = {"points": int(n), "features": 64, "classes": 10, "workers": int(count)}
            row = {"varied": f"streamed, {name}", **sizes, "seconds": float(seconds), "peak": float(peak)}
            rows.append(row | {"gflops": product_rate()})
    if process.wait():
        raise SystemExit(process.returncode)
    return rows


def growth(values: np.ndarray, seconds: np.ndarray) -> float:
    """The exponent of a power law through the upper half of the points."""
    half = len(values) // 2
    return float(np.polyfit(np.log(values[half:]), np.log(seconds[half:]), 1)[0])


def draw(table: Path) -> None:
    """A picture beside the table, and the exponents in the terminal."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullLocator

    rows = list(csv.DictReader(table.open()))
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for axis, varied in zip(axes, VARIED, strict=True):
        groups = {varied: "in memory"}
        if varied == "points":
            groups |= {row["varied"]: row["varied"] for row in rows if row["varied"].startswith("streamed")}
        for group, name in groups.items():
            for workers in sorted({row["workers"] for row in rows if row["varied"] == group}):
                chosen = [row for row in rows if row["varied"] == group and row["workers"] == workers]
                chosen.sort(key=lambda row: float(row[varied]))
                values = np.array([float(row[varied]) for row in chosen])
                seconds = np.array([float(row["seconds"]) for row in chosen])
                label = f"{name}, {workers} {'threads' if group == varied else 'workers'}"
                if len(values) > 2:
                    label += f": exponent {growth(values, seconds):.2f}"
                    print(label, varied)
                axis.loglog(values, seconds, "o-", markersize=3, label=label)
        axis.set_xlabel(varied)
        if varied != "points":
            axis.set_xticks(VARIED[varied], [str(value) for value in VARIED[varied]])
            axis.xaxis.set_minor_locator(NullLocator())
        axis.legend(fontsize=7, loc="lower right" if varied == "points" else "upper left")
    axes[0].set(ylabel="seconds", ylim=(1e-3, None))  # room for the legend
    figure.savefig(table.with_suffix(".png"), dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--streamed", type=float, nargs="+", default=[])
    parser.add_argument("--engine", default="in-process")
    parser.add_argument("--workers", default="1")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--draw", type=Path)
    given = parser.parse_args()
    if given.draw:
        draw(given.draw)
        return
    print(describe(), flush=True)
    rows = streamed(given.streamed, given.engine, given.workers) if given.streamed else curves()
    if given.csv:
        new = not given.csv.exists()
        with given.csv.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
