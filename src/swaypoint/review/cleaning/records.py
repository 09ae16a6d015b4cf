"""The records of an export: the source's columns, the label after a policy, and what the review knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from swaypoint.review.cleaning.policy import Cleaned, Ruling, rulings
from swaypoint.review.cleaning.source import PICTURE, Source
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Review

CANONICAL = pa.schema(
    [
        ("label_original", pa.null()),  # of the label's own type
        ("id", pa.string()),
        ("split", pa.string()),
        ("given_label", pa.string()),
        ("suggested_label", pa.string()),
        ("suggested_prob", pa.float64()),
        ("influence", pa.float64()),
        ("influence_rank", pa.int64()),
        ("verdict", pa.string()),
        ("new_label", pa.string()),
        ("reviewer", pa.string()),
        ("note", pa.string()),
        ("decided_at", pa.string()),
        ("comments", pa.string()),
    ]
)
"""The columns that every export adds to the source's own; docs/interoperability.md says what they hold."""
PERSONAL = ("reviewer", "note", "comments")
"""Those of them that tell of people: only where it is asked for."""
ALL = "all"
"""Records of every split."""
PREFIX = "swaypoint_"
"""Before a canonical column's name where the source has a column of that name."""
_CHUNK = 500
_UNREVIEWED = Ruling("unreviewed", None, "", "", "")


@dataclass(frozen=True, eq=False)
class Records:
    """What a format writes.

    Attributes:
        source: as audited.
        rows: the exported records, ascending positions in the source's dataset, ``(m,)``.
        labels: of all records of the dataset, after the policy, ``(n,)``.
        standing: what was said of the items, by id.
        columns: whether the canonical columns are added to the source's own.
        reviewers: whether :data:`PERSONAL` ones are among them; else ``standing`` does not hold them either.
        comments: by item, see :meth:`swaypoint.review.log.threads.Threads.in_words`.
    """

    items: Items
    source: Source
    rows: np.ndarray
    labels: np.ndarray
    standing: dict[str, Ruling]
    columns: bool = True
    reviewers: bool = False
    comments: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def label(self, row: int) -> str:
        """After the policy, by name."""
        return label_name(self.items, self.labels[row])

    def given(self, row: int) -> str:
        """As audited, by name."""
        return label_name(self.items, self.source.dataset.labels[row])

    @cached_property
    def positions(self) -> np.ndarray:
        """Of each record of the dataset among the items, ``(n,)``; -1 of those that an older audit held out,
        which it did not rank."""
        positions = np.full(len(self.source), -1)
        positions[self.source.ranked] = np.arange(len(self.items))
        return positions

    @property
    def ranked(self) -> np.ndarray:
        """The exported points that are ranked, the most influential first."""
        rows = self.rows[self.positions[self.rows] >= 0]
        return rows[np.argsort(self.items.scores["rank"][self.positions[rows]], kind="stable")]

    def split(self, row: int) -> str:
        """See :meth:`Items.split`."""
        return str(self.source.split[row])

    def ruling(self, row: int) -> Ruling | None:
        """None of a record that is not ranked: nobody reviews it."""
        unranked = self.positions[row] < 0
        return None if unranked else self.standing.get(self.source.ids[row], _UNREVIEWED)

    def suggestion(self, row: int) -> tuple[str | None, float | None]:
        """The class that the model prefers, fitted without the point, and its probability by the whole
        model, where the audit kept features."""
        position = int(self.positions[row])
        if position < 0:
            return None, None
        best = self.items.suggestions(position, k=1)
        label = label_name(self.items, self.items.scores["suggested_label"][position])
        return label, best[0].probability if best else None

    # -- as a table ---------------------------------------------------------------------------------

    @cached_property
    def names(self) -> dict[str, str]:
        """What the canonical columns are called beside the source's own."""
        taken, names = {*self.source.table.column_names, self.source.image}, {}
        for canonical in CANONICAL.names:
            if canonical in PERSONAL and not self.reviewers:
                continue
            name = canonical
            while name in taken:
                name = PREFIX + name
            names[canonical] = name
        return names

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The labels' column, and that of those before the policy."""
        before = (self.names["label_original"],) if self.columns else ()
        return (self.source.label, *before)

    @cached_property
    def stored_labels(self) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        """After the policy and before it, of all records, the way the source stores them."""
        after = self.source.stored_labels(self.labels)
        before = self.source.stored_labels(self.source.dataset.labels)
        return after, before.cast(after.type)

    @cached_property
    def _indices(self) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        return pa.chunked_array([self.labels]), pa.chunked_array([self.source.dataset.labels])

    def chunks(self, *, pictures: bool, indexed: bool = False) -> Iterator[pa.Table]:
        """Tables of a few hundred records, the first one empty; their metadata is the source's.

        Args:
            pictures: with those that are no column of the source, encoded.
            indexed: labels as indices of the classes, not the way the source stores them.
        """
        for start in (None, *range(0, len(self), _CHUNK)):
            rows = self.rows[:0] if start is None else self.rows[start : start + _CHUNK]
            table = self._labelled(rows, self._indices if indexed else self.stored_labels)
            yield self._with_pictures(table, rows) if pictures else table

    def _labelled(self, rows: np.ndarray, labels: tuple[pa.ChunkedArray, pa.ChunkedArray]) -> pa.Table:
        table, label = self.source.records(rows), self.source.label
        after, before = (column.take(pa.array(rows)) for column in labels)
        table = table.set_column(table.column_names.index(label), label, after)
        if not self.columns:
            return table
        table = table.append_column(self.names["label_original"], before)
        for name, column in self._canonical(rows).items():
            if name in self.names:
                table = table.append_column(self.names[name], column)
        return table

    def _with_pictures(self, table: pa.Table, rows: np.ndarray) -> pa.Table:
        pictures, names = self.source.pictures, self.source.dataset.names
        if pictures is None or pictures.stored:
            return table
        values = [{"bytes": pictures.encoded(row), "path": names[row] if names else None} for row in rows]
        return table.add_column(0, self.source.image, pa.array(values, PICTURE))

    def _canonical(self, rows: np.ndarray) -> dict[str, pa.Array]:
        chosen = self.positions[rows]
        unranked = chosen < 0
        rulings = [self.ruling(row) for row in rows]
        suggested = [self.suggestion(row) for row in rows]
        columns = {
            "id": [self.source.ids[row] for row in rows],
            "split": [self.split(row) for row in rows],
            "given_label": [self.given(row) for row in rows],
            "suggested_label": [label for label, _ in suggested],
            "suggested_prob": [probability for _, probability in suggested],
            "influence": np.ma.array(self.items.scores["cook"][chosen].astype(np.float64), mask=unranked),
            "influence_rank": np.ma.array(self.items.scores["rank"][chosen].astype(np.int64), mask=unranked),
        } | {
            name: [None if ruling is None else getattr(ruling, name) or None for ruling in rulings]
            for name in ("verdict", "new_label", "reviewer", "note", "decided_at")
        }
        columns["comments"] = [self.comments.get(self.source.ids[row]) for row in rows]
        return {name: pa.array(values, CANONICAL.field(name).type) for name, values in columns.items()}


def label_name(items: Items, value: float) -> str:
    """A class's name, or a real value in full."""
    return items.classes[int(value)] if items.classes else repr(float(value))


def records(
    items: Items,
    source: Source,
    review: Review,
    cleaned: Cleaned,
    *,
    split: str = ALL,
    columns: bool = True,
    reviewers: bool = False,
    comments: Mapping[str, str] | None = None,
) -> Records:
    """Those of a split, or of all, that a policy keeps, with what was said of them, and by whom if
    ``reviewers``; what an older audit did not rank is kept as it is."""
    labels, kept = source.dataset.labels.copy(), np.ones(len(source), dtype=bool)
    labels[source.ranked], kept[source.ranked] = cleaned.labels, cleaned.kept
    kept &= (split == ALL) | (source.split == split)
    standing = rulings(review)
    if not reviewers:
        standing = {item: replace(ruling, reviewer="", note="") for item, ruling in standing.items()}
    said = (comments or {}) if reviewers else {}
    return Records(items, source, np.flatnonzero(kept), labels, standing, columns, reviewers, said)
