"""Records that are the same, or nearly: copies with other labels, copies across splits, copies within one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from swaypoint.findings.base import Finding, Severity, findings
from swaypoint.findings.duplicates.contents import contents, near_copies
from swaypoint.findings.duplicates.groups import Groups
from swaypoint.findings.regions.folder import is_tabular
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.manifest import TRAIN, Manifest

_MANY = 0.01
"""Share of a split's records from which on copies of training records are severe: an accuracy moves."""


@dataclass(frozen=True, eq=False)
class _Copies:
    """An audit's records in ``groups``, exact copies or ``near`` ones, and what is known of each."""

    manifest: Manifest
    table: pa.Table
    groups: Groups
    near: bool

    @property
    def split(self) -> np.ndarray:
        return np.array(self.table["split"].to_pylist())

    @property
    def suspicion(self) -> np.ndarray | None:
        """Of each record the probability that its label is wrong, where that is known."""
        return self.table["p_wrong"].to_numpy() if "p_wrong" in self.table.column_names else None

    @property
    def tabular(self) -> bool:
        return is_tabular(self.manifest)

    @property
    def what(self) -> str:
        return "near copies" if self.near else "copies"

    def are(self, count: int) -> str:
        return f"is a {self.what.replace('copies', 'copy')}" if count == 1 else f"are {self.what}"

    def chosen(self, candidates: np.ndarray) -> np.ndarray:
        """Of near copies those in a group that exact ones do not make."""
        if not self.near:
            return candidates
        there = np.unique(self.groups.of[self.groups.near])
        return candidates & np.isin(self.groups.of, there)

    def surplus(self, groups: Groups, chosen: np.ndarray) -> np.ndarray:
        """The chosen ones that leave: rather others than those trained on, rather the suspicious, rather the
        later."""
        suspicion = np.zeros(len(chosen)) if self.suspicion is None else self.suspicion
        preferred = np.lexsort((suspicion, self.split != TRAIN))
        return groups.surplus(preferred[chosen[preferred]].tolist())


def find_duplicates(folder: AuditFolder) -> list[Finding]:
    """Records with the same content: the same pixels as the model was given them, the same text, the same
    row of values, or the same features.

    Three kinds of findings. Copies whose labels contradict each other: of one picture or text at most one
    label is right. Copies of training records in another split: what is measured there is not unseen. And
    copies within one split: a record that counts as often as it stands there. Of a streamed audit only those
    points are compared that the folder holds: the top of the ranking.

    Raises:
        InputError: a damaged folder.
    """
    known = contents(folder)
    return [] if known is None else _found(folder, Groups.by(known), near=False)


def find_near_duplicates(folder: AuditFolder) -> list[Finding]:
    """Records with nearly the same content, and not the same: the same three kinds of findings as of
    :func:`find_duplicates`, of pictures by :func:`~swaypoint.findings.duplicates.pictures.near_pictures`, of
    texts by :func:`~swaypoint.findings.duplicates.texts.near_texts`, of rows and features by
    :func:`~swaypoint.findings.duplicates.nearest.near_rows`. Of exact copies one is compared.

    Raises:
        InputError: a damaged folder.
        MissingExtra: Pillow is not installed, for pictures.
    """
    known = contents(folder)
    if known is None:
        return []
    pairs = near_copies(folder, np.sort(np.unique(known, return_index=True)[1]))
    return _found(folder, Groups.by(known, pairs), near=True) if len(pairs) else []


def _found(folder: AuditFolder, groups: Groups, *, near: bool) -> list[Finding]:
    manifest, table = folder.manifest(), folder.scores()
    copies = _Copies(manifest, table, groups, near)
    found, split = [], copies.split
    if manifest.data.classes:
        contradicting = copies.chosen(groups.mixed(table["label"].to_numpy()))
        if contradicting.any():
            found.append(_contradicting(copies, contradicting))
    trained = groups.having(split == TRAIN)
    if near:
        trained &= ~Groups.by(groups.content).having(split == TRAIN)
    found += [
        _leaked(copies, name, (split == name) & trained, split == name)
        for name in manifest.data.ranked
        if name != TRAIN and ((split == name) & trained).any()
    ]
    within = groups.within(split)
    inside = _Copies(manifest, table, within, near)
    repeated = inside.chosen(within.size > 1)
    if repeated.any():
        found.append(_repeated(inside, repeated))
    return found


def _contradicting(copies: _Copies, chosen: np.ndarray) -> Finding:
    groups, records, count = copies.groups, int(chosen.sum()), copies.groups.count(chosen)
    meaning = (
        "no column tells them apart: labels are wrong, or a column is missing"
        if copies.tabular
        else "as a rule at most one label of each group is right"
        if copies.near
        else "at most one label of each group is right"
    )
    return Finding(
        name=f"{copies.what} that contradict each other",
        sentence=f"{records:,} records are {copies.what} of each other with different labels, in {count:,}"
        f" {'group' if count == 1 else 'groups'}: {meaning}",
        severity="medium" if copies.tabular else "high",
        evidence={"records": records, "groups": count, "share": records / len(chosen)},
        index=_by_group(groups, chosen, copies.suspicion),
        remedy="decide which label of each group is right, and give it to all, or keep one record a group",
        drop=_none() if copies.tabular else copies.surplus(groups, chosen),
    )


def _leaked(copies: _Copies, name: str, chosen: np.ndarray, members: np.ndarray) -> Finding:
    count, every, evidence = int(chosen.sum()), int(members.sum()), {}
    share, words = count / every, ""
    if copies.manifest.data.classes and count < every:
        right = copies.table["margin"].to_numpy() > 0
        evidence = {"accuracy": right[members].mean(), "accuracy_without": right[members & ~chosen].mean()}
        words = (
            f"; its accuracy is {evidence['accuracy']:.1%}, {evidence['accuracy_without']:.1%} without"
            f" {'it' if count == 1 else 'them'}"
        )
    severity: Severity = "high" if share >= _MANY else "medium"
    index = np.flatnonzero(chosen).astype(np.int64)
    return Finding(
        name=f"{name} records {'near to ones ' if copies.near else ''}that were trained on",
        sentence=f"{count:,} of {every:,} {name.replace('_', ' ')} {'record' if every == 1 else 'records'}"
        f" ({share:.1%}) {copies.are(count)} of {'one' if count == 1 else 'those'} that the model was"
        f" trained on{words}",
        severity=severity,
        evidence={"records": count, "share": share, **evidence},
        index=index,
        remedy="leave them out before anything is measured on this split, or keep copies in one split",
        drop=index,
    )


def _repeated(copies: _Copies, chosen: np.ndarray) -> Finding:
    groups, records, count = copies.groups, int(chosen.sum()), copies.groups.count(chosen)
    size, more = groups.size, records - count
    share, whose = more / len(chosen), "another in its" if more == 1 else f"{count:,} others in their"
    whose = whose.replace("others", "other") if count == 1 else whose
    return Finding(
        name=f"{copies.what} within a split",
        sentence=f"{more:,} {'record' if more == 1 else 'records'} ({share:.1%} of all) {copies.are(more)} of"
        f" {whose} split; the {'largest group has' if copies.near else 'most frequent stands there'}"
        f" {size[chosen].max():,}{'' if copies.near else ' times'}",
        severity="medium" if share >= _MANY else "low",
        evidence={
            "records": records,
            "groups": count,
            "share": share,
            "largest": float(size[chosen].max()),
        },
        index=_by_group(groups, chosen, None),
        remedy="keep one of each, unless it shall count as often as it stands there",
        drop=copies.surplus(groups, chosen),
    )


def _none() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


def _by_group(groups: Groups, chosen: np.ndarray, suspicion: np.ndarray | None) -> np.ndarray:
    """Positions, group by group: the group with the most suspicious record first, else the largest."""
    index = np.flatnonzero(chosen)
    of = groups.of[index]
    weight = (groups.size if suspicion is None else suspicion)[index].astype(np.float64)
    largest = np.zeros(groups.of.max() + 1)
    np.maximum.at(largest, of, weight)
    return index[np.lexsort((-weight, of, -largest[of]))].astype(np.int64)


findings.register("duplicates", find_duplicates)
findings.register("near_duplicates", find_near_duplicates)
