"""Regions of an audit: from its folder, and kept in it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from pyarrow import csv

from swaypoint.errors import InputError, reading
from swaypoint.findings.kept import forget
from swaypoint.findings.regions.finding import GATHERING, Action, Bound, Points, Region, regions
from swaypoint.findings.regions.proposals import proposal_table, propose
from swaypoint.findings.regions.table import Table
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.documents import read_json
from swaypoint.folder.items import components
from swaypoint.folder.manifest import TRAIN, Manifest
from swaypoint.folder.tensors import read_tensors
from swaypoint.folder.writing import replace_file, write_json

FILE = "regions.json"
_COORDINATES = 10
"""Principal components of the features of pictures and texts: in more, all distances are nearly one."""
_REGION = {
    "members": [int],
    "classes": [[(str, int)]],
    "predicted": [[(str, int)]],
    "bounds": [{"column": str, "low": float, "high": float, "values": [str], "share": float}],
    "action": set(get_args(Action)),
    "reason": str,
    **dict.fromkeys(("influence", "share", "spacing", "reach"), float),
    **dict.fromkeys(("disagreement", "errors", "margin", "wrong"), (float, None)),
}


@dataclass(frozen=True, eq=False)
class Exploration:
    """The regions of an audit, of its points and the table that they are; ``top`` as it was asked for."""

    regions: tuple[Region, ...]
    points: Points
    table: Table
    top: float


def explore(folder: AuditFolder, *, top: float = 0.5) -> Exploration:
    """Group the most influential training points of an audit, see
    :func:`swaypoint.findings.regions.regions`; members are positions in ``scores.parquet``.

    Raises:
        InputError: not a finished audit, a streamed one, or one that did not keep its inputs or features;
            ``top`` out of range.
        MissingExtra: scikit-learn is not installed.
    """
    points, table = read_points(folder)
    return Exploration(regions(points, table, top=top), points, table, top)


def is_tabular(manifest: Manifest) -> bool:
    """Whether an audit's points are rows or features, not images."""
    return manifest.data.kind in ("rows", "features")


def inputs_file(folder: AuditFolder) -> tuple[Path, str] | None:
    """Where a tabular audit has the inputs of its training points, ``(n, d)`` float32: a safetensors file
    and the tensor's name; None where it kept none."""
    manifest = folder.manifest()
    name = "inputs"
    if manifest.data.kind == "features" and manifest.model.layer == "":
        name = "features"  # the head is the whole model
    file = folder.path / f"{name}.safetensors"
    return (file, name) if is_tabular(manifest) and file.is_file() else None


def points_file(folder: AuditFolder) -> tuple[Path, str]:
    """Where an audit has its points as numbers: :func:`inputs_file`, else the features of the last layer, if
    it kept them."""
    return inputs_file(folder) or (folder.path / "features.safetensors", "features")


def read_points(folder: AuditFolder) -> tuple[Points, Table]:
    """The points of an audit, and the table that they are: of a table's or of features' inputs; of pictures
    and texts the first ten principal components of the standardised features of the last layer. Those that
    the model was not trained on fill the table as the others do, and have no influence: it is the others
    that the model depends on.

    In its own features a record lies where the model puts it, so that neighbours with another label are no
    second witness against its label; there the audit's probability of a wrong label is.

    Raises:
        InputError: as :func:`explore`.
    """
    folder.check_whole("finding regions")
    data, tabular = folder.manifest().data, is_tabular(folder.manifest())
    place = inputs_file(folder) if tabular else points_file(folder)
    if place is None or not place[0].is_file():
        raise InputError(
            f"{folder.path} does not hold the {'inputs' if tabular else 'features'} of its points;"
            " make the audit again, with --keep-features"
        )
    scores = folder.scores()
    lengths = {"n": len(scores)} | ({"d": len(data.columns)} if tabular else {})
    inputs = read_tensors(place[0], {place[1]: "nd"}, **lengths)[place[1]]
    inputs = inputs if tabular else components(inputs, min(_COORDINATES, inputs.shape[1]))
    labels, classes = scores["label"].to_numpy(), data.classes
    influence = np.where(scores["split"].to_numpy() == TRAIN, scores["cook"].to_numpy(), 0.0)
    points = Points(
        inputs,
        influence,
        labels,
        scores["suggested_label"].to_numpy(),
        scores["margin"].to_numpy() if classes else None,
        scores["p_wrong"].to_numpy() if not tabular and "p_wrong" in scores.column_names else None,
    )
    return points, Table(inputs, labels, data.columns if tabular else (), classes)


def write_regions(folder: AuditFolder, found: Exploration) -> None:
    """As ``regions.json``."""
    stored = {"key": folder.manifest().key, "top": found.top, "regions": described(found)}
    write_json(folder.path / FILE, stored)
    forget(folder, "regions")  # these are its findings now


def described(found: Exploration) -> list[dict[str, Any]]:
    """The regions as JSON has them; NaN as null."""
    return [
        {name: None if value != value else value for name, value in asdict(region).items()}
        for region in found.regions
    ]


def write_proposals(
    found: Exploration,
    path: Path,
    *,
    k: int = 10,
    seed: int = 0,
    actions: Collection[Action] = GATHERING,
) -> int:
    """Up to ``k`` new inputs for each region of one of the ``actions``, by default those that ask for some,
    as CSV.

    Returns:
        How many were written.

    Raises:
        InputError: ``k`` < 1, no place to write to, or coordinates, which nobody can gather.
    """
    if not found.table.columns:
        raise InputError(
            "new inputs are proposed for tables and features; of pictures and texts, gather more like the"
            " examples of regions.html"
        )
    proposals = [
        (number, propose(region, found.points, found.table, k=k, seed=seed))
        for number, region in enumerate(found.regions, start=1)
        if region.action in actions
    ]
    if not path.absolute().parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")
    table = proposal_table(proposals, found.table)
    replace_file(path, lambda temporary: csv.write_csv(table, temporary))
    return len(table)


def read_regions(folder: AuditFolder) -> tuple[Region, ...] | None:
    """Those that ``swaypoint regions`` wrote; None if it has not been run.

    Raises:
        InputError: the file is damaged, or of another audit.
    """
    file = folder.path / FILE
    if not file.is_file():
        return None
    remedy = f"write it again with: swaypoint regions {folder.path}"
    manifest, stored = folder.manifest(), read_json(file, {"key": str, "regions": [_REGION]}, remedy)
    if stored["key"] != manifest.key:
        raise InputError(f"{file} is of another audit; {remedy}")
    with reading(file, "a list of regions", remedy):
        found = tuple(_region(value) for value in stored["regions"])
    members = [member for region in found for member in region.members]
    if members and not 0 <= min(members) <= max(members) < sum(manifest.data.ranked.values()):
        raise InputError(f"{file}: its regions hold points that the audit does not have; {remedy}")
    return found


def _region(value: dict[str, Any]) -> Region:
    known: dict[str, Any] = {name: float("nan") if value[name] is None else value[name] for name in _REGION}
    known["members"] = tuple(value["members"])
    for each in ("classes", "predicted"):
        known[each] = tuple((name, count) for name, count in value[each])
    known["bounds"] = tuple(Bound(**bound | {"values": tuple(bound["values"])}) for bound in value["bounds"])
    return Region(**known)
