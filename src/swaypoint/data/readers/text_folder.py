"""A folder of texts by class: ``CLASS/FILE.txt``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers.arrays import Faults, RawLabels, usable_records
from swaypoint.data.readers.base import Reader, readers
from swaypoint.data.readers.charsets import MARKS, encoding_of
from swaypoint.data.readers.class_folders import Layout, class_files, inner_files
from swaypoint.data.readers.declared import with_class_names
from swaypoint.data.readers.images import Progress
from swaypoint.data.readers.parquet_in_memory import is_parquet
from swaypoint.data.readers.saved import is_saved
from swaypoint.data.readers.stored import Stored
from swaypoint.data.readers.text_columns import frozen, said_of_empty
from swaypoint.errors import InputError
from swaypoint.folder.documents import require_memory

TEXTS = Layout(
    frozenset({".txt", ".text", ".md"}),
    "texts",
    "FILE.txt",
    "images as CLASS/FILE.png, parquet files, or a saved Hugging Face dataset",
)
COLUMN = "text"
"""How the texts of a folder are called."""
_FILES = "(the files)"
_EVERY = 1000


def is_text_folder(source: str) -> bool:
    """Whether the first file in a folder's folders that says so is a text; never raises."""
    try:
        if not os.path.isdir(source) or is_saved(source) or is_parquet(source):
            return False
        suffixes = (Path(file).suffix.lower() for file in inner_files(Path(source)))
        return next((suffix for suffix in suffixes if suffix), "") in TEXTS.suffixes
    except (OSError, InputError):
        return False


def _read(source: str, options: ReadOptions, on_progress: Progress) -> Dataset:
    """The texts in ``source/CLASS``, or ``source/SPLIT/CLASS``, as those of pictures; UTF-8, or
    where that fails what the folder's words that are not ASCII are taken for."""
    root = Path(source)
    if options.regression:
        raise InputError(f"{source}: a folder of texts by class has no real values for --loss squared_error")
    found = class_files(root, options, TEXTS)
    stored, faults = _stored_bytes(source, root, found.names, on_progress)
    texts, said = _decoded(source, stored)
    labels = RawLabels("class", found.labels, np.zeros(len(found.names), dtype=bool), names=found.classes)
    records = usable_records(source, labels, faults=faults, options=options, where=found.names.__getitem__)
    inputs = np.empty((len(records.rows), 1), dtype=object)
    inputs[:, 0] = [texts[row] for row in records.rows]
    names = tuple(found.names[row] for row in records.rows)
    dataset = records.dataset("texts", frozen(source, inputs), columns=(COLUMN,), names=names)
    treatments = ({_FILES: said} if said else {}) | said_of_empty(inputs, (COLUMN,))
    return found.beside(replace(dataset, treatments=treatments))


def _stored_bytes(
    source: str, root: Path, files: list[str], on_progress: Progress
) -> tuple[list[bytes], Faults]:
    """The files' content, empty where one cannot be read or holds no text."""
    stored: list[bytes] = []
    faults: Faults = {}
    size = 0
    for row, file in enumerate(files):
        content = b""
        try:
            if not (root / file).is_file():  # a pipe would be waited for
                raise OSError("no file")
            size += (root / file).stat().st_size
            require_memory(source, 4 * size, f"{len(files):,} texts")
            content = (root / file).read_bytes()
        except OSError as error:
            faults[row] = f"it cannot be read ({error.strerror or error})"
        if b"\0" in content and content[:2] not in MARKS:
            faults[row], content = "it holds binary data, no text", b""
        stored.append(content)
        if on_progress is not None and (row % _EVERY == _EVERY - 1 or row == len(files) - 1):
            on_progress(row + 1, len(files))
    return stored, faults


def _decoded(source: str, stored: list[bytes]) -> tuple[list[str], str]:
    """The texts, and what is said of their encoding."""
    texts = [_unicode(content) for content in stored]
    foreign = [content for content, text in zip(stored, texts, strict=True) if text is None]
    if not foreign:
        return [text for text in texts if text is not None], ""
    encoding = encoding_of(f"{source}, {len(foreign):,} of its files", foreign)
    found = [
        content.decode(encoding, errors="replace") if text is None else text
        for content, text in zip(stored, texts, strict=True)
    ]
    return found, f"{len(foreign):,} of {len(stored):,} taken for {encoding}, as they are not UTF-8"


def _unicode(content: bytes) -> str | None:
    try:
        return content.decode(MARKS.get(content[:2], "utf-8-sig"))
    except UnicodeDecodeError:
        return None


def _stored(source: str, options: ReadOptions, on_progress: Progress) -> Stored:
    dataset = _read(source, options, on_progress)
    # Rows of unusable files stay empty: positions in the table are those in the source.
    count = int(dataset.index[-1]) + 1
    names, texts = (np.full(count, "", dtype=object) for _ in range(2))
    labels = np.zeros(count, dtype=np.int64)
    names[dataset.index], labels[dataset.index] = dataset.names, dataset.labels
    texts[dataset.index] = dataset.inputs[:, 0]
    columns = {"file_name": pa.array(names, pa.string()), COLUMN: pa.array(texts, pa.large_string())}
    table = with_class_names(pa.table({**columns, "label": labels}), {"label": dataset.classes})
    return Stored(dataset, table, "label")


TEXT_FOLDER = readers.register("text_folder", Reader(is_text_folder, _read, _stored))
