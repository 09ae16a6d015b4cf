"""Records that are the same: copies with other labels, copies across splits, copies within one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from swaypoint.findings.base import Finding, Severity, findings
from swaypoint.findings.regions.folder import inputs_file
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.manifest import TRAIN, Manifest
from swaypoint.folder.tensors import map_tensor

_MANY = 0.01
"""Share of a split's records from which on copies of training records are severe: an accuracy moves."""
_CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class _Groups:
    """Records of the same content: ``of`` (n,) int64, a number each, and ``size`` (n,), how many share it."""

    of: np.ndarray
    size: np.ndarray

    @classmethod
    def by(cls, digests: np.ndarray) -> _Groups:
        _, of, counts = np.unique(digests, return_inverse=True, return_counts=True)
        return cls(of, counts[of])

    def mixed(self, values: np.ndarray) -> np.ndarray:
        """Which records are in a group of more than one value, ``(n,)`` bool."""
        _, codes = np.unique(values, return_inverse=True)
        pairs = np.unique(np.stack([self.of, codes]), axis=1)
        return np.asarray(np.bincount(pairs[0], minlength=self.of.max(initial=-1) + 1)[self.of] > 1)

    def having(self, chosen: np.ndarray) -> np.ndarray:
        """Which records are in a group with one of the ``chosen``, ``(n,)`` bool."""
        there = np.zeros(self.of.max(initial=-1) + 1, dtype=bool)
        there[self.of[chosen]] = True
        return np.asarray(there[self.of])

    def count(self, chosen: np.ndarray) -> int:
        """Groups of the ``chosen`` records."""
        return len(np.unique(self.of[chosen]))


def find_duplicates(folder: AuditFolder) -> list[Finding]:
    """Records with the same content: the same pixels as the model was given them, the same text, the same
    row of values, or the same features.

    Three findings at most. Copies whose labels contradict each other: of one picture or text at most one
    label is right. Copies of training records in another split: what is measured there is not unseen. And
    copies within one split: a record that counts as often as it stands there. Of a streamed audit only those
    points are compared that the folder holds: the top of the ranking.

    Raises:
        InputError: a damaged folder.
    """
    manifest, table = folder.manifest(), folder.scores()
    digests = _digests(folder)
    if digests is None or len(digests) != len(table):
        return []
    groups, split = _Groups.by(digests), np.array(table["split"].to_pylist())
    found = []
    contradicting = groups.mixed(table["label"].to_numpy()) if manifest.data.classes else np.zeros(0, bool)
    if contradicting.any():
        found.append(_contradicting(manifest, groups, contradicting, table))
    trained = groups.having(split == TRAIN)
    found += [
        _leaked(manifest, name, (split == name) & trained, split == name, table)
        for name in manifest.data.ranked
        if name != TRAIN and ((split == name) & trained).any()
    ]
    within = _Groups.by(np.char.add(split, digests))
    repeated = within.size > 1
    if repeated.any():
        found.append(_repeated(within, repeated))
    return found


def _contradicting(manifest: Manifest, groups: _Groups, chosen: np.ndarray, table: pa.Table) -> Finding:
    records, count = int(chosen.sum()), groups.count(chosen)
    table_of_values = manifest.data.kind in ("rows", "features")
    meaning = (
        "no column tells them apart: labels are wrong, or a column is missing"
        if table_of_values
        else "at most one label of each group is right"
    )
    return Finding(
        name="copies that contradict each other",
        sentence=f"{records:,} records are copies of each other with different labels, in {count:,} groups:"
        f" {meaning}",
        severity="medium" if table_of_values else "high",
        evidence={"records": records, "groups": count, "share": records / len(chosen)},
        index=_by_group(
            groups, chosen, table["p_wrong"].to_numpy() if "p_wrong" in table.column_names else None
        ),
        remedy="decide which label of each group is right, and give it to all, or keep one record a group",
    )


def _leaked(
    manifest: Manifest, name: str, copies: np.ndarray, members: np.ndarray, table: pa.Table
) -> Finding:
    share, evidence = copies.sum() / members.sum(), {}
    words = ""
    if manifest.data.classes and copies.sum() < members.sum():
        right = table["margin"].to_numpy() > 0
        evidence = {"accuracy": right[members].mean(), "accuracy_without": right[members & ~copies].mean()}
        words = (
            f"; its accuracy is {evidence['accuracy']:.1%}, {evidence['accuracy_without']:.1%} without them"
        )
    severity: Severity = "high" if share >= _MANY else "medium"
    return Finding(
        name=f"{name} records that were trained on",
        sentence=f"{int(copies.sum()):,} of {int(members.sum()):,} {name.replace('_', ' ')} records"
        f" ({share:.1%}) are copies of records that the model was trained on{words}",
        severity=severity,
        evidence={"records": float(copies.sum()), "share": float(share), **evidence},
        index=np.flatnonzero(copies).astype(np.int64),
        remedy="leave them out before anything is measured on this split, or keep copies in one split",
    )


def _repeated(groups: _Groups, chosen: np.ndarray) -> Finding:
    records, count = int(chosen.sum()), groups.count(chosen)
    share = (records - count) / len(chosen)
    return Finding(
        name="copies within a split",
        sentence=f"{records - count:,} records ({share:.1%} of all) are copies of {count:,} others in their"
        f" split; the most frequent stands there {groups.size.max():,} times",
        severity="medium" if share >= _MANY else "low",
        evidence={"records": records, "groups": count, "share": share, "largest": float(groups.size.max())},
        index=_by_group(groups, chosen, None),
        remedy="keep one of each, unless it shall count as often as it stands there",
    )


def _by_group(groups: _Groups, chosen: np.ndarray, suspicion: np.ndarray | None) -> np.ndarray:
    """Positions, group by group: the group with the most suspicious record first, else the largest."""
    index = np.flatnonzero(chosen)
    of = groups.of[index]
    weight = (groups.size if suspicion is None else suspicion)[index].astype(np.float64)
    largest = np.zeros(groups.of.max() + 1)
    np.maximum.at(largest, of, weight)
    return index[np.lexsort((-weight, of, -largest[of]))].astype(np.int64)


def _digests(folder: AuditFolder) -> np.ndarray | None:
    """Of the content of each record, ``(n,)``; None where the folder does not keep it."""
    kind, path = folder.manifest().data.kind, folder.path
    if kind in ("rows", "features"):  # what a person reads of a row is rounded
        kept = inputs_file(folder)
        values = None if kept is None else map_tensor(*kept, folder.scores().num_rows)
        if values is None:
            return None
        return _hashed(
            row.tobytes() for start in range(0, len(values), _CHUNK) for row in values[start : start + _CHUNK]
        )
    if not (path / "items.arrow").is_file():
        return None
    _, items = folder.items()
    column = items["picture" if kind == "images" else "row"]
    return None if column.null_count else _hashed(value.as_buffer() for value in column)


def _hashed(contents: Iterable[Any]) -> np.ndarray:
    return np.array([blake2b(content, digest_size=16).hexdigest() for content in contents])


findings.register("duplicates", find_duplicates)
