"""Features of records by a backbone, kept by content: made once, whichever audit asks for them.

They lie in ``features/`` of :func:`cache_folder`, a folder for each pair of a backbone's fingerprint and the
records' content, a file for each 256 records. One that is there is not made again: a killed extraction
goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from swaypoint.data.folds import Durable, Statistic
from swaypoint.data.folds.in_process import InProcess
from swaypoint.data.hardware import fast_bfloat16
from swaypoint.errors import InputError, reading
from swaypoint.models.pretrained.base import Backbone, Encoder, Records, find

SHARD = 256
"""Records a file."""
_GPU_BATCH = 256
_EVERY = 10.0  # seconds from one word on the rate to the next
_PROBED = 8  # batches from which on an estimate beforehand is worth one of them


@dataclass(frozen=True)
class Told:
    """Who is told of a long extraction: of (records done, of all), and of the rate in words."""

    records: Callable[[int, int], None] | None = None
    note: Callable[[str], None] | None = None


def features(
    backbone: str | Backbone, records: Records, *, device: str = "cpu", told: Told | None = None
) -> np.ndarray:
    """What a pretrained backbone makes of records, from the cache where they are there.

    Args:
        backbone: a name such as ``hf:FOLDER``, or what :func:`~swaypoint.models.pretrained.base.find` gave.
        records: images ``(n, H, W, 3)`` uint8, or n texts, or n sounds ``(T,)`` float32.
        device: ``"cpu"``, where records are worked on side by side, a thread each; or ``"cuda"``, in bfloat16
            where it has that.

    Returns:
        ``(n, D)`` float32, all finite.

    Raises:
        InputError: there is no such backbone, it does not take such records or cannot be loaded, or the cache
            cannot be written.
        MissingExtra: its family's library is not installed.
    """
    found = find(backbone) if isinstance(backbone, str) else backbone
    told = told or Told()
    if not len(records):
        raise InputError(f"{found.name}: there are no records; expected at least one")
    key = _key(found, records, device)
    folder = _made(cache_folder() / "features" / key[:40])
    extract = _Extract(found, records, device)
    shards = [(start, min(start + SHARD, len(records))) for start in range(0, len(records), SHARD)]
    held = len(list(folder.glob("features-*")))
    pace = _Pace(told, len(records), shards, first=min(held * SHARD, len(records)))
    if not held:
        pace.estimate(extract)
    fold = Durable(folder, key, inner=InProcess(device), on_shard=pace.done)
    made = np.concatenate([part["features"].numpy() for part in fold.map("features", extract, shards)])
    if told.note is not None:
        size, whole = _size(folder), _size(folder.parent)
        told.note(f"features cached in {folder}: {size / 1e6:,.1f} MB, all caches {whole / 1e6:,.1f} MB")
    return made


def cache_folder() -> Path:
    """``SWAYPOINT_CACHE``, else ``swaypoint`` in the user's cache folder: ``XDG_CACHE_HOME`` or ``~/.cache``,
    on macOS ``~/Library/Caches``, on Windows ``LOCALAPPDATA``."""
    if own := os.environ.get("SWAYPOINT_CACHE"):
        return Path(own)
    home = Path.home()
    by_system = {
        "darwin": home / "Library" / "Caches",
        "win32": Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"),
    }
    usual = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return by_system.get(sys.platform, usual) / "swaypoint"


def encode(name: str, encoder: Encoder, records: Records, batch: int, *, first: int = 0) -> np.ndarray:
    """The features ``(n, D)`` float32 of a few records, ``batch`` at a time; texts by their length, so that
    little is padded. ``first``: the number of the first of them, for messages.

    Raises:
        InputError: the backbone ``name`` cannot take them, or a feature is not finite.
    """
    order = np.arange(len(records))
    if isinstance(records[0], str):
        order = np.argsort([-len(text) for text in records], kind="stable")
    rows: np.ndarray | None = None
    for start in range(0, len(records), batch):
        chosen = order[start : start + batch]
        part = records[chosen] if isinstance(records, np.ndarray) else [records[i] for i in chosen]
        with reading(name, "a model of such records", "check that it takes them"):
            values = encoder.embed(encoder.prepare(part))
        if values.ndim != 2 or len(values) != len(chosen):
            raise InputError(f"{name}: features of shape {values.shape}; expected a vector a record")
        rows = np.empty((len(records), values.shape[1]), dtype=np.float32) if rows is None else rows
        rows[chosen] = values
    assert rows is not None
    if not (finite := np.isfinite(rows).all(1)).all():
        raise InputError(
            f"{name}: features of record {first + int((~finite).argmax())} are not finite; check that record"
        )
    return rows


@dataclass(eq=False)
class _Extract:
    """The features of a shard; the model is loaded by the first that is not there yet."""

    backbone: Backbone
    records: Records
    device: str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _encoder: Encoder | None = None

    def __call__(self, shard: tuple[int, int]) -> Statistic:
        part, name = self.records[slice(*shard)], self.backbone.name
        found = encode(name, self.encoder(), part, self.batch, first=shard[0])
        return {"features": torch.from_numpy(found)}

    @property
    def batch(self) -> int:
        wide = self.device.startswith("cuda") and self.backbone.batch > 1
        return max(_GPU_BATCH, self.backbone.batch) if wide else self.backbone.batch

    def encoder(self) -> Encoder:
        with self._lock:
            if self._encoder is None:
                self._encoder = self.backbone.load(self.device)
            return self._encoder


@dataclass(eq=False)
class _Pace:
    """Tells how far an extraction is, its rate and what it will take."""

    told: Told
    total: int
    shards: list[tuple[int, int]]
    first: int = 0  # records that are there already
    begun: float = field(default_factory=time.monotonic)
    last: float = 0.0

    def estimate(self, extract: _Extract) -> None:
        """From one batch, before the work begins."""
        batch = extract.batch
        if self.told.note is None or self.total < _PROBED * batch:
            return
        encoder, name = extract.encoder(), extract.backbone.name
        encode(name, encoder, extract.records[:1], batch)  # what only the first call takes
        start = time.monotonic()
        encode(name, encoder, extract.records[:batch], batch)
        seconds = (time.monotonic() - start) * self.total / batch
        self.told.note(f"features by {name}: {self.total:,} records, about {_duration(seconds)}")
        self.begun = time.monotonic()

    def done(self, name: str, count: int, of: int) -> None:
        records, now = self.shards[count - 1][1], time.monotonic()
        if self.told.records is not None:
            self.told.records(records, self.total)
        if self.told.note is not None and now - max(self.last, self.begun) >= _EVERY and count < of:
            rate = max(records - self.first, 1) / (now - self.begun)
            left = _duration((self.total - records) / rate)
            self.told.note(f"features: {rate:,.1f} records a second, {left} left")
            self.last = now


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def _key(backbone: Backbone, records: Records, device: str) -> str:
    half = device.startswith("cuda") and fast_bfloat16("cuda")
    mark = f"{backbone.fingerprint} {'bfloat16' if half else device.split(':')[0]} {SHARD}"
    digest = hashlib.sha256(mark.encode())
    for record in records:
        whole = record.encode("utf-8", "surrogatepass") if isinstance(record, str) else record
        if isinstance(whole, np.ndarray):
            digest.update(f"{whole.dtype.str}{whole.shape}".encode())
            whole = np.ascontiguousarray(whole).view(np.uint8).data
        else:
            digest.update(f"{len(whole)} ".encode())
        digest.update(whole)
    return digest.hexdigest()


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: features cannot be kept there ({error.strerror}); name another folder by the"
            " environment variable SWAYPOINT_CACHE"
        ) from error
    return folder


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
