"""Over how many points an ACAS surrogate's influence is spread, by the ridge of its last layer.

Of training points of the decoded table at random: the head as it was trained (without a ridge), and at the
optimum of each of some ridges, of which one predicts left-out points best. ``effective`` is
(sum I)^2 / sum I^2.

    python -m benchmarks.acas_ridges --networks DIR --surrogate FILE [--width 50] [--ridges 1e-2,1e-3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.acas_scoring import surrogate_of
from benchmarks.machine import describe
from swaypoint.data.batches import ArrayBatches
from swaypoint.data.splitting import Split
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.fitness import effective_number
from swaypoint.scoring.refit import left_out_loss, refit_head
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.studies.acas.decoded import decode
from swaypoint.studies.acas.learning import draw
from swaypoint.studies.acas.scoring import head_of


def line(what: str, head: HeadWeights, data: ArrayBatches) -> float:
    """One head's row of the table; its left-out loss."""
    start = time.perf_counter()
    influence = Influence(head, data, dtype=torch.float64)
    cook = influence.scores(leave_one_out=False).cook
    loss, facts = left_out_loss(head, data), influence.facts()
    first = np.sort(cook)[::-1]
    print(
        f"| {what} | {head.l2:.0e} | {loss:.5f} | {effective_number(cook):,.0f} |"
        f" {first[: len(cook) // 1000].sum() / cook.sum():.0%} | {facts.condition:.0e} |"
        f" {time.perf_counter() - start:.0f} s |",
        flush=True,
    )
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=Path, required=True)
    parser.add_argument("--surrogate", type=Path, required=True)
    parser.add_argument("--width", type=int, default=50)
    parser.add_argument("--points", type=int, default=1 << 17)
    parser.add_argument("--ridges", default="1e-2,1e-3,1e-4,1e-5,1e-6,1e-7,1e-8")
    given = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        table = decode(given.networks, Path(name) / "table.h5").load()
        surrogate = surrogate_of(given.surrogate, given.width, table, Path(name))
        index = draw(table, 2 * given.points, seed=2)
        index = index[~Split().held_out(index)]
        index = np.sort(np.random.default_rng(0).permutation(index)[: given.points])
        with torch.no_grad():
            features = surrogate.features(torch.from_numpy(table.points(index)))
        data = ArrayBatches(features, torch.from_numpy(table.decisions(index)).long())
    print("| head | ridge | left-out loss | effective | share of the first 0.1 % | condition | |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    trained = head_of(surrogate)
    line("as trained", trained, data)
    found: dict[float, float] = {}
    for ridge in map(float, given.ridges.split(",")):
        trained = refit_head(replace(trained, l2=ridge), data).head
        found[ridge] = line("refitted", trained, data)
    print(f"least left-out loss: ridge {min(found, key=found.__getitem__):.0e} of {len(index):,} points")


if __name__ == "__main__":
    main()
