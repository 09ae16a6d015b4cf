"""Records as tables with types: parquet, and a saved Hugging Face dataset."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swaypoint.data.readers.declared import declared_features
from swaypoint.errors import require
from swaypoint.review.cleaning.exporters import Exporter, exporters
from swaypoint.review.cleaning.records import Records
from swaypoint.review.cleaning.source import PICTURE

_DTYPES = {"double": "float64", "float": "float32", "halffloat": "float16", "date32[day]": "date32"}


def write_parquet(records: Records, path: Path) -> None:
    """One file; its metadata tells ``datasets`` of classes and pictures, others pass over it."""
    classes = records.label_columns if _by_index(records) else ()
    chunks = records.chunks(pictures=True)
    schema = _with_features(next(chunks).schema, records, classes)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for chunk in chunks:
            writer.write_table(chunk.cast(schema))


def _by_index(records: Records) -> bool:
    """The source stores labels as indices of its classes, not as other numbers or names."""
    stored, labels = records.stored_labels[1], records.source.dataset.labels
    if not records.items.classes or not pa.types.is_integer(stored.type):
        return False
    return bool((stored.to_numpy() == labels).all())


def write_hugging_face(records: Records, path: Path) -> None:
    """A directory for ``datasets.load_from_disk``: labels as ``ClassLabel``, pictures as ``Image``.

    Raises:
        MissingExtra: ``datasets`` is not installed.
    """
    datasets = require("datasets", "hub")
    classes = records.label_columns if records.items.classes else ()
    chunks = (
        _structured(chunk, records.source.image)
        for chunk in records.chunks(pictures=True, indexed=bool(classes))
    )
    schema = _with_features(next(chunks).schema, records, classes)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        stream = Path(scratch) / "records.arrow"
        with pa.ipc.new_stream(str(stream), schema) as writer:
            for chunk in chunks:
                writer.write_table(chunk.cast(schema))
        # Mapped, not loaded: more pictures than fit in memory pass through.
        datasets.Dataset.from_file(str(stream)).save_to_disk(str(path))


def _structured(chunk: pa.Table, image: str | None) -> pa.Table:
    """Pictures as ``datasets`` holds them, also where the source has bare bytes."""
    if image is None or chunk[image].type == PICTURE:
        return chunk
    values = [value if isinstance(value, dict) else {"bytes": value} for value in chunk[image].to_pylist()]
    return chunk.set_column(chunk.column_names.index(image), image, pa.array(values, PICTURE))


def _with_features(schema: pa.Schema, records: Records, classes: tuple[str, ...]) -> pa.Schema:
    """``schema`` with the features of ``datasets`` in its metadata: what the source declares, and what
    follows from the types of other columns.

    Args:
        classes: columns of indices of classes.
    """
    metadata = dict(schema.metadata or {})
    features = {field.name: _feature(field.type) for field in schema}
    features |= {
        name: feature
        for name, feature in declared_features(schema).items()
        if name in features and name not in records.label_columns
    }
    if (image := records.source.image) is not None and features[image].get("_type") != "Image":
        features[image] = {"_type": "Image"}
    names = list(records.items.classes)
    features |= {name: {"names": names, "_type": "ClassLabel"} for name in classes}
    metadata[b"huggingface"] = json.dumps({"info": {"features": features}}).encode()
    return schema.with_metadata(metadata)


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind.fields}
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    return {"dtype": _DTYPES.get(str(kind), str(kind)), "_type": "Value"}


exporters.register("parquet", Exporter(write_parquet))
exporters.register("hf", Exporter(write_hugging_face, folder=True))
