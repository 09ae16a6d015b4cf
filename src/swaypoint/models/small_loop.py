"""Training of a small model: the recipe of :mod:`~swaypoint.models.lightning_loop`, step by step the same,
without the seconds that importing Lightning takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from swaypoint.errors import reading
from swaypoint.folder.writing import replace_file
from swaypoint.models.cycled_adam import CycledAdam
from swaypoint.models.loop import (
    Plan,
    Progress,
    SplitData,
    Watch,
    loss_of,
    multiplied,
    optimiser,
    penalty,
    steps_of,
    training_batches,
    validation_batches,
    validation_of,
)
from swaypoint.models.recipes import Recipe

_KEPT = 1.0
"""Seconds of training that an interruption may cost: to write the state takes longer than an epoch."""


def train_small(
    model: nn.Module,
    split: SplitData,
    recipe: Recipe,
    plan: Plan,
    *,
    report: Progress | None = None,
    watches: Sequence[Watch] = (),
) -> nn.Module:
    """As :func:`~swaypoint.models.loop.train`; inputs (n, D)."""
    device = torch.device("cuda" if plan.device in ("gpu", "cuda") else "cpu")
    if plan.device == "auto" and torch.cuda.is_available():
        device = torch.device("cuda")
    model = model.to(device)
    steps = _steps(model, split, recipe, plan)
    state: dict[str, Any] = {"model": model, "steps": steps}
    state |= {f"watch {number}": watch for number, watch in enumerate(watches)}
    halved = multiplied(recipe, device.type)
    first = _resumed(plan, state)
    for watch in watches:
        watch.start(model)
    kept_at = time.monotonic()
    try:
        for epoch in range(first, plan.epochs):
            model.train()
            seen = total = 0.0
            for inputs, targets, rows in training_batches(split, recipe, plan, epoch):
                for watch in watches:
                    watch.before_step(steps.rate)
                targets = targets.to(device)
                with halved:
                    output = model(inputs.to(device))
                loss = loss_of(output.float(), targets, plan.loss)
                steps.zero_grad()
                penalty(model, recipe, loss).backward()  # type: ignore[no-untyped-call]
                steps.step()
                for watch in watches:
                    watch.after_step(targets, rows, epoch)
                total, seen = total + float(loss.detach()) * len(rows), seen + len(rows)
            measured = _validated(model, split, recipe, plan, epoch, device)
            due = epoch + 1 == plan.epochs or time.monotonic() - kept_at > _KEPT
            if due:
                _keep(plan, state, epoch + 1)
                kept_at = time.monotonic()
            if report is not None:
                try:
                    report(epoch + 1, plan.epochs, total / seen, measured)
                except BaseException:  # no step has been taken since the epoch's end
                    if not due:
                        _keep(plan, state, epoch + 1)
                    raise
    finally:
        for watch in watches:
            watch.stop()
    return model.cpu().eval()


class _TorchSteps:
    """An optimiser of torch and its schedule, with the methods of :class:`CycledAdam`."""

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        self._optimizer, self._schedule = optimizer, schedule

    @property
    def rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])

    def zero_grad(self) -> None:
        self._optimizer.zero_grad()

    def step(self) -> None:
        self._optimizer.step()
        self._schedule.step()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self._optimizer.state_dict(), "schedule": self._schedule.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(state_dict["optimizer"])
        self._schedule.load_state_dict(state_dict["schedule"])


def _steps(model: nn.Module, split: SplitData, recipe: Recipe, plan: Plan) -> CycledAdam | _TorchSteps:
    if (recipe.optimizer, recipe.schedule) == ("adam", "cycle"):
        return CycledAdam(model, recipe, steps_of(split, recipe, plan))
    return _TorchSteps(*optimiser(model, recipe, split, plan))


def _keep(plan: Plan, state: dict[str, Any], epochs: int) -> None:
    kept = {"epochs": epochs} | {name: part.state_dict() for name, part in state.items()}
    replace_file(plan.folder / "last.ckpt", partial(torch.save, kept))


def _resumed(plan: Plan, state: dict[str, Any]) -> int:
    """The epoch to go on with; ``state`` is loaded where an interrupted training has left its own."""
    checkpoint = plan.folder / "last.ckpt"
    if not checkpoint.exists():
        return 0
    with reading(checkpoint, "the checkpoint of a training", "remove it, and run the same command again"):
        kept = torch.load(checkpoint, weights_only=True)
        if "steps" not in kept:  # Lightning's, of an earlier version
            return 0
        for name, part in state.items():
            part.load_state_dict(kept[name])
        return int(kept["epochs"])


def _validated(
    model: nn.Module, split: SplitData, recipe: Recipe, plan: Plan, epoch: int, device: torch.device
) -> float:
    if not len(split.validation):
        return float("nan")
    model.eval()
    total = 0.0
    with torch.no_grad():
        for inputs, targets, _ in validation_batches(split, recipe, plan, epoch):
            value = validation_of(model(inputs.to(device)), targets.to(device), plan.loss)
            total += float(value) * len(targets)
    return total / len(split.validation)
