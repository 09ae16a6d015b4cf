"""Training of a default model: Lightning, seeded, resumable after every epoch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from swaypoint.folder.writing import replace_file
from swaypoint.models.recipes import Recipe
from swaypoint.scoring.risks.losses import Loss, SquaredError

Progress = Callable[[int, int, float, float], None]
"""(epoch, epochs, training loss, validation accuracy or loss) after each epoch."""


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
    """What happens to a batch of images (b, 3, H, W): shifted by up to an eighth of the side, edges
    repeated; mirrored with chance a half; brought to ``side`` pixels."""

    shift: bool = False
    mirror: bool = False
    side: int | None = None

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        b, _, height, width = images.shape
        device = images.device
        rows, columns = torch.arange(height).expand(b, -1), torch.arange(width).expand(b, -1)
        if self.mirror:
            turned = torch.rand(b, 1, generator=generator) < 0.5
            columns = torch.where(turned, width - 1 - columns, columns)
        if self.shift:
            pad = max(1, height // 8)
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


class Classifier(lightning.LightningModule):
    """A model, its loss and its optimiser, as Lightning takes them."""

    def __init__(self, model: nn.Module, recipe: Recipe, *, steps: int, regression: Loss | None) -> None:
        super().__init__()
        self.model, self._recipe, self._steps, self._regression = model, recipe, steps, regression

    def _loss(self, output: Tensor, targets: Tensor) -> Tensor:
        if self._regression is None:
            return F.cross_entropy(output, targets)
        return self._regression.terms(output, targets.float().view(-1, 1)).value.mean()

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> Tensor:
        inputs, targets, _rows = batch
        loss = self._loss(self.model(inputs), targets)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        return loss if self._recipe.elastic is None else loss + self._recipe.elastic.penalty(self.model)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> None:
        inputs, targets, _rows = batch
        output = self.model(inputs)
        if self._regression is None:
            value = (output.argmax(1) == targets).float().mean()
        else:
            value = self._loss(output, targets)
        self.log("validation", value, batch_size=len(targets))

    def configure_optimizers(self) -> Any:
        # Norms and biases are not decayed; the head is a linear layer like any other.
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        rest = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self._recipe.decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        optimizer: torch.optim.Optimizer
        if self._recipe.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, lr=self._recipe.rate, momentum=0.9, nesterov=True)
        elif self._recipe.optimizer == "adam":
            optimizer = torch.optim.Adam(groups, lr=self._recipe.rate)
        else:
            optimizer = torch.optim.AdamW(groups, lr=self._recipe.rate)
        schedule = _schedule(optimizer, self._recipe, self._steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    if recipe.schedule == "cycle":
        return lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    if recipe.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, steps)
    if recipe.schedule == "step":
        return lr_scheduler.MultiStepLR(optimizer, [steps // 2, 3 * steps // 4])
    return lr_scheduler.ConstantLR(optimizer, 1.0)


class Parts(lightning.LightningDataModule):
    """The training part, reshuffled for every epoch, and the validation part in order."""

    def __init__(self, split: SplitData, recipe: Recipe, seed: int) -> None:
        super().__init__()
        self._split, self._recipe, self._seed = split, recipe, seed

    def train_dataloader(self) -> Batches:
        assert self.trainer is not None
        seed = 1_000_003 * self._seed + self.trainer.current_epoch
        changes = Changes(self._recipe.augment, self._recipe.mirror, self._side())
        return Batches(self._split, self._split.train, self._recipe.batch_size, seed=seed, changes=changes)

    def val_dataloader(self) -> Batches:
        return Batches(
            self._split, self._split.validation, 1024, seed=None, changes=Changes(side=self._side())
        )

    def _side(self) -> int | None:
        assert self.trainer is not None
        assert self.trainer.max_epochs is not None
        return self._recipe.side(self.trainer.current_epoch, self.trainer.max_epochs)


class KeepLast(Callback):
    """The state after each epoch, whole or not at all (Lightning's own checkpoint is copied into place:
    a full disk would leave half of one)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        replace_file(self._path, trainer.save_checkpoint)


class EpochReport(Callback):
    """Tells the caller of each finished epoch."""

    def __init__(self, epochs: int, report: Progress) -> None:
        self._epochs, self._report = epochs, report

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        loss, validation = metrics.get("loss", float("nan")), metrics.get("validation", float("nan"))
        self._report(trainer.current_epoch + 1, self._epochs, loss, validation)


def fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 products are the faster ones; a CPU without them takes 14 times as long."""
    if device in ("gpu", "cuda"):
        return torch.cuda.is_bf16_supported()
    supports: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # of newer torch
    return bool(supports.get("avx512_bf16") or supports.get("amx_bf16"))


def train(
    model: nn.Module,
    split: SplitData,
    recipe: Recipe,
    plan: Plan,
    *,
    report: Progress | None = None,
    callbacks: Sequence[Callback] = (),
) -> nn.Module:
    """Train ``model`` in place; pick up from ``plan.folder / "last.ckpt"`` if it is there.

    Args:
        split: classification when the targets are int64, else regression.
        report: called after each epoch.
        callbacks: Lightning's; a batch is (inputs, targets, rows). What they hold is in the checkpoint.
    """
    images = split.inputs.ndim == 4
    if images:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    regression = plan.loss if split.targets.is_floating_point() else None
    parts = Parts(split, recipe, plan.seed)
    steps = -(-len(split.train) // recipe.batch_size) * plan.epochs
    checkpoint = plan.folder / "last.ckpt"
    reports = [] if report is None else [EpochReport(plan.epochs, report)]
    with _quiet():
        trainer = lightning.Trainer(
            max_epochs=plan.epochs,
            accelerator=plan.device,
            devices=1,
            precision="bf16-mixed" if images and fast_bfloat16(plan.device) else "32-true",
            callbacks=[*callbacks, KeepLast(checkpoint), *reports],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            limit_val_batches=1.0 if len(split.validation) else 0,
        )
        try:
            trainer.fit(
                Classifier(model, recipe, steps=steps, regression=regression),
                datamodule=parts,
                ckpt_path=checkpoint if checkpoint.exists() else None,
                weights_only=True,
            )
        except SystemExit as exit_:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from exit_
    return model.cpu().eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's notes on hardware and workers say nothing to a user of the audit."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
