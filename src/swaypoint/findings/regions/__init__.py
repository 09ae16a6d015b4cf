"""Regions of the input space that a model depends on most, what to do there, and where to gather data."""

from swaypoint.findings.regions.finding import Bound, Points, Region, central, regions
from swaypoint.findings.regions.folder import (
    Exploration,
    described,
    explore,
    read_points,
    read_regions,
    write_proposals,
    write_regions,
)
from swaypoint.findings.regions.proposals import proposal_table, propose
from swaypoint.findings.regions.table import Range, Table

__all__ = [
    "Bound",
    "Exploration",
    "Points",
    "Range",
    "Region",
    "Table",
    "central",
    "described",
    "explore",
    "proposal_table",
    "propose",
    "read_points",
    "read_regions",
    "regions",
    "write_proposals",
    "write_regions",
]
