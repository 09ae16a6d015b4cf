"""Copies among the records, exact and near."""

from swaypoint.findings.duplicates.finder import find_duplicates, find_near_duplicates

__all__ = ["find_duplicates", "find_near_duplicates"]
