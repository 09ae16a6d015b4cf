"""Duplicates and outliers of many records: seconds, memory, and what the search among cells misses.

``python -m benchmarks.findings_scale 100000 --width 512`` prints one line of JSON. The features are a layer
of random weights on points of 24 dimensions, in 20 classes; 1 % of them are near copies of others, 0.1 %
uniform noise of the same spread. They lie in a file that is mapped, as an audit does, and whose pages count
as memory here. Peak memory is that of the process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.worker import peak
from swaypoint.data.neighbours import EXACT, Space
from swaypoint.findings.duplicates.contents import hashed
from swaypoint.findings.duplicates.nearest import NEIGHBOURS, near_pairs
from swaypoint.findings.outliers import LEVEL, foreign_p_values
from swaypoint.findings.significance import benjamini_hochberg
from swaypoint.folder.manifest import TRAIN

_CLASSES, _DIMENSIONS, _ROWS, _SAMPLE = 20, 24, 16_384, 1_000
_COPIES, _FOREIGN, _MOVED = 0.01, 0.001, 0.003


def planted(path: Path, n: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features ``(n, width)`` float32, mapped from ``path``, and labels ``(n,)``. The last 1 % of the records
    are near copies of the first, those before, 0.1 %, are foreign; ``(n,)`` bool says which."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(_CLASSES, _DIMENSIONS))
    weights = generator.normal(size=(_DIMENSIONS, width)) / _DIMENSIONS**0.5
    features = np.memmap(path, np.float32, "w+", shape=(n, width))
    labels = generator.integers(0, _CLASSES, n)
    for start in range(0, n, _ROWS):
        rows = slice(start, min(start + _ROWS, n))
        inner = centres[labels[rows]] + 0.5 * generator.normal(size=(rows.stop - start, _DIMENSIONS))
        features[rows] = np.maximum(inner @ weights, 0) + 0.05 * generator.normal(size=(len(inner), width))
    copies, foreign = round(_COPIES * n), round(_FOREIGN * n)
    spread = features[:_ROWS].std(0)
    features[-copies:] = features[:copies] + _MOVED * spread * generator.normal(size=(copies, width))
    labels[-copies:] = labels[:copies]
    alien = slice(n - copies - foreign, n - copies)
    features[alien] = spread * generator.uniform(0, 12**0.5, (foreign, width))
    features.flush()
    is_alien = np.zeros(n, dtype=bool)
    is_alien[alien] = True
    return np.memmap(path, np.float32, "r", shape=(n, width)), labels, is_alien


def measure(n: int, width: int) -> dict[str, Any]:
    """Of ``n`` records."""
    seconds: dict[str, float] = {}
    cpu: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started, used = time.perf_counter(), time.process_time()
        found = work()
        seconds[name] = round(time.perf_counter() - started, 1)
        cpu[name] = round(time.process_time() - used, 1)
        return found

    with tempfile.TemporaryDirectory() as folder:
        features, labels, alien = planted(Path(folder) / "features", n, width)
        before = peak() / 1e9
        timed("exact copies", lambda: hashed(row.tobytes() for row in features))
        index, distance = timed("neighbours", lambda: Space(features).others(NEIGHBOURS))
        pairs, _ = timed("near copies", lambda: near_pairs(index, distance))
        split = np.full(n, TRAIN)
        p = timed("outliers", lambda: foreign_p_values(features, labels, split))
        most = peak() / 1e9
        named = benjamini_hochberg(p, LEVEL)
        sample = np.linspace(0, n - 1, _SAMPLE).astype(int)
        true, _ = Space(features).nearest(features[sample], NEIGHBOURS, itself=sample)
        copies = round(_COPIES * n)
        meant = {(i, n - copies + i) for i in range(copies)}
        found = set(map(tuple, pairs.tolist()))
    return {
        "records": n,
        "width": width,
        "search": "among cells" if n > EXACT else "exact",
        "seconds": seconds | {"all": round(sum(seconds.values()), 1)},
        "seconds of a core": cpu | {"all": round(sum(cpu.values()), 1)},
        "peak GB": round(most, 2),
        "peak GB before": round(before, 2),
        "recall of the nearest": _recall(true[:, :1], index[sample]),
        "recall of the 16 nearest": _recall(true, index[sample]),
        "copies recall": len(found & meant) / len(meant),
        "copies precision": len(found & meant) / max(len(found), 1),
        "foreign recall": float(named[alien].mean()),
        "foreign precision": float(alien[named].mean()) if named.any() else None,
    }


def _recall(true: np.ndarray, found: np.ndarray) -> float:
    return float(np.mean([np.isin(one, other).mean() for one, other in zip(true, found, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="+")
    parser.add_argument("--width", type=int, default=512)
    arguments = parser.parse_args()
    for n in arguments.records:
        print(json.dumps(measure(n, arguments.width)), flush=True)


if __name__ == "__main__":
    main()
