"""One peer, one workload, once; run by the python of the peer's environment, where swaypoint is not.

python -P worker.py ADAPTER.py TASK FOLDER OUT.npz
"""

from __future__ import annotations

import importlib.util
import resource
import sys
import time
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

WARM_UP = 300
"""Points of the run that is not timed: imports, compilation, thread pools."""


def load(adapter: Path) -> ModuleType:
    sys.path.append(str(adapter.parent))  # last: adapters are named after what they import
    spec = importlib.util.spec_from_file_location(adapter.stem, adapter)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(task: str, folder: Path, mapped: bool) -> list[Any]:
    """features, labels, then weight and bias; of a perceptron the lists of them."""
    arrays = np.load(folder / "arrays.npz")
    features = np.load(folder / "features.npy", mmap_mode="r" if mapped else None)
    layers = sum(name.startswith("weight") for name in arrays.files)
    weights, biases = ([arrays[f"{kind}{i}"] for i in range(layers)] for kind in ("weight", "bias"))
    if task == "perceptron":
        return [features, arrays["labels"], weights, biases]
    return [features, arrays["labels"], weights[0], biases[0]]


def peak() -> int:
    """Largest resident memory so far, bytes. Of Linux's two counts the one that a new program starts anew:
    ``getrusage`` has that of the process which started it as well."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(adapter: Path, task: str, folder: Path, out: Path) -> None:
    warnings.filterwarnings("ignore")
    module = load(adapter)
    run, given = getattr(module, task), arguments(task, folder, mapped=task == "stream")
    if task not in getattr(module, "COLD", ()):
        with suppress(Exception):  # so few points may be singular; what always fails fails below again
            run(np.array(given[0][:WARM_UP]), given[1][:WARM_UP], *given[2:])
    before = peak()
    start = time.perf_counter()
    values = np.asarray(run(*given))
    seconds = time.perf_counter() - start
    if values.shape != (len(given[1]),):
        raise ValueError(f"expected {len(given[1])} values, got the shape {values.shape}")
    np.savez(
        out,
        values=values,
        seconds=seconds,
        peak=peak(),
        before=before,
        version=version(module.DISTRIBUTION),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
