"""Features of pictures by a model, as parquet files that an audit streams: a file a shard, resumable."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from swaypoint.auditing.run import Listener, head_tensors
from swaypoint.auditing.shards import part_file
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.folds import Durable, Statistic
from swaypoint.data.folds.engines import IN_PROCESS, engine
from swaypoint.data.hardware import AUTO, device_of
from swaypoint.data.model_batches import InputBatches
from swaypoint.data.readers.pictures import (
    FEATURES,
    PICTURE,
    PictureBatch,
    PictureShard,
    PictureSource,
    open_pictures,
)
from swaypoint.data.tensors import write_tensors
from swaypoint.errors import InputError, require
from swaypoint.folder.documents import read_json
from swaypoint.folder.writing import PARQUET, replace_file, write_json
from swaypoint.models.predictor import IMAGE_MODELS, ModelOptions, model_hash, seen_side
from swaypoint.models.pretrained.base import Encoder, find, is_pretrained
from swaypoint.models.pretrained.features import encode
from swaypoint.models.yours import load_model, load_object, load_weights, stored_weights
from swaypoint.scoring.last_layer import LinearHead

_THUMBNAIL = 64
_ROWS = 8192  # of a row group, about


def extract_features(
    source: str | Path,
    out: str | Path,
    model: ModelOptions,
    *,
    read: ReadOptions | None = None,
    device: str = AUTO,
    engine_name: str = IN_PROCESS,
    listener: Listener | None = None,
) -> Path:
    """Write what the last layer of ``model`` receives of every picture, to be audited from there.

    The same call goes on where an interrupted one stopped, and returns at once when all is there.

    Args:
        source: see :func:`~swaypoint.data.readers.pictures.open_pictures`.
        out: the folder, which appears when all is done: ``part-00000.parquet``, … in the order of the
            pictures (the columns of the source, its label among them; ``features``, D float32; ``picture``,
            a JPEG of at most 64 pixels a side), ``head.safetensors`` (the model's last layer; a pretrained
            one has none), ``features.json``.
        model: yours by ``package.module:factory``, a pretrained one, or one of
            :data:`~swaypoint.models.predictor.IMAGE_MODELS` with the weights that an audit trained.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        engine_name: see :func:`~swaypoint.data.folds.engines.engine`. Its workers must see the source,
            ``out``, the weights and the module of your factory under the same names.

    Raises:
        InputError: the source, the model or the weights cannot be read, do not fit each other, or ``out``
            holds something else.
        MissingExtra: Pillow or Ray is not installed.
    """
    listener, out, device = listener or Listener(), Path(out), device_of(device)
    listener.stage("reading")
    read = read or ReadOptions()
    found = open_pictures(source, replace(read, largest_side=max(read.largest_side, seen_side(model))))
    extract = _Extract(model, device, out.with_name(f"{out.name}.partial").absolute())
    head = None if is_pretrained(model.name) else _loaded(model, device)
    about = _described(found, model, head)
    if out.exists():
        _check_same(out, about)
        return out
    listener.stage("features")
    extract.folder.mkdir(parents=True, exist_ok=True)
    steps = extract.folder / "steps"
    with engine(engine_name, device) as inner:
        fold = Durable(
            steps,
            about["key"],
            inner=inner,
            on_shard=lambda name, done, of: listener.records and listener.records(done, of),
        )
        counts = [
            int(part["pictures"]) for part in fold.map("features", extract, list(enumerate(found.shards)))
        ]
    _finish(extract.folder, head, about | {"pictures": sum(counts), "of": found.pictures}, len(counts))
    shutil.rmtree(steps)
    extract.folder.rename(out)
    return out


def _finish(folder: Path, head: LinearHead | None, about: dict[str, Any], count: int) -> None:
    """Write what stands beside the ``count`` parts, and remove what is none of them.

    Raises:
        InputError: a worker's part is not seen here.
    """
    parts = [part_file(folder, number) for number in range(count)]
    if missing := [file for file in parts if not file.is_file()]:
        raise InputError(
            f"{missing[0]} is not there although a worker wrote it: choose an --out that all workers and this"
            f" machine see, remove {folder}, and run the same command again"
        )
    if head is not None:
        write_tensors(folder / "head.safetensors", head_tensors(head.weights))
    write_json(folder / "features.json", about)
    # Of killed workers, and of an interrupted extraction of more pictures: no part of this one.
    for file in {*folder.glob("*part-*")} - {*parts}:
        file.unlink()


def _described(source: PictureSource, model: ModelOptions, head: LinearHead | None) -> dict[str, Any]:
    entries: list[str | None]
    if head is None or head.model is None:
        entries = [source.fingerprint, find(model.name, model.transform).fingerprint]
    else:
        entries = [source.fingerprint, model.name, model_hash(head.model), head.layer, model.transform]
    return {
        "key": hashlib.sha256(json.dumps(entries).encode()).hexdigest(),
        "source": source.name,
        "label": source.label,
        "layer": "" if head is None else head.layer,
        "model": {name: None if value is None else str(value) for name, value in asdict(model).items()},
    }


def _check_same(out: Path, about: dict[str, Any]) -> None:
    remedy = "choose another --out, or remove it"
    stored = read_json(out / "features.json", {"key": str}, remedy)
    if stored["key"] != about["key"]:
        raise InputError(f"{out} holds features of other pictures or of another model; {remedy}")


@dataclass(frozen=True)
class _Extract:
    """The features of a numbered shard, written to ``folder``; it is sent to workers."""

    model: ModelOptions
    device: str
    folder: Path

    def __call__(self, numbered: tuple[int, PictureShard]) -> Statistic:
        number, shard = numbered
        of_pixels, count = _features_of(self.model, self.device), 0

        def write(temporary: Path) -> None:
            nonlocal count
            tables = (_with_features(pictures, of_pixels(pictures.pixels)) for pictures in shard.batches())
            with contextlib.ExitStack() as stack:
                writer = None
                for table in _joined(tables):
                    if writer is None:
                        writer = stack.enter_context(pq.ParquetWriter(temporary, table.schema, **PARQUET))
                    writer.write_table(table)
                    count += len(table)

        self.folder.mkdir(parents=True, exist_ok=True)  # of a machine that does not share it: told later
        replace_file(part_file(self.folder, number), write)
        return {"pictures": torch.tensor(count)}


_cache = threading.local()
_encoders: dict[tuple[ModelOptions, str], Encoder] = {}
_loading = threading.Lock()


def _loaded(options: ModelOptions, device: str) -> LinearHead:
    """The model, once a thread: its layer is listened to, and two threads would hear each other."""
    heads: dict[tuple[ModelOptions, str], LinearHead] = _cache.__dict__.setdefault("heads", {})
    if (options, device) not in heads:
        model = _own(options) if ":" not in options.name else load_model(options.name, options.weights)
        layer = options.layer or ("head" if ":" not in options.name else None)
        heads[options, device] = LinearHead.from_module(model.to(device).eval(), layer)
    return heads[options, device]


def _features_of(options: ModelOptions, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """From pictures (b, H, W, 3) uint8 to their features (b, D) float32."""
    if is_pretrained(options.name):
        backbone, encoder = find(options.name, options.transform), _encoder(options, device)

        def by_backbone(pixels: np.ndarray) -> np.ndarray:
            some = pixels if len(pixels) else np.zeros((1, 8, 8, 3), dtype=np.uint8)  # for the width
            return encode(backbone.name, encoder, some, backbone.batch)[: len(pixels)]

        return by_backbone
    head = _loaded(options, device)
    transform = load_object(options.transform) if options.transform else None

    def by_layer(pixels: np.ndarray) -> np.ndarray:
        rows = np.arange(len(pixels))
        if not len(rows):
            return np.zeros((0, head.weights.weight.shape[1]), dtype=np.float32)
        inputs = InputBatches(pixels, rows, rows=rows, transform=transform)
        return torch.cat([features.cpu().float() for features, _ in head.batches(inputs)]).numpy()

    return by_layer


def _encoder(options: ModelOptions, device: str) -> Encoder:
    """The pretrained model, once a process: threads share it."""
    with _loading:
        if (options, device) not in _encoders:
            _encoders[options, device] = find(options.name, options.transform).load(device)
        return _encoders[options, device]


def _own(options: ModelOptions) -> torch.nn.Module:
    """One of the default models, with weights that an audit trained."""
    if options.name not in IMAGE_MODELS:
        raise InputError(
            f"model is {options.name!r}; expected package.module:factory, or {', '.join(IMAGE_MODELS)} with"
            " the --weights that an audit trained"
        )
    if options.weights is None:
        raise InputError(f"{options.name} needs trained weights: --weights AUDIT/model.safetensors")
    from swaypoint.models.recipes import RECIPES, build

    weight = stored_weights(options.weights).get("head.weight")
    outputs = 1 if weight is None else len(weight)  # else loading says what does not fit
    model = build(RECIPES[options.name], torch.zeros(1, 8, 8, 3, dtype=torch.uint8), outputs, seed=0)
    load_weights(model, options.weights)
    return model


def _with_features(pictures: PictureBatch, values: np.ndarray) -> pa.Table:
    table = pictures.others
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    table = table.append_column(PICTURE, pa.array(map(_thumbnail, pictures.pixels), pa.binary()))
    return table.append_column(FEATURES, vectors)


def _thumbnail(pixels: np.ndarray) -> bytes:
    picture = require("PIL.Image", "images").fromarray(pixels)
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _joined(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(len(part) for part in waiting) >= _ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
