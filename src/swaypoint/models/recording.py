"""Cook's distance while a model trains: which points sway it early, which late."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from swaypoint.data.tensors import write_tensors
from swaypoint.errors import InputError, reading
from swaypoint.folder.documents import read_parquet
from swaypoint.folder.writing import write_table
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.risks.model import Ridge
from swaypoint.scoring.trained_model import Checkpoint, TrainedModel

_REMEDY = "remove it, or record again"
SUMMARY = ("influence/loss", "influence/effective_points", "influence/first_percent")
"""The points' mean loss; (sum I)^2 / sum I^2 of their Cook's distances I, how many points share the
influence; the share of it that the first hundredth of them has."""


class InfluenceRecorder:
    """Records every training point's last-layer influence at chosen epochs, one parquet file each.

    For a plain loop::

        recorder = InfluenceRecorder(data, "influence", epochs=range(0, 100, 10))
        for epoch in range(100):
            ...
            recorder(model, epoch, rate=scheduler.get_last_lr()[0])

    A record costs one forward pass over ``data`` and the closed form; memory does not grow with the
    number of epochs. Columns, in dataset order: ``index``, ``cook`` (g^T H^-1 g), ``loss``, ``tracin``
    (rate ||g||^2, the summand of TracIn's self-influence; Pruthi et al., 2020).

    Args:
        data: the training data without augmentation, as for :func:`swaypoint.cooks_distance`.
        folder: for the records; one of the same epoch is written anew, those of others stay.
        epochs: when to record; None: always.
        loss, layer, l2: see :func:`swaypoint.cooks_distance`.
        keep_weights: also keep the model's weights, for :meth:`checkpoints`.

    Attributes:
        overhead: share of the time since the recorder was made that was spent recording.
    """

    def __init__(
        self,
        data: Any,
        folder: str | Path,
        *,
        epochs: Iterable[int] | None = None,
        loss: str | Callable[..., Any] = "cross_entropy",
        layer: str | None = None,
        l2: Ridge = 0.0,
        keep_weights: bool = False,
    ) -> None:
        self._data, self._folder = data, Path(folder)
        self._epochs = None if epochs is None else frozenset(epochs)
        self._trained = partial(TrainedModel, data=data, loss=loss, layer=layer, l2=l2)
        self._keep_weights = keep_weights
        self._start, self._spent = time.perf_counter(), 0.0
        self._folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, model: nn.Module, epoch: int, *, rate: float = 1.0) -> dict[str, float] | None:
        """Record ``model`` after ``epoch`` if it is one of those chosen; it is left as it was.

        Args:
            rate: the learning rate, TracIn's factor.

        Returns:
            For a logger, of the record: :data:`SUMMARY`; None where nothing was recorded.

        Raises:
            InputError: the model or the data cannot be scored.
        """
        if self._epochs is not None and epoch not in self._epochs:
            return None
        start = time.perf_counter()
        trained = self._trained(model)
        influence = Influence(trained.head.weights, trained.head.batches(self._data))
        scores = influence.scores(leave_one_out=False)
        squares = influence.risk.map(Chunk.squared_gradients)
        table = pa.table(
            {
                "index": np.arange(len(scores.cook)),
                "cook": scores.cook,
                "loss": scores.loss,
                "tracin": rate * torch.cat(list(squares)).cpu().numpy(),
            }
        )
        if self._keep_weights:
            weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            write_tensors(self._path(epoch, "safetensors"), weights)
        write_table(self._path(epoch, "parquet"), table.replace_schema_metadata({"rate": repr(rate)}))
        self._spent += time.perf_counter() - start
        return dict(zip(SUMMARY, _summary(scores.cook, scores.loss), strict=True))

    @property
    def overhead(self) -> float:
        return self._spent / (time.perf_counter() - self._start)

    def _path(self, epoch: int, suffix: str) -> Path:
        return self._folder / f"epoch-{epoch:05d}.{suffix}"

    def table(self) -> pa.Table:
        """All records of the folder, one below the other, with a column ``epoch``.

        Raises:
            InputError: there is none, or one is damaged.
        """
        parts = []
        for path in self._records():
            part = read_parquet(path, _REMEDY)
            with reading(path, "an epoch's record", _REMEDY):
                epoch = np.full(len(part), int(path.stem.removeprefix("epoch-")))
            parts.append(part.replace_schema_metadata().add_column(0, "epoch", pa.array(epoch)))
        return pa.concat_tables(parts)

    def checkpoints(self) -> list[Checkpoint]:
        """The kept weights with their rates, in order, for TracIn over any parameters.

        Raises:
            InputError: none were kept, or they are damaged.
        """
        from safetensors.torch import load_file

        found = []
        for path in self._records():
            weights = path.with_suffix(".safetensors")
            if not weights.exists():
                raise InputError(f"{weights} is missing; record with keep_weights=True")
            with reading(weights, "a checkpoint", _REMEDY):
                rate = float(pq.read_schema(path).metadata[b"rate"])
                found.append(Checkpoint(load_file(weights), rate))
        return found

    def _records(self) -> list[Path]:
        paths = sorted(self._folder.glob("epoch-*.parquet"))
        if not paths:
            raise InputError(f"there are no records in {self._folder}; call the recorder during training")
        return paths


def _summary(cook: np.ndarray, loss: np.ndarray) -> tuple[float, float, float]:
    total = max(float(cook.sum()), 1e-300)
    first = np.sort(cook)[::-1][: max(1, round(len(cook) / 100))]
    effective = total**2 / max(float(np.square(cook).sum()), 1e-300)
    return float(loss.mean()), effective, float(first.sum()) / total
