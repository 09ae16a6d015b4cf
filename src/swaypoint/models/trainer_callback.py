"""Records during a training by transformers' ``Trainer``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import TrainerCallback

from swaypoint.models.recording import InfluenceRecorder


class InfluenceTrainerCallback(TrainerCallback):  # type: ignore[misc]  # transformers is typed only in part
    """An :class:`InfluenceRecorder` for transformers' ``Trainer``, after each training epoch.

    Args:
        recorder: where the records go; its data are those that the ``Trainer`` trains on.
        log: told of each record's summary: ``trainer.log``, and it is where ``report_to`` says.
        model: picks the network out of the ``Trainer``'s; default: itself.
    """

    def __init__(
        self,
        recorder: InfluenceRecorder,
        log: Callable[[dict[str, float]], Any] | None = None,
        model: Callable[[Any], nn.Module] = lambda module: module,
    ) -> None:
        self._recorder, self._log, self._model, self._rate = recorder, log, model, 1.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # At the end of the epoch the scheduler has already set the next step's.
        self._rate = kwargs["optimizer"].param_groups[0]["lr"]

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        found = self._recorder(self._model(kwargs["model"]), round(state.epoch) - 1, rate=self._rate)
        if found is not None and self._log is not None:
            self._log(found)
