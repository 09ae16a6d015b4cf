"""Training of a default model by Lightning."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from swaypoint.folder.writing import replace_file
from swaypoint.models.loop import (
    Batches,
    Plan,
    Progress,
    SplitData,
    Watch,
    in_bfloat16,
    loss_of,
    optimiser,
    penalty,
    training_batches,
    validation_batches,
    validation_of,
)
from swaypoint.models.recipes import Recipe


class Trained(lightning.LightningModule):
    """A model, its loss and its optimiser, as Lightning takes them."""

    def __init__(self, model: nn.Module, split: SplitData, recipe: Recipe, plan: Plan) -> None:
        super().__init__()
        self.model, self._split, self._recipe, self._plan = model, split, recipe, plan

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> Tensor:
        inputs, targets, _rows = batch
        loss = loss_of(self.model(inputs), targets, self._plan.loss)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        return penalty(self.model, self._recipe, loss)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> None:
        inputs, targets, _rows = batch
        value = validation_of(self.model(inputs), targets, self._plan.loss)
        self.log("validation", value, batch_size=len(targets))

    def configure_optimizers(self) -> Any:
        optimizer, schedule = optimiser(self.model, self._recipe, self._split, self._plan)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Parts(lightning.LightningDataModule):
    """The training part, reshuffled for every epoch, and the validation part in order."""

    def __init__(self, split: SplitData, recipe: Recipe, plan: Plan) -> None:
        super().__init__()
        self._of = split, recipe, plan

    def train_dataloader(self) -> Batches:
        assert self.trainer is not None
        return training_batches(*self._of, self.trainer.current_epoch)

    def val_dataloader(self) -> Batches:
        assert self.trainer is not None
        return validation_batches(*self._of, self.trainer.current_epoch)


class Watching(Callback):
    """A :class:`~swaypoint.models.loop.Watch` as Lightning's callback."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    @property
    def state_key(self) -> str:
        return type(self._watch).__qualname__

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._watch.start(pl_module.model)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._watch.stop()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, _: int) -> None:
        # After the batch the scheduler has already set the next one's.
        self._watch.before_step(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, _: int) -> None:
        _inputs, targets, rows = batch
        self._watch.after_step(targets, rows, trainer.current_epoch)

    def state_dict(self) -> dict[str, Any]:
        return self._watch.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._watch.load_state_dict(state_dict)


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


def train_by_lightning(
    model: nn.Module,
    split: SplitData,
    recipe: Recipe,
    plan: Plan,
    *,
    report: Progress | None = None,
    watches: Sequence[Watch] = (),
    callbacks: Sequence[Callback] = (),
) -> nn.Module:
    """As :func:`~swaypoint.models.loop.train`."""
    images = split.inputs.ndim == 4
    if images:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    checkpoint = plan.folder / "last.ckpt"
    reports = [] if report is None else [EpochReport(plan.epochs, report)]
    with _quiet():
        trainer = lightning.Trainer(
            max_epochs=plan.epochs,
            accelerator=plan.device,
            devices=1,
            precision="bf16-mixed" if in_bfloat16(recipe, plan.device) else "32-true",
            callbacks=[*map(Watching, watches), *callbacks, KeepLast(checkpoint), *reports],
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
                Trained(model, split, recipe, plan),
                datamodule=Parts(split, recipe, plan),
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
