"""What holds of the whole dataset; importing the package registers every finder."""

from swaypoint.findings.base import SEVERITIES, Finding, Found, Severity, find, findings
from swaypoint.findings.class_pairs import find_class_pairs
from swaypoint.findings.drift import find_drift
from swaypoint.findings.duplicates import find_duplicates, find_near_duplicates
from swaypoint.findings.kept import found, keep
from swaypoint.findings.outliers import find_outliers
from swaypoint.findings.regions.finder import find_regions
from swaypoint.findings.shortcuts import find_shortcuts
from swaypoint.findings.weak_groups import find_weak_groups

__all__ = [
    "SEVERITIES",
    "Finding",
    "Found",
    "Severity",
    "find",
    "find_class_pairs",
    "find_drift",
    "find_duplicates",
    "find_near_duplicates",
    "find_outliers",
    "find_regions",
    "find_shortcuts",
    "find_weak_groups",
    "findings",
    "found",
    "keep",
]
