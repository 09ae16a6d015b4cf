"""Records during a Lightning training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import nn

from swaypoint.models.recording import InfluenceRecorder


class InfluenceCallback(Callback):
    """An :class:`InfluenceRecorder` for a Lightning ``Trainer``, after each training epoch; what it returns
    goes to the ``Trainer``'s loggers, whichever these are.

    Args:
        recorder: where the records go.
        model: picks the network out of the LightningModule; default: the module itself.
    """

    def __init__(
        self, recorder: InfluenceRecorder, model: Callable[[Any], nn.Module] = lambda module: module
    ) -> None:
        self._recorder, self._model, self._rate = recorder, model, 1.0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        # At the end of the epoch the scheduler has already set the next one's.
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        found = self._recorder(self._model(pl_module), trainer.current_epoch, rate=self._rate)
        for logger in trainer.loggers if found is not None else ():
            logger.log_metrics(found, step=trainer.global_step)
