"""A driver to be killed: scores seeded points slowly on a cluster, keeping what is done.

python ray_driver.py ADDRESS FOLDER SCORES.npy
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import numpy as np

from ray_nodes import Seeded, scores
from swaypoint.data.folds import Durable
from swaypoint.data.folds.ray_cluster import RayCluster


class Slow(Seeded):
    """Takes its time, so that there is a middle of the pass."""

    def __iter__(self):
        time.sleep(0.4)
        yield from super().__iter__()

    def shards(self):
        return [Slow((number,), self.points, self.width, self.classes) for number in self.numbers]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started the tests with &
    address, folder, out = sys.argv[1:]
    fold = RayCluster(address)
    found = scores(Durable(Path(folder), "key", inner=fold), Slow())
    with open(f"{out}.part", "wb") as file:
        np.save(file, found)
    Path(f"{out}.part").rename(out)
