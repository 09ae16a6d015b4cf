"""What holds of the whole dataset; importing the package registers every finder."""

from swaypoint.findings.base import SEVERITIES, Finding, Found, Severity, find, findings
from swaypoint.findings.class_pairs import find_class_pairs
from swaypoint.findings.duplicates import find_duplicates, find_near_duplicates
from swaypoint.findings.regions.finder import find_regions

__all__ = [
    "SEVERITIES",
    "Finding",
    "Found",
    "Severity",
    "find",
    "find_class_pairs",
    "find_duplicates",
    "find_near_duplicates",
    "find_regions",
    "findings",
]
