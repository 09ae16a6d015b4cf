"""What the schema of a table declares of its columns, in the metadata that ``datasets`` writes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from swaypoint.folder.documents import misfit


def declared_features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What Hugging Face's schema metadata declares, by column; nothing where it is of another kind."""
    stored = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(stored)["info"]["features"] if stored else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {column: feature for column, feature in features.items() if isinstance(feature, dict)}


def class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Class names that Hugging Face's schema metadata declares, by column.

    Where they are no different texts the labels name themselves.
    """
    declared: dict[str, Any] = {
        column: feature.get("names")
        for column, feature in declared_features(schema).items()
        if feature.get("_type") == "ClassLabel"
    }
    return {
        column: tuple(names)
        for column, names in declared.items()
        if misfit(names, [str]) is None and len(set(names)) == len(names)
    }


def with_class_names(table: pa.Table, names: dict[str, tuple[str, ...]]) -> pa.Table:
    """Declare the classes of columns of indices, as ``datasets`` does."""
    declared = {**class_names(table.schema), **names}
    features = {
        column: {"names": list(classes), "_type": "ClassLabel"} for column, classes in declared.items()
    }
    return with_features(table, features)


def with_features(table: pa.Table, features: dict[str, Any]) -> pa.Table:
    """Declare features as :func:`declared_features` reads them, in place of all metadata."""
    return table.replace_schema_metadata(
        {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    )


_NOTE = b"swaypoint.read"


def with_note(table: pa.Table, said: str) -> pa.Table:
    """Declare how the source of a table was read, where that is worth a sentence."""
    return (
        table.replace_schema_metadata({**(table.schema.metadata or {}), _NOTE: said.encode()})
        if said
        else table
    )


def note(schema: pa.Schema) -> str:
    """What :func:`with_note` declared; empty where nothing was."""
    return (schema.metadata or {}).get(_NOTE, b"").decode(errors="replace")


def without_note(table: pa.Table) -> pa.Table:
    """As it was before :func:`with_note` and :func:`with_splits`."""
    ours = (_NOTE, _SPLITS)
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key not in ours}
    return table.replace_schema_metadata(metadata or None)


_SPLITS = b"swaypoint.splits"


def with_splits(table: pa.Table, counts: dict[str, int]) -> pa.Table:
    """Declare how many records of a table are of each split of its source, one split after another."""
    stored = json.dumps(counts).encode()
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _SPLITS: stored})


def splits(schema: pa.Schema) -> np.ndarray | None:
    """The split of each record, as :func:`with_splits` declared it, (n,) of text; None where nothing was."""
    stored = (schema.metadata or {}).get(_SPLITS)
    if stored is None:
        return None
    counts = json.loads(stored)
    return np.repeat(np.array(list(counts)), list(counts.values()))
