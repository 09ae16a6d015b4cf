"""cleanlab's table of label issues: ours in its form, and its own as a further ranking of an audit.

Polarity: cleanlab's ``label_score`` is in 0..1 and LOW = bad; ours are HIGH = look first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from swaypoint.errors import InputError, reading
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.documents import read_parquet
from swaypoint.folder.writing import write_table
from swaypoint.review.cleaning.exporters import Exporter, exporters
from swaypoint.review.cleaning.records import Records, label_name
from swaypoint.review.cleaning.spreadsheet import read_cells, write_cells
from swaypoint.review.items import Items
from swaypoint.scoring.kinds import SUSPECT

COLUMN = "cleanlab"
_SCORES = ("label_score", "label_quality")  # of Datalab, and of CleanLearning
_POSITIONS = ("index", "", "Unnamed: 0", "__index_level_0__")


def label_score(rank: np.ndarray, n: int) -> np.ndarray:
    """From a rank in 1..n, 1 = look first, to cleanlab's LOW = bad in 0..1: (rank - 1/2) / n.

    >>> label_score(np.array([1, 2, 4]), 4)
    array([0.125, 0.375, 0.875])
    """
    return (rank - 0.5) / n


def write_issues(records: Records, path: Path) -> None:
    """The ranked points in dataset order as ``Datalab.get_issues("label")`` has them, and their ``id``,
    ``index`` in the source and ``split``; parquet by the name's ending, else CSV.

    ``is_label_issue`` is the reviewers' word where there is one, else the suggested kind.
    """
    items = records.items
    rows = records.rows[records.positions[records.rows] >= 0]
    positions = records.positions[rows]
    table = pa.table(
        {
            "id": [items.ids[position] for position in positions],
            "index": records.source.dataset.index[rows],
            "is_label_issue": [_is_issue(records, row) for row in rows.tolist()],
            "label_score": label_score(items.scores["rank"][positions], len(items)),
            "given_label": [records.given(row) for row in rows.tolist()],
            "split": [records.split(row) for row in rows.tolist()],
            "predicted_label": [label_name(items, v) for v in items.scores["suggested_label"][positions]],
        }
    )
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        write_cells(path, iter([table]))


def _is_issue(records: Records, row: int) -> bool:
    ruling = records.ruling(row)
    assert ruling is not None
    if ruling.verdict in ("unreviewed", "skip", "conflict"):
        return str(records.items.scores["kind"][records.positions[row]]) in SUSPECT
    return ruling.verdict == "mislabeled"


exporters.register("cleanlab", Exporter(write_issues))


# -- back -----------------------------------------------------------------------------------------


def add_ranking(folder: AuditFolder, path: Path) -> int:
    """cleanlab's scores as the column ``cleanlab`` of the audit's scores, 1 - label_score: HIGH = look
    first. One that is there is replaced. Returns the number of points.

    Args:
        path: an issue table as CSV or parquet; its rows are found by ``id``, by ``index`` (or pandas'
            nameless one) in the source or among the ranked points, or are all of these in order.

    Raises:
        InputError: not such a table, scores outside 0..1, or points missing; the row is named.
    """
    items = Items(folder)
    columns = _columns(path)
    name = next((name for name in _SCORES if name in columns), None)
    if name is None:
        raise InputError(
            f"{path}: no column {_SCORES[0]}; expected cleanlab's table of label issues, such as"
            ' lab.get_issues("label").to_csv(FILE)'
        )
    scores = _scores(path, name, columns[name])
    rows = _rows(path, columns, items, len(scores))
    if "given_label" in columns:
        _check_labels(path, columns["given_label"], rows, items)
    folder.check_whole("a further ranking")
    table = folder.scores()
    if COLUMN in table.column_names:
        table = table.drop_columns([COLUMN])
    write_table(folder.path / "scores.parquet", table.append_column(COLUMN, pa.array(1.0 - scores[rows])))
    return len(rows)


def _columns(path: Path) -> dict[str, list[str]]:
    """Every column as text."""
    if path.suffix != ".parquet":
        return read_cells(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected cleanlab's table of label issues")
    remedy = "expected cleanlab's table of label issues"
    table = read_parquet(path, remedy)
    with reading(path, "a table of values", remedy):
        return {
            name: ["" if value is None else str(value) for value in column.to_pylist()]
            for name, column in zip(table.column_names, table.columns, strict=True)
        }


def _scores(path: Path, name: str, texts: list[str]) -> np.ndarray:
    scores = np.empty(len(texts))
    for row, text in enumerate(texts):
        try:
            scores[row] = float(text)
        except ValueError:
            scores[row] = np.nan
        if not 0.0 <= scores[row] <= 1.0:
            raise InputError(f"{path}, row {row + 1}: {name} is {text!r}; expected 0..1, where low is bad")
    return scores


def _rows(path: Path, columns: dict[str, list[str]], items: Items, count: int) -> np.ndarray:
    """Of each item its row of the file, ``(n,)``."""
    if "id" in columns:
        keys, wanted = columns["id"], items.ids
    else:
        keys, wanted = _by_position(columns, items, count)
    found = {key: row for row, key in enumerate(keys)}
    if len(found) < len(keys):
        raise InputError(f"{path}: two rows are of the same point; expected one each")
    missing = [key for key in wanted if key not in found]
    if missing:
        raise InputError(
            f"{path}: {len(missing):,} of {len(items):,} points are not in its {count:,} rows, such"
            f" as {missing[0]}; expected a row for each, by id, by index, or in order"
        )
    return np.array([found[key] for key in wanted])


def _by_position(columns: dict[str, list[str]], items: Items, count: int) -> tuple[list[str], list[str]]:
    named = next((columns[name] for name in _POSITIONS if name in columns), None)
    keys = [str(row) for row in range(count)] if named is None else named
    in_source = [str(index) for index in items.scores["index"].tolist()]
    if set(in_source) <= set(keys) or count != len(items):
        return keys, in_source
    return keys, [str(row) for row in range(count)]


def _check_labels(path: Path, given: list[str], rows: np.ndarray, items: Items) -> None:
    """A table in another order, or of other labels, ranks other points."""
    for position, row in enumerate(rows.tolist()):
        value = items.scores["label"][position]
        if given[row] not in (label_name(items, value), str(int(value))) and not _equal(given[row], value):
            raise InputError(
                f"{path}, row {row + 1}: given_label is {given[row]!r}, and the audit has"
                f" {label_name(items, value)!r} there; expected a table of the same points and labels"
            )


def _equal(text: str, value: float) -> bool:
    try:
        return bool(np.isclose(float(text), value))
    except ValueError:
        return False
