"""Training of a default model, seeded, resumable after every epoch.

Tables are trained by a loop of a few lines, pictures by Lightning, whose import alone takes longer than a
table.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from swaypoint.data.hardware import fast_bfloat16
from swaypoint.errors import require
from swaypoint.models.muon import Muon
from swaypoint.models.recipes import Recipe
from swaypoint.scoring.risks.losses import Loss, SquaredError

Progress = Callable[[int, int, float, float], None]
"""(epoch, epochs, training loss, validation accuracy or loss) after each epoch."""


class Watch(Protocol):
    """Follows a training, step by step; what it holds is in the checkpoint."""

    def start(self, model: nn.Module) -> None: ...

    def before_step(self, rate: float) -> None:
        """Before the model sees a batch, at the learning rate of that step."""

    def after_step(self, targets: Tensor, rows: Tensor, epoch: int) -> None:
        """After the step on the points ``rows`` (b,) with ``targets`` (b,), in ``epoch`` (from 0)."""

    def stop(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class SplitData:
    """Inputs, targets and the rows of each part; inputs (n, D) float32 or (n, H, W, 3) uint8."""

    inputs: Tensor
    targets: Tensor
    train: Tensor
    validation: Tensor


@dataclass(frozen=True)
class Plan:
    """Epochs, seed, device and where the checkpoint of an interrupted training lies; ``loss`` is that of a
    regression."""

    epochs: int
    seed: int
    folder: Path
    device: str = "auto"
    loss: Loss = field(default_factory=SquaredError)


def prepare(inputs: Tensor) -> Tensor:
    """A batch as the default models take it: images (b, 3, H, W) float in 0..1, rows as float."""
    if inputs.ndim == 4:
        return inputs.permute(0, 3, 1, 2).float() / 255
    return inputs.float()


class Batches:
    """Shuffled (or ordered) batches of a part, (inputs, targets, rows); the order depends on seed and epoch
    alone, so that a resumed training sees what an uninterrupted one would. Where the split lies on a GPU,
    so does all the work."""

    def __init__(
        self, split: SplitData, rows: Tensor, size: int, *, seed: int | None, changes: Changes | None = None
    ) -> None:
        self._split, self._rows, self._size = split, rows, size
        self._seed, self._changes = seed, changes or Changes()

    def __len__(self) -> int:
        return -(-len(self._rows) // self._size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        order, generator = self._rows, torch.Generator()
        if self._seed is not None:
            generator.manual_seed(self._seed)
            order = order[torch.randperm(len(order), generator=generator)]
        for rows in order.split(self._size):
            inputs = prepare(self._split.inputs[rows])
            if inputs.ndim == 4:
                inputs = self._changes(inputs, generator)
            yield inputs, self._split.targets[rows], rows


@dataclass(frozen=True)
class Changes:
    """What happens to a batch of images (b, 3, H, W): shifted by up to an eighth of the side (one ``part`` of
    it), edges repeated; mirrored with chance a half; brought to ``side`` pixels."""

    shift: bool = False
    mirror: bool = False
    side: int | None = None
    part: int = 8

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        b, _, height, width = images.shape
        device = images.device
        rows, columns = torch.arange(height).expand(b, -1), torch.arange(width).expand(b, -1)
        if self.mirror:
            turned = torch.rand(b, 1, generator=generator) < 0.5
            columns = torch.where(turned, width - 1 - columns, columns)
        if self.shift:
            pad = max(1, height // self.part)
            images = F.pad(images, (pad, pad, pad, pad), mode="replicate")
            dy, dx = torch.randint(0, 2 * pad + 1, (2, b, 1), generator=generator)
            rows, columns = rows + dy, columns + dx
        if self.shift or self.mirror:
            batch = torch.arange(b, device=device)[:, None, None]
            rows, columns = rows.to(device), columns.to(device)
            images = images.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
            images = images.permute(0, 3, 1, 2)
        if self.side is not None and self.side < height:
            images = F.interpolate(images, size=(self.side, self.side), mode="bilinear", antialias=True)
        return images


def training_batches(split: SplitData, recipe: Recipe, plan: Plan, epoch: int) -> Batches:
    """The training part, reshuffled for every epoch (from 0)."""
    changes = Changes(recipe.augment, recipe.mirror, recipe.side(epoch, plan.epochs))
    if recipe.tuning is not None:
        changes = replace(changes, part=recipe.tuning.shift)
    seed = 1_000_003 * plan.seed + epoch
    return Batches(split, split.train, recipe.batch_size, seed=seed, changes=changes)


def validation_batches(split: SplitData, recipe: Recipe, plan: Plan, epoch: int) -> Batches:
    """The validation part, in order."""
    side = Changes(side=recipe.side(epoch, plan.epochs))
    return Batches(split, split.validation, 1024, seed=None, changes=side)


def loss_of(output: Tensor, targets: Tensor, regression: Loss) -> Tensor:
    """The mean loss that is trained by: cross-entropy of classes, ``regression`` of real values."""
    if not targets.is_floating_point():
        return F.cross_entropy(output, targets)
    return regression.terms(output, targets.float().view(-1, 1)).value.mean()


def penalty(model: nn.Module, recipe: Recipe, loss: Tensor) -> Tensor:
    """``loss`` and the recipe's further penalty."""
    return loss if recipe.elastic is None else loss + recipe.elastic.penalty(model)


def validation_of(output: Tensor, targets: Tensor, regression: Loss) -> Tensor:
    """What is reported of a batch held out: the accuracy, or the loss of real values."""
    if targets.is_floating_point():
        return loss_of(output, targets, regression)
    return (output.argmax(1) == targets).float().mean()


def optimiser(
    model: nn.Module, recipe: Recipe, split: SplitData, plan: Plan
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """The optimiser, and the schedule that is stepped after each of its steps."""
    found: torch.optim.Optimizer
    if recipe.optimizer == "muon":
        dtype = torch.bfloat16 if in_bfloat16(recipe, plan.device) else torch.float32
        found = Muon(model, recipe.rate, recipe.decay, dtype)
        return found, _schedule(found, recipe, steps_of(split, recipe, plan))
    if recipe.tuning is not None:
        groups = recipe.tuning.groups(model, recipe.rate, recipe.decay)
    else:  # Norms and biases are not decayed; the head is a linear layer like any other.
        decayed = [p for p in model.parameters() if p.ndim > 1]
        rest = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.decay}, {"params": rest, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        found = torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9, nesterov=True)
    elif recipe.optimizer == "adam":
        found = torch.optim.Adam(groups, lr=recipe.rate)
    else:
        found = torch.optim.AdamW(groups, lr=recipe.rate)
    return found, _schedule(found, recipe, steps_of(split, recipe, plan))


def in_bfloat16(recipe: Recipe, device: str) -> bool:
    """Whether a training multiplies in bfloat16: the recipe allows that, and it is faster."""
    return recipe.mixed and fast_bfloat16(device)


def multiplied(recipe: Recipe, device: str) -> AbstractContextManager[Any]:
    """Within it, as often as one likes, a training multiplies as :func:`in_bfloat16` says."""
    if not in_bfloat16(recipe, device):
        return nullcontext()
    return torch.autocast("cpu" if device == "cpu" else "cuda", torch.bfloat16)


def steps_of(split: SplitData, recipe: Recipe, plan: Plan) -> int:
    """How many steps the whole training takes."""
    return -(-len(split.train) // recipe.batch_size) * plan.epochs


def seconds_of(model: nn.Module, split: SplitData, recipe: Recipe, plan: Plan) -> float:
    """How long the whole training takes on a CPU: of each side that the images are brought to a copy takes
    two small steps, of which the second is timed. Points held out are only looked at, a third of the work."""
    trial = copy.deepcopy(model).train()
    spent: dict[int | None, float] = {}
    seen = len(split.train) + len(split.validation) / 3
    small = replace(recipe, batch_size=min(recipe.batch_size, _TRIED))
    with torch.random.fork_rng(devices=[]):
        for epoch in range(plan.epochs):
            side = recipe.side(epoch, plan.epochs)
            if side in spent:
                continue
            for inputs, targets, _ in islice(training_batches(split, small, plan, epoch), 2):
                start = time.perf_counter()
                with multiplied(recipe, "cpu"):
                    output = trial(inputs)
                penalty(trial, recipe, loss_of(output.float(), targets, plan.loss)).backward()  # type: ignore[no-untyped-call]
                spent[side] = (time.perf_counter() - start) / len(targets)
    return seen * sum(spent[recipe.side(epoch, plan.epochs)] for epoch in range(plan.epochs))


_TRIED = 128
"""Images of a step that is timed."""


def said(seconds: float) -> str:
    """A duration as one says it.

    >>> said(3.2), said(80), said(5400), said(30000)
    ('a few seconds', 'about 80 seconds', 'about 90 minutes', 'about 8 hours')
    """
    if seconds < 10:
        return "a few seconds"
    for unit, size in (("seconds", 1), ("minutes", 60)):
        if seconds < 120 * size:
            return f"about {round(seconds / size)} {unit}"
    return f"about {round(seconds / 3600)} hours"


_TOP, _LOW = 0.23, 0.2


def _schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    if recipe.schedule == "cycle":
        return lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    if recipe.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, steps)
    if recipe.schedule == "step":
        return lr_scheduler.MultiStepLR(optimizer, [steps // 2, 3 * steps // 4])
    if recipe.schedule == "triangle":
        top = _TOP * steps
        return lr_scheduler.LambdaLR(
            optimizer,
            lambda done: _LOW + (1 - _LOW) * done / top if done < top else (steps - done) / (steps - top),
        )
    return lr_scheduler.ConstantLR(optimizer, 1.0)


def train(
    model: nn.Module,
    split: SplitData,
    recipe: Recipe,
    plan: Plan,
    *,
    report: Progress | None = None,
    watches: Sequence[Watch] = (),
    callbacks: Sequence[Any] = (),
) -> nn.Module:
    """Train ``model`` in place; pick up from ``plan.folder / "last.ckpt"`` if it is there.

    Args:
        split: classification when the targets are int64, else regression.
        report: called after each epoch.
        callbacks: Lightning's, which then trains tables too; a batch is (inputs, targets, rows).

    Raises:
        MissingExtra: Lightning is not installed, and is needed.
    """
    if split.inputs.ndim == 2 and not callbacks:
        from swaypoint.models.small_loop import train_small

        return train_small(model, split, recipe, plan, report=report, watches=watches)
    require("lightning", "train")
    from swaypoint.models.lightning_loop import train_by_lightning

    return train_by_lightning(model, split, recipe, plan, report=report, watches=watches, callbacks=callbacks)
