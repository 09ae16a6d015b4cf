"""What changes along the order of the source or along a time: shares of the classes, columns, features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from swaypoint.data.readers.text_values import parsed_text
from swaypoint.findings.base import Finding, Severity, findings
from swaypoint.findings.regions.folder import is_tabular, points_file
from swaypoint.findings.shortcuts import Attribute, numbers_the_records, placed, sampled_table
from swaypoint.findings.significance import chi_squared, holm
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.items import components
from swaypoint.folder.manifest import Manifest
from swaypoint.folder.tensors import map_tensor

LEVEL = 0.05
"""Probability of any finding by chance, over all that is tested of an audit."""
_MOST, _FEWEST = 10_000, 200
_STRETCHES, _COMPONENTS = 10, 10
_LEAST, _MEDIUM, _HIGH = 0.02, 0.1, 0.25
"""Shares of the variance between the stretches from which on drift matters at all, and is severe."""


@dataclass(frozen=True, eq=False)
class Change:
    """How values change along an order.

    Attributes:
        share: of the variance of their ranks that lies between ten stretches of the order, beyond what lies
            there by chance.
        p: of a share as large, were the values exchangeable within their groups.
        mean: ``(s,)`` mean rank of each stretch, -0.5..0.5.
        stretch: ``(n,)`` of each record; ``rank`` (n,) of its value.
    """

    share: float
    p: float
    mean: np.ndarray
    stretch: np.ndarray
    rank: np.ndarray


def find_drift(folder: AuditFolder) -> list[Finding]:
    """What changes along the place in the source, and along every column of the records that is a date or a
    time: columns of tables, and of pictures and texts the first ten principal components of the features, all
    within the classes, so that a source sorted by label does not count; along times the shares of the classes
    (or the values) too. Along the place these are told by
    :func:`~swaypoint.findings.shortcuts.find_shortcuts`.

    Each by :func:`change`, Holm's procedure at 5 % over all of it, and where at least 2 % of the variance
    lies between the stretches. One finding for the columns or features along an order, one for its labels.
    At most 10,000 records are looked at, evenly spaced, and none where there are fewer than 200; O(n
    columns). None of streamed audits.

    Raises:
        InputError: a damaged folder.
    """
    if folder.streamed:
        return []
    manifest, scores = folder.manifest(), folder.scores()
    rows = np.arange(0, len(scores), -(-len(scores) // _MOST))
    if len(rows) < _FEWEST:
        return []
    scores = scores.take(rows)
    label = scores["label"].to_numpy()
    times = list(_times(folder, rows))
    within = label if manifest.data.classes else np.zeros(len(rows), dtype=np.int64)
    things = [("features", each, within) for each in _things(folder, manifest, rows, times)]
    found: list[tuple[str, str, str, Change]] = []
    for clock in [*placed(scores), *times]:
        known = np.flatnonzero(~np.isnan(clock.values))
        if len(known) < _FEWEST or len(np.unique(clock.values[known])) < 2:
            continue
        tested = things
        if clock.kind == "time":
            whole = np.zeros(len(rows), dtype=np.int64)
            tested = [*things, *(("labels", each, whole) for each in _labels(manifest, label))]
        for kind, thing, group in tested:
            seen = change(clock.values[known], thing.values[known], group[known])
            found.append((clock.name, kind, thing.name, _over(seen, known, len(rows))))
    real = holm(np.array([one.p for *_, one in found]), LEVEL)
    kept = [one for one, is_real in zip(found, real, strict=True) if is_real and one[-1].share >= _LEAST]
    named = dict.fromkeys((clock, kind) for clock, kind, *_ in kept)
    return [_finding(each, kept, found, rows) for each in named]


def change(order: np.ndarray, values: np.ndarray, group: np.ndarray) -> Change:
    """The test of Kruskal & Wallis (1952) of ``values`` over ten stretches of ``order``, by ranks within each
    ``group``, of the order as of the values; equal ones share their rank, so that equal times stay together.

    The sum of squares between the stretches is brought to its mean over all permutations within the groups,
    and compared with chi squared.

    Args:
        order, values: ``(n,)``.
        group: ``(n,)`` codes.
    """
    rank, place = np.zeros(len(order)), np.zeros(len(order))
    _, group = np.unique(group, return_inverse=True)
    for members in np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1]):
        rank[members], place[members] = _ranks(values[members]), _ranks(order[members])
    stretch = np.unique(np.floor((place + 0.5) * _STRETCHES), return_inverse=True)[1]
    size, sizes = np.bincount(stretch), np.bincount(group)
    mean, total = np.bincount(stretch, rank) / size, float(np.square(rank).sum())
    between = float(size @ np.square(mean))
    # The variance of the sum of n_b ranks of n, drawn without replacement, for each group and stretch.
    drawn = np.zeros((len(sizes), len(size)))
    np.add.at(drawn, (group, stretch), 1)
    variance = np.bincount(group, np.square(rank)) / np.maximum(sizes - 1, 1)
    usual = float(((drawn * (1 - drawn / sizes[:, None])) * variance[:, None] / size).sum())
    if usual <= 0 or len(size) < 2:
        return Change(0.0, 1.0, mean, stretch, rank)
    p = chi_squared((len(size) - 1) * between / usual, len(size) - 1)
    return Change(max(between - usual, 0.0) / total, p, mean, stretch, rank)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Between -0.5 and 0.5, with mean 0; the mean of their places for equal values."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(((np.cumsum(counts) - counts / 2) / len(values) - 0.5)[codes])


def _over(seen: Change, known: np.ndarray, n: int) -> Change:
    """Of all n records again; those whose time is not known in the stretch -1."""
    stretch, rank = np.full(n, -1), np.zeros(n)
    stretch[known], rank[known] = seen.stretch, seen.rank
    return Change(seen.share, seen.p, seen.mean, stretch, rank)


# -- orders, and what may change along them -----------------------------------------------------------


def _times(folder: AuditFolder, rows: np.ndarray) -> Iterator[Attribute]:
    """Columns of what the review shows of the records that are dates, in microseconds; NaN where missing."""
    if not (folder.path / "items.arrow").is_file():
        return
    items = folder.items()[1]["row"].take(rows)
    if items.null_count:
        return
    records = [folder.row(text) for text in items.to_pylist()]
    for name in records[0]:
        column = pa.chunked_array([pa.array([row.get(name) for row in records], pa.large_string())])
        parsed = parsed_text(column)
        if parsed is not None and pa.types.is_timestamp(parsed.values.type):
            ticks = parsed.values.cast(pa.int64()).to_numpy()
            yield Attribute(name, "time", np.asarray(ticks, dtype=np.float64))


def _things(
    folder: AuditFolder, manifest: Manifest, rows: np.ndarray, times: list[Attribute]
) -> Iterator[Attribute]:
    """Columns, or principal components; without times and what numbers the records, as these are orders."""
    table = sampled_table(folder, manifest, rows)
    if table is not None:
        for name in table.source:
            values, categories = table.column(name, table.inputs)
            timed = any(name == time.name or name.startswith(f"{time.name}: ") for time in times)
            if timed or (not categories and numbers_the_records(values)) or not np.ptp(values):
                continue
            if not categories:
                yield Attribute(name, "column", values)
            else:
                for code in np.unique(values):
                    label = f"{name} = {categories[int(code)]}"
                    yield Attribute(label, "column", (values == code).astype(np.float64))
    elif not is_tabular(manifest):
        points = map_tensor(*points_file(folder), sum(manifest.data.ranked.values()))
        if points is not None and points.shape[1]:
            found = components(np.asarray(points[rows]), min(_COMPONENTS, points.shape[1]))
            for number, values in enumerate(found.T, start=1):
                yield Attribute(f"component {number} of the features", "feature", values)


def _labels(manifest: Manifest, label: np.ndarray) -> Iterator[Attribute]:
    if not manifest.data.classes:
        yield Attribute("the value", "label", label)
        return
    for code in np.unique(label):
        share = (label == code).astype(np.float64)
        yield Attribute(f"the share of {manifest.data.classes[int(code)]}", "label", share)


# -- the finding --------------------------------------------------------------------------------------


def _finding(
    which: tuple[str, str],
    kept: list[tuple[str, str, str, Change]],
    found: list[tuple[str, str, str, Change]],
    rows: np.ndarray,
) -> Finding:
    clock, kind = which
    mine = sorted((one for one in kept if one[:2] == which), key=lambda one: -one[-1].share)
    tried = sum(one[:2] == which for one in found)
    *_, name, most = mine[0]
    away = int(np.abs(most.mean).argmax())
    members = np.flatnonzero(most.stretch == away)
    members = members[np.argsort(-np.sign(most.mean[away]) * most.rank[members], kind="stable")]
    where = f"stretch {away + 1} of {len(most.mean)}"
    inside = "" if kind == "labels" else " within the classes"
    severity: Severity = "high" if most.share >= _HIGH else "medium" if most.share >= _MEDIUM else "low"
    what = "shares of classes" if kind == "labels" else kind
    many = f"{len(mine)} of {tried} {what} change" if tried > 1 else "what there is changes"
    return Finding(
        name=f"{kind} drift along {clock}",
        sentence=f"{many} along {clock}{inside}, most of all {name}: {most.share:.0%} of the variance of its"
        f" ranks lies between ten stretches of equally many records, and {where} is"
        f" {'highest' if most.mean[away] > 0 else 'lowest'}: records are not exchangeable",
        severity=severity,
        evidence={"share_of_variance": most.share, "p": most.p, "changing": len(mine), "tried": len(found)},
        index=rows[members].astype(np.int64),
        remedy="hold out the last stretch, as what comes next is met; see what changed: the source, the"
        " instrument, who labels",
    )


findings.register("drift", find_drift)
