"""The workloads as arrays on disk, and their float64 truth: what every peer is given and compared with."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers import truth
from benchmarks.peers.features import Features
from benchmarks.whole_model import oracle, workload
from benchmarks.workloads import head_problem

SINGULAR = 1e-6
"""The ridge of peers that solve with the Hessian as it is, singular along the softmax gauge."""
REFERENCES = 100
"""Points of the large head whose truth is computed."""
VERSION = 1
"""Of the arrays below; raise it when they change."""


@dataclass(frozen=True)
class Workload:
    """What is measured.

    Attributes:
        task: the function of an adapter that does it.
        n, d, c: points, features (of the model's input), classes.
        hidden: width of the hidden layers; 0: the last layer alone.
        arrays: the workload whose arrays these are.
    """

    name: str
    title: str
    task: str
    n: int
    d: int
    c: int
    hidden: int = 0
    arrays: str = ""

    @property
    def parameters(self) -> int:
        if not self.hidden:
            return (self.d + 1) * self.c
        inner = 5 * self.hidden * (self.hidden + 1)
        return (self.d + 1) * self.hidden + inner + (self.hidden + 1) * self.c

    def scaled(self, scale: float) -> Workload:
        """A share of the points, and narrower layers where their width is what costs."""
        if scale == 1:
            return self
        shrink = math.sqrt(scale)
        wide = self.name == "W2"
        return replace(
            self,
            n=max(500, round(self.n * scale)),
            d=max(16, round(self.d * shrink)) if wide else self.d,
            c=max(5, round(self.c * shrink)) if wide else self.c,
            hidden=max(8, round(self.hidden * shrink)) if self.hidden else 0,
        )

    def described(self) -> str:
        size = f"{self.n:,} points, {self.parameters:,} parameters"
        return f"{self.name}, {self.title}: {size}"


HEAD, STREAM = "last layer in memory", "last layer, features in a memory map"
WORKLOADS = (
    Workload("W1", HEAD, "head", 50_000, 64, 10),
    Workload("W2", "wide last layer", "wide_head", 20_000, 512, 100),
    Workload("W3", "all layers of a perceptron", "perceptron", 20_000, 5, 5, hidden=50),
    Workload("W4", STREAM, "stream", 1_000_000, 64, 10),
    Workload("R1", "ranking step of W1", "rank", 50_000, 64, 10, arrays="W1"),
)


def of_features(features: Features) -> tuple[Workload, Workload]:
    """The last layer of a trained network, and its ranking step."""
    n, d = features.features.shape
    c = len(features.weight)
    head = Workload("W5", "last layer of a trained network", "head", n, d, c)
    return head, replace(head, name="R5", title="ranking step of W5", task="rank", arrays="W5")


def prepare(work: Workload, folder: Path, features: Features | None = None) -> Path:
    """The folder with the arrays of ``work``: ``features.npy``, ``arrays.npz``, ``truth.npz``."""
    path = folder / (work.arrays or work.name)
    size = json.dumps(asdict(work) | {"version": VERSION, "source": features.source if features else ""})
    done = path / "size.json"
    if work.arrays or (done.is_file() and done.read_text() == size):
        return path
    path.mkdir(parents=True, exist_ok=True)
    if work.hidden:
        _perceptron(work, path)
    elif work.name == "W4":
        _streamed(work, path)
    elif features:
        _write(path, *features.arrays())
    else:
        _write(path, *(part.numpy() for part in head_problem(work.n, work.d, work.c)))
    if not work.hidden:
        np.savez(path / "truth.npz", **_head_truth(work, path))
    done.write_text(size)
    return path


def _write(
    path: Path, features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> None:
    np.save(path / "features.npy", features)
    np.savez(path / "arrays.npz", labels=labels, weight0=weight, bias0=bias)


def _streamed(work: Workload, path: Path) -> None:
    """In pieces, as :mod:`benchmarks.streamed` has it."""
    pieces, labels = 10, np.zeros(work.n, dtype=np.int64)
    features = np.lib.format.open_memmap(path / "features.npy", "w+", np.float32, (work.n, work.d))
    weight = head_problem(1, work.d, work.c)[2].numpy()
    for piece, rows in enumerate(np.array_split(np.arange(work.n), pieces)):
        part, generator = slice(rows[0], rows[-1] + 1), np.random.default_rng(piece)
        features[part] = np.maximum(generator.standard_normal((len(rows), work.d), dtype=np.float32), 0)
        logits = features[part] @ weight.T + 0.7 * generator.gumbel(size=(len(rows), work.c))
        labels[part] = logits.argmax(1)
    features.flush()
    np.savez(path / "arrays.npz", labels=labels, weight0=weight, bias0=np.zeros(work.c, np.float32))


def _perceptron(work: Workload, path: Path) -> None:
    model, x, y = workload(work.n, hidden=work.hidden)
    layers = [module for module in model if isinstance(module, torch.nn.Linear)]
    arrays = {f"weight{i}": layer.weight.detach().numpy() for i, layer in enumerate(layers)}
    arrays |= {f"bias{i}": layer.bias.detach().numpy() for i, layer in enumerate(layers)}
    np.save(path / "features.npy", x.numpy())
    np.savez(path / "arrays.npz", labels=y.numpy(), **arrays)
    np.savez(path / "truth.npz", rows=np.arange(work.n), values=oracle(model, x, y))


def _head_truth(work: Workload, path: Path) -> dict[str, np.ndarray]:
    """``rows`` (m,) and their ``values``; ``ridged``: those with the ridge ``SINGULAR``.

    Raises:
        AssertionError: swaypoint's float64 and the independent solves are apart.
    """
    problem = truth.Problem.read(path)
    if work.name == "W2":  # factorising is what is measured there: no truth of it for all points
        rows = np.sort(np.random.default_rng(0).choice(work.n, min(REFERENCES, work.n), replace=False))
        return {"rows": rows, "values": truth.by_conjugate_gradients(problem, rows)}
    rows = np.random.default_rng(0).choice(work.n, 50, replace=False)
    values = truth.by_swaypoint(problem, 0.0), truth.by_swaypoint(problem, SINGULAR)
    for ours, independent in zip(values, truth.by_dense_solve(problem, rows, (0.0, SINGULAR)), strict=True):
        apart = np.abs(ours[rows] / independent - 1).max()
        print(f"{work.name}: truth against 50 dense float64 solves: largest difference {apart:.0e}")
        assert apart < 1e-6, f"the truth of {work.name} is off by {apart}"
    return {"rows": np.arange(work.n), "values": values[0], "ridged": values[1]}
