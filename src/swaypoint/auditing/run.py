"""An audit in the making: what is asked for, who is told, and the folder's manifest as it grows."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swaypoint.auditing.claims import arguments, claim, clear, has_worth
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.scored import Scored
from swaypoint.data.bars import bar
from swaypoint.data.hardware import said_device
from swaypoint.data.tensors import write_tensors
from swaypoint.errors import InputError
from swaypoint.folder.documents import REMEDY, read_parquet
from swaypoint.folder.manifest import Accuracy, AuditedData, AuditedModel, stored
from swaypoint.folder.writing import write_json
from swaypoint.models.predictor import Predictor, pinned
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.risks.head import HeadWeights

VERSION = version("swaypoint")
_FACTOR_BYTES = 512 << 20
_COMPLETE = "complete"


@dataclass(frozen=True)
class Listener:
    """Told of the audit's progress; the default listens to nothing. ``note``: in words, what a long step is
    about to do and how long that takes."""

    stage: Callable[[str], None] = lambda name: None
    records: Callable[[int, int], None] | None = None
    epoch: Callable[[int, int, float, float], None] | None = None
    note: Callable[[str], None] | None = None


@contextmanager
def listening(listener: Listener | None, *, progress: bool) -> Iterator[Listener]:
    """``listener``, or without one who shows a bar if there is to be ``progress``."""
    if listener is not None or not progress:
        yield listener or Listener()
        return
    with bar() as told:
        stage = ""

        def begun(name: str) -> None:
            nonlocal stage
            stage = name
            told(name, 0, 0)

        yield Listener(
            stage=begun,
            records=lambda done, total: told(stage, done, total),
            epoch=lambda done, total, loss, _: told(f"{stage}, loss {loss:.3f}, epoch", done, total),
        )


class AuditRun:
    """One audit folder in the making: its manifest tells at every moment how far it got.

    Attributes:
        known: scores by name that a finished audit of the same has already, in dataset order.
    """

    def __init__(self, path: Path, listener: Listener) -> None:
        self.path, self.listener = path, listener
        self._manifest: dict[str, Any] = {"timings": {}}
        self._begun = self._made = self._extends = False
        self.known: dict[str, np.ndarray] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell that ``name`` begins, and keep the seconds it takes; after :meth:`finish` the audit stays
        complete, whatever becomes of the stage."""
        self.listener.stage(name)
        finished = self._manifest.get("status") == _COMPLETE
        if not finished:
            self._manifest["status"] = name
        if self._begun and not finished and (not self._extends or name == "explaining"):
            self._write()
        start = time.perf_counter()
        yield
        self._manifest["timings"][name] = round(time.perf_counter() - start, 3)
        if finished:
            self._write()

    def begin(self, data: AuditedData, options: AuditOptions, *, force: bool = False) -> AuditOptions | None:
        """Open the folder; the options to work with, or None if it already holds this very audit, complete.

        A finished audit that lacks scores or has another top stays as it is until the new ones are there.

        Args:
            data: what is audited, for the manifest; its ``fingerprint`` tells it from other data.
            force: overwrite another audit.

        Raises:
            InputError: it holds another audit.
        """
        found = claim(self.path, data, options, force=force)
        if found.standing == "finished":
            return None
        self._made, self._extends = not self.path.exists(), found.standing == "extended"
        self.key, options = found.key, found.options
        if self._extends:
            self.known = _known(self.path / "scores.parquet", options.scores)
        self.path.mkdir(parents=True, exist_ok=True)
        self._manifest |= {
            "swaypoint": VERSION,
            "key": self.key,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "data": stored(data),
            "arguments": arguments(options),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
            "device": said_device(options.device),
        }
        self._begun = True
        return options

    @contextmanager
    def at_stake(self) -> Iterator[None]:
        """A run that ends by an error within leaves no claim to the folder: nothing, where nothing is of
        worth, else what the next command may take or overwrite. One that is interrupted is resumed."""
        try:
            yield
        except Exception:
            with suppress(OSError, InputError):  # of the disk that is full already
                self._give_up()
            raise

    def _give_up(self) -> None:
        if not self._begun or (self._extends and self._manifest["status"] != "explaining"):
            return
        if has_worth(self.path):
            self._manifest["failed"] = True
            self._write()
            return
        clear(self.path)
        if self._made:
            self.path.rmdir()

    def record(self, **entries: Any) -> None:
        """Parts of the manifest, see :class:`~swaypoint.folder.manifest.Manifest`."""
        self._manifest |= {name: stored(entry) for name, entry in entries.items()}

    def write_factor(self, solution: HeadSolution) -> None:
        """``head.safetensors``, and where there is one that fits ``factor.safetensors``."""
        write_tensors(self.path / "head.safetensors", head_tensors(solution.head))
        factor = solution.factor()
        if factor is not None and factor["inverse"].nbytes <= _FACTOR_BYTES:
            write_tensors(self.path / "factor.safetensors", factor)

    def finish(self) -> None:
        self._manifest["status"] = _COMPLETE
        self._write()

    def _write(self) -> None:
        write_json(self.path / "manifest.json", self._manifest)


def _known(file: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    table = read_parquet(file, REMEDY)
    return {name: table[name].to_numpy() for name in names if name in table.column_names}


def describe_model(predictor: Predictor, scored: Scored, options: AuditOptions) -> AuditedModel:
    """The manifest's entry on the model."""
    head = scored.head
    return AuditedModel(
        name=predictor.name if len(options.model.each()) == 1 else pinned(options.model),
        hash=predictor.hash,
        layer=predictor.head.layer,
        outputs=head.outputs,
        features=head.weight.shape[1],
        loss=head.loss.name,
        l2=head.l2,
        damping=options.damping,
        accuracy=Accuracy(*scored.accuracy, scored.accuracies),
        params=options.params,
        curvature=options.curvature,
        removal=options.removal,
        refit=scored.refit,
        regression=scored.regression,
        folds=scored.folds,
    )


def head_tensors(head: HeadWeights) -> dict[str, Tensor]:
    """As ``head.safetensors`` has them."""
    return {"weight": head.weight.detach(), **({} if head.bias is None else {"bias": head.bias.detach()})}


def head_key(head: HeadWeights) -> str:
    """Of its weights."""
    return hashlib.sha256(head.matrix.numpy().tobytes()).hexdigest()
