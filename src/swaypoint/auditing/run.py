"""An audit in the making: what is asked for, who is told, and the folder's manifest as it grows."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.scored import Scored
from swaypoint.data.tensors import write_tensors
from swaypoint.errors import InputError
from swaypoint.folder.documents import read_json
from swaypoint.folder.manifest import Accuracy, AuditedData, AuditedModel, stored
from swaypoint.folder.writing import write_json
from swaypoint.models.predictor import Predictor
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.risks.head import HeadWeights

VERSION = version("swaypoint")
_FACTOR_BYTES = 512 << 20


@dataclass(frozen=True)
class Listener:
    """Told of the audit's progress; the default listens to nothing."""

    stage: Callable[[str], None] = lambda name: None
    records: Callable[[int, int], None] | None = None
    epoch: Callable[[int, int, float, float], None] | None = None


class AuditRun:
    """One audit folder in the making: its manifest tells at every moment how far it got."""

    def __init__(self, path: Path, listener: Listener) -> None:
        self.path, self.listener = path, listener
        self._manifest: dict[str, Any] = {"timings": {}}
        self._begun = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.listener.stage(name)
        self._manifest["status"] = name
        if self._begun:
            self._write()
        start = time.perf_counter()
        yield
        self._manifest["timings"][name] = round(time.perf_counter() - start, 3)

    def begin(self, data: AuditedData, options: AuditOptions) -> bool:
        """Open the folder; True if it already holds this very audit, complete.

        Args:
            data: what is audited, for the manifest; its ``fingerprint`` tells it from other data.

        Raises:
            InputError: it holds another audit.
        """
        arguments = json.loads(json.dumps(asdict(options), default=str))
        weights = options.model.weights
        content = hashlib.sha256(weights.read_bytes()).hexdigest() if weights and weights.is_file() else ""
        entries = [data.fingerprint, arguments, content]
        self.key = key = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
        previous = self.path / "manifest.json"
        if previous.exists():
            manifest = read_json(previous, {}, f"choose another --out, or remove {self.path}")
            if manifest.get("key") != key:
                raise InputError(
                    f"{self.path} holds another audit (of {manifest.get('data', {}).get('name')}, or with"
                    " other options, or streamed where this one is not, see --max-memory); choose another"
                    " --out, or remove that folder"
                )
            if manifest.get("status") == "complete":
                return True
        elif self.path.exists() and any(not name.startswith(".") for name in os.listdir(self.path)):
            raise InputError(f"{self.path} is not empty and not an audit; choose another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        self._manifest |= {
            "swaypoint": VERSION,
            "key": key,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "data": stored(data),
            "arguments": arguments,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
        }
        self._begun = True
        return False

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
        self._manifest["status"] = "complete"
        self._write()

    def _write(self) -> None:
        write_json(self.path / "manifest.json", self._manifest)


def describe_model(predictor: Predictor, scored: Scored, options: AuditOptions) -> AuditedModel:
    """The manifest's entry on the model."""
    head = scored.head
    return AuditedModel(
        name=predictor.name,
        hash=predictor.hash,
        layer=predictor.head.layer,
        outputs=head.outputs,
        features=head.weight.shape[1],
        loss=head.loss.name,
        l2=head.l2,
        damping=options.damping,
        accuracy=Accuracy(*scored.accuracy),
        params=options.params,
        curvature=options.curvature,
        removal=options.removal,
        refit=scored.refit,
        regression=scored.regression,
    )


def head_tensors(head: HeadWeights) -> dict[str, Tensor]:
    """As ``head.safetensors`` has them."""
    return {"weight": head.weight.detach(), **({} if head.bias is None else {"bias": head.bias.detach()})}
