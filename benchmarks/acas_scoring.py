"""92.0 million points: the published networks decoded, every training point scored exactly, in one run.

``python -m benchmarks.acas_scoring --networks DIR [--surrogate FILE] [--width 50] [--shards N]``; without a
trained surrogate one is trained for a minute first, which is not timed; of 108 shards the first N are scored.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.machine import describe, memory, product_rate
from swaypoint.data.folds import Durable
from swaypoint.data.splitting import Split
from swaypoint.studies.acas import scoring
from swaypoint.studies.acas.decoded import decode
from swaypoint.studies.acas.learning import Learning, build, learn
from swaypoint.studies.acas.surrogate import Encounter, Surrogate
from swaypoint.studies.acas.tables import Table


def surrogate_of(path: Path | None, width: int, table: Table, folder: Path) -> Surrogate:
    quick = Learning(width=width, sample=400_000, epochs=3)
    if path is None:
        return learn(table, Split(), quick, folder).surrogate
    surrogate = build(quick, len(table.actions))
    surrogate.load_state_dict(load_file(path))
    return surrogate.eval()


def first_shards(table: Table, count: int | None) -> Table:
    """The part with tau = 0 and the first speeds of the own ship."""
    if count is None:
        return table
    tau, own, *rest = table.axes
    axes = (replace(tau, values=tau.values[:1]), replace(own, values=own.values[:count]), *rest)
    return replace(table, axes=axes, decision=np.asarray(table.decision)[:1, :count])


def run(networks: Path, surrogate_file: Path | None, width: int, count: int | None, folder: Path) -> None:
    """In a process of its own, so that the peak is that of decoding and scoring."""
    start = time.perf_counter()
    table = decode(networks, folder / "table.h5").load()
    decoded, cells = time.perf_counter() - start, table.size
    print(f"decoded {cells:,} points: {decoded:.0f} s")
    surrogate = surrogate_of(surrogate_file, width, table, folder)
    table = first_shards(table, count)
    start = time.perf_counter()
    fold = Durable(folder / "shards", "benchmark")
    influence = scoring.factorize(table, surrogate, Split(), fold)
    first = time.perf_counter() - start
    scores = scoring.score(influence, fold)
    both = time.perf_counter() - start
    print(f"6 × {width}: curvature {first:.0f} s, scores of {scores.points:,} points {both - first:.0f} s")
    print(f"  {scores.facts.solver}, {scores.facts.precision}, {scores.facts.outcome}")
    throughput = scores.points / both / 1e6
    print(f"decoding and both passes: {decoded + both:.0f} s; {throughput:.2f} million points a second")
    print(memory())
    seconds = ideal(cells, scores.points, width)
    print(f"at the matrix-product rate alone: {seconds:.0f} s, {seconds / (decoded + both):.0%} of the time")


def ideal(cells: int, points: int, width: int) -> float:
    """Seconds that the products take at the machine's rate: networks in float32, contractions in float64."""
    decoding = 2 * (5 * 50 + 5 * 50 * 50 + 50 * 5)
    features = 2 * (Encounter.width * width + 5 * width**2)
    outputs, pairs = 4 * 5 // 2, (width + 1) * (width + 2) // 2
    single = cells * decoding + 2 * points * features
    double = 2 * points * 2 * outputs * pairs
    return (single / product_rate() + double / product_rate(torch.float64)) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=Path, required=True)
    parser.add_argument("--surrogate", type=Path)
    parser.add_argument("--width", type=int, default=50)
    parser.add_argument("--shards", type=int)
    parser.add_argument("--in", type=Path, dest="folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        run(options.networks, options.surrogate, options.width, options.shards, options.folder)
        return
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        again = [sys.executable, "-m", "benchmarks.acas_scoring", *sys.argv[1:], "--in", folder]
        subprocess.run(again, check=True)


if __name__ == "__main__":
    main()
