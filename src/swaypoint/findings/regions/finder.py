"""Regions of an audit as findings: one of each that is not typical of the data."""

from __future__ import annotations

import math

import numpy as np

from swaypoint.findings.base import Finding, Severity, findings
from swaypoint.findings.regions.finding import GATHERING, Action, Region, regions
from swaypoint.findings.regions.folder import is_tabular, points_file, read_points, read_regions
from swaypoint.folder.audit_folder import AuditFolder

_FEWEST = 30
"""Points below which no region is told from chance."""
_HIGH, _MEDIUM = 0.1, 0.01
"""Shares of the whole influence from which on a region is severe."""
_MOST, _SEVERAL = 12, 3
_REMEDIES: dict[Action, str] = {
    "check labels": "check the labels with: swaypoint review {path}",
    "gather": "gather data there; inputs are proposed by: swaypoint regions {path} --propose 10",
    "boundary": "gather along the boundary; inputs are proposed by: swaypoint regions {path} --propose 10",
    "filter": "see whether this belongs to the data, and leave out what does not",
}
_LIKE = "{what} more like its examples, on the page that is written by: swaypoint regions {{path}}"
_REMEDIES_OF_EXAMPLES: dict[Action, str] = {  # pictures and texts, see _is_named
    "gather": _LIKE.format(what="gather"),
    "boundary": _LIKE.format(what="gather and label with care"),
}


def find_regions(folder: AuditFolder) -> list[Finding]:
    """The regions that ``swaypoint regions`` wrote, else those of its defaults, numbered as there; without
    those to ``keep``, and at most twelve. None of streamed audits, and of those that kept no inputs or
    features. Of pictures and texts, which lie by the model's own features, those of several records alone
    that ask for more data: single ones and wrong labels have the ranking.

    The severity is the region's share of the influence of all points: from 10 % on high, from 1 % medium.

    Raises:
        InputError: a damaged folder.
        MissingExtra: scikit-learn is not installed.
    """
    if folder.streamed or not points_file(folder)[0].is_file():
        return []
    found = read_regions(folder)
    if found is None and sum(folder.manifest().data.ranked.values()) < _FEWEST:
        return []
    if found is None:
        found = regions(*read_points(folder))
    tabular = is_tabular(folder.manifest())
    named = [one for one in enumerate(found, start=1) if _is_named(one[1], tabular)]
    return [_finding(folder, *one) for one in named[:_MOST]]


def _is_named(region: Region, tabular: bool) -> bool:
    if tabular:
        return region.action != "keep"
    return region.action in GATHERING and len(region) >= _SEVERAL


def _finding(folder: AuditFolder, number: int, region: Region) -> Finding:
    points = f"{len(region):,} points carry" if len(region) > 1 else "1 point carries"
    where = f", where {region.where}" if region.where else ""
    remedies = _REMEDIES if is_tabular(folder.manifest()) else _REMEDIES_OF_EXAMPLES
    names = ("share", "influence", "spacing", "disagreement", "errors", "margin", "wrong")
    evidence = {name: float(getattr(region, name)) for name in names}
    return Finding(
        name=f"region {number}",
        sentence=f"{points} {region.share:.1%} of the influence{where}; {region.reason}",
        severity=_severity(region.share),
        evidence={name: value for name, value in evidence.items() if not math.isnan(value)},
        index=np.array(region.members, np.int64),
        remedy=remedies[region.action].format(path=folder.path),
    )


def _severity(share: float) -> Severity:
    return "high" if share >= _HIGH else "medium" if share >= _MEDIUM else "low"


findings.register("regions", find_regions)
