"""A default model, trained on a dataset: its weights and the record of its training are kept in a folder."""

from __future__ import annotations

import torch
from torch import nn

from swaypoint.data.dataset import Dataset
from swaypoint.data.tensors import write_tensors
from swaypoint.errors import InputError
from swaypoint.folder.tensors import read_tensors
from swaypoint.models.airbench import Airbench
from swaypoint.models.loop import Plan, SplitData, said, seconds_of, train
from swaypoint.models.predictor import Rows, Training
from swaypoint.models.recipes import RECIPES, Recipe, build
from swaypoint.models.trajectory import Trajectory
from swaypoint.models.yours import load_weights
from swaypoint.scoring.regression import constant
from swaypoint.scoring.risks.losses import Loss
from swaypoint.scoring.trained_model import Course

_LONG = 10.0  # seconds from which on a training of rows is announced


def trained(
    name: str, dataset: Dataset, parts: Rows, epochs: int | None, loss: Loss, training: Training
) -> tuple[Recipe, nn.Module, Course | None]:
    """The recipe ``name``, its model trained on ``parts``, or read where ``training.folder`` has it, and the
    record of its training.

    Raises:
        InputError: epochs are no positive number, or the folder's files are not what such a training writes.
    """
    recipe, inputs = RECIPES[name], torch.from_numpy(dataset.inputs)
    model = build(recipe, inputs[parts.train], max(len(dataset.classes), 1), seed=training.seed)
    saved = training.folder / "model.safetensors"
    if not saved.exists():
        _train(model, inputs, dataset, parts, recipe, training, loss, epochs)
    load_weights(model, saved, remedy="remove it, and run the same command again")
    axes = {"margins": "ne", "losses": "ne", "probabilities": "nc?", "whole": "nc?"}
    recorded = read_tensors(training.folder / "course.safetensors", axes, n=len(parts.train))
    return recipe, model, Course(**recorded) if recorded else None


def _train(
    model: nn.Module,
    inputs: torch.Tensor,
    dataset: Dataset,
    parts: Rows,
    recipe: Recipe,
    training: Training,
    loss: Loss,
    epochs: int | None,
) -> None:
    split = SplitData(
        inputs,
        torch.from_numpy(dataset.labels),
        torch.from_numpy(parts.train),
        torch.from_numpy(parts.validation),
    )
    recipe = recipe.adapted(inputs[split.train], split.targets[split.train])
    if isinstance(model, Airbench):
        model.mirrored.fill_(recipe.mirror)
    epochs = recipe.epochs if epochs is None else epochs
    if epochs < 1:
        raise InputError(f"epochs is {epochs}; expected at least 1")
    if not dataset.classes:  # from the best constant on: targets far from zero would take epochs to reach
        start = constant(loss, dataset.labels[parts.train])
        torch.nn.init.constant_(model.get_submodule("head").bias, start)  # type: ignore[arg-type]
    device = "gpu" if "cuda" in training.device else "cpu"
    plan = Plan(epochs, training.seed, training.folder, device, loss)
    if training.note is not None and dataset.kind == "images":
        side = " × ".join(map(str, dataset.inputs.shape[1:3]))
        lasts = ""
        if device == "cpu":
            lasts = f": {said(training.times * seconds_of(model, split, recipe, plan))}"
        about = f"{recipe.name} on {len(parts.train):,} images of {side} pixels, {epochs} epochs"
        about += f", {training.times} times" if training.times > 1 else ""
        training.note(f"training {about}{lasts}")
    elif training.note is not None and (seconds := seconds_of(model, split, recipe, plan)) >= _LONG:
        training.note(f"training {recipe.name} of rows, {epochs} epochs: {said(seconds)} on a CPU")
    classes = len(dataset.classes)
    watches = [Trajectory("head", len(dataset), epochs, classes)] if classes else []
    train(model, split, recipe, plan, report=training.report, watches=watches)
    for watch in watches:
        course = {name: values[parts.train] for name, values in watch.course().items()}
        write_tensors(training.folder / "course.safetensors", course)
    write_tensors(training.folder / "model.safetensors", model.state_dict())
