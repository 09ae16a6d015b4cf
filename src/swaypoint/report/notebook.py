"""What a notebook shows of an audit and of findings: HTML without scripts or widgets, light and dark."""

from __future__ import annotations

from typing import Any

from swaypoint.findings import Found
from swaypoint.findings import found as found_in
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.report.findings import OPEN, counted, nothing, told
from swaypoint.report.html import cards, columns
from swaypoint.report.page import render_page
from swaypoint.report.terminal import FITNESS, in_words, ranked_by, split_name, suspected_words

FIRST = 12
"""Points of the ranking in the gallery."""


def audit(folder: AuditFolder) -> str:
    """In short, the first :data:`FIRST` points of the ranking, and the findings.

    Raises:
        InputError: not a finished audit, or a damaged one.
        MissingExtra: jinja2 is not installed.
    """
    manifest = folder.manifest()
    return render_page(
        "notebook_audit",
        manifest=manifest,
        ranked=in_words(manifest.data),
        ranked_by=ranked_by(manifest),
        split_name=split_name,
        fitness=FITNESS[manifest.diagnostics.verdict],
        suspected=suspected_words(manifest),
        cards=cards(folder, columns(folder), first=FIRST),
        report=folder.path / "report.html",
        **_list(found_in(folder)),
    )


def findings(everything: Found) -> str:
    """As a list, the most severe first, and what could not be looked for.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    return render_page("notebook_findings", **_list(everything))


def _list(everything: Found) -> dict[str, Any]:
    return {
        "findings": [told(finding) for finding in everything.findings],
        "open": OPEN,
        "more": counted(everything.findings[OPEN:]),
        "nothing": nothing(everything),
        "notes": everything.notes,
    }
