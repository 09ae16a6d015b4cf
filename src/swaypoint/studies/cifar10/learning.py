"""One model of the study: trained once; its features, its trajectory and its weights are kept."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.numpy import load_file
from torch import Tensor, nn

from swaypoint.data.calls import evaluation
from swaypoint.data.tensors import write_tensors
from swaypoint.errors import InputError, reading
from swaypoint.folder.writing import write_json
from swaypoint.models.loop import Changes, Plan, Progress, SplitData, prepare, train
from swaypoint.models.recipes import Recipe, build
from swaypoint.models.trajectory import Trajectory
from swaypoint.scoring.trained_model import Course
from swaypoint.studies.cifar10.images import Images
from swaypoint.studies.cifar10.trainings import Cell, fold_of

_VALIDATION = 2000
_BATCH = 500


@dataclass(frozen=True)
class Learned:
    """A trained model as the scores need it; rows in the order of ``Images.ranked``.

    Attributes:
        given, wrong: labels as trained on ``(n,)`` int64, and which are planted ``(n,)`` bool.
        features: ``(n, D)`` float32, without augmentation.
        weight, bias: of the head, ``(10, D)`` and ``(10,)``.
        course: of the training, see :class:`~swaypoint.scoring.trained_model.Course`.
        tracin: see :class:`~swaypoint.models.trajectory.Trajectory`, ``(n,)``; None of a snapshot.
        facts: accuracies, seconds.
    """

    cell: Cell
    given: np.ndarray
    wrong: np.ndarray
    features: Tensor
    weight: Tensor
    bias: Tensor
    course: Course
    tracin: np.ndarray | None
    facts: dict[str, Any]


def learn(
    cell: Cell, images: Images, folder: Path, *, device: str = "cpu", report: Progress | None = None
) -> Learned:
    """The model of ``cell``, trained now or read from ``folder / cell.name``; an interrupted training goes
    on after its last epoch."""
    path = folder / cell.name
    path.mkdir(parents=True, exist_ok=True)
    given, wrong = cell.noise.flip(images.training.labels[images.ranked])
    if not (path / "facts.json").is_file():
        _learn(cell, images, given, path, device, report)
    facts = json.loads((path / "facts.json").read_text())
    if facts["recipe"] != json.loads(json.dumps(_described(cell.recipe()))):
        raise InputError(f"{path} was trained by another recipe; choose another --out, or remove that folder")
    kept = _read(path / "features.safetensors") | _read(path / "trajectory.safetensors")
    features, weight, bias = (torch.from_numpy(kept[name]) for name in ("features", "weight", "bias"))
    course = Course(kept["margins"], kept["losses"], kept.get("probabilities"), kept.get("whole"))
    return Learned(cell, given, wrong, features, weight, bias, course, kept["tracin"], facts)


def snapshots(learned: Learned, folder: Path) -> Iterator[Learned]:
    """The model on its way, after each of ``Cell.snapshots``."""
    for epoch in learned.cell.snapshots():
        kept = _read(_snapshot(folder / learned.cell.name, epoch))
        features, weight, bias = (torch.from_numpy(kept[name]) for name in ("features", "weight", "bias"))
        accuracy = {"training": _accuracy(weight, bias, features, learned.given)}
        yield replace(
            learned,
            features=features,
            weight=weight,
            bias=bias,
            course=Course(
                learned.course.margins[:, :epoch], learned.course.losses[:, :epoch], whole=kept.get("whole")
            ),
            tracin=None,
            facts={"epoch": epoch, "accuracy": accuracy | {"test": float(kept["test"])}},
        )


def _read(path: Path) -> dict[str, np.ndarray]:
    """Not all finite: a fold has not visited what it leaves out."""
    with reading(path, "a safetensors file", "remove its folder, and run the same command again"):
        return load_file(path)


def _snapshot(path: Path, epoch: int) -> Path:
    return path / f"epoch-{epoch:03d}.safetensors"


class _Snapshots(Callback):
    """Writes what the head sees, and the head, after some epochs."""

    def __init__(self, cell: Cell, images: Images, path: Path, trajectory: Trajectory) -> None:
        self._cell, self._images, self._path, self._trajectory = cell, images, path, trajectory

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        epoch = trainer.current_epoch + 1
        if epoch not in self._cell.snapshots():
            return
        images, head = self._images, pl_module.model.head
        side = self._cell.recipe().side(epoch - 1, self._cell.epochs)
        test = embed(pl_module.model, images.test.inputs, side)
        kept = {
            "features": embed(pl_module.model, images.training.inputs[images.ranked], side),
            "weight": head.weight,
            "bias": head.bias,
            "test": torch.tensor(_accuracy(head.weight, head.bias, test, images.test.labels)),
            "whole": self._trajectory.course()["whole"][torch.from_numpy(images.ranked)],
        }
        write_tensors(_snapshot(self._path, epoch), kept)


def _learn(
    cell: Cell, images: Images, given: np.ndarray, path: Path, device: str, report: Progress | None
) -> None:
    recipe, start = cell.recipe(), time.perf_counter()
    rows, inputs, labels = images.ranked, images.training.inputs, images.training.labels.copy()
    labels[rows] = given
    trained = np.arange(len(rows)) if cell.fold is None else np.flatnonzero(fold_of(len(rows)) != cell.fold)
    split = SplitData(
        torch.from_numpy(inputs).to(device),
        torch.from_numpy(labels).to(device),
        train=torch.from_numpy(rows[trained]),
        validation=torch.from_numpy(images.held[:_VALIDATION]),
    )
    model = build(recipe, torch.from_numpy(inputs[rows]), 10, seed=cell.seed)
    trajectory = Trajectory("head", len(labels), cell.epochs, 10)
    plan = Plan(cell.epochs, cell.seed, path, "gpu" if device.startswith("cuda") else "cpu")
    snapshots = [_Snapshots(cell, images, path, trajectory)]
    model = train(model, split, recipe, plan, report=report, watches=[trajectory], callbacks=snapshots).to(
        device
    )
    trained_at = time.perf_counter()
    side = recipe.side(cell.epochs - 1, cell.epochs)
    features = embed(model, inputs[rows], side)
    seconds = {"seconds": trained_at - start, "forward_seconds": time.perf_counter() - trained_at}
    head = model.get_submodule("head")
    assert isinstance(head, nn.Linear)
    of = {
        "training": (features[trained], given[trained]),
        "held": (embed(model, inputs[images.held], side), labels[images.held]),
        "test": (embed(model, images.test.inputs, side), images.test.labels),
    }
    accuracy = {part: _accuracy(head.weight, head.bias, *points) for part, points in of.items()}
    write_tensors(path / "model.safetensors", model.state_dict())
    head_and_features = {"features": features, "weight": head.weight, "bias": head.bias}
    write_tensors(path / "features.safetensors", head_and_features)
    record = {name: values[rows] for name, values in trajectory.course().items()}
    write_tensors(path / "trajectory.safetensors", record | {"tracin": trajectory.tracin[rows]})
    described = {"cell": asdict(cell), "recipe": _described(recipe)}
    write_json(path / "facts.json", described | {"accuracy": accuracy} | seconds)
    (path / "last.ckpt").unlink(missing_ok=True)


def _described(recipe: Recipe) -> dict[str, Any]:
    settings = asdict(recipe)
    del settings["build"], settings["tuning"]
    return settings


def embed(model: nn.Module, inputs: np.ndarray, side: int | None = None) -> Tensor:
    """What the head sees of each image, brought to ``side`` pixels, ``(n, D)`` float32 on the CPU."""
    seen: list[Tensor] = []
    device, change, generator = next(model.parameters()).device, Changes(side=side), torch.Generator()
    hook = model.get_submodule("head").register_forward_pre_hook(lambda _, args: seen.append(args[0].cpu()))
    try:
        with evaluation(model):
            for batch in torch.from_numpy(inputs).split(_BATCH):
                model(change(prepare(batch.to(device)), generator))
    finally:
        hook.remove()
    return torch.cat(seen).float()


def _accuracy(weight: Tensor, bias: Tensor, features: Tensor, labels: np.ndarray) -> float:
    with torch.no_grad():
        predicted = nn.functional.linear(features, weight.cpu(), bias.cpu()).argmax(1)
    return float((predicted.numpy() == labels).mean())
