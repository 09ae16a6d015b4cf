"""How a notebook shows what lies deep in the house: as the report does, which lies above."""

from __future__ import annotations

import importlib

from swaypoint.errors import InputError, MissingExtra

_HOME = "swaypoint.report.notebook"  # by its name, as the package loads what is public


def shown(view: str, thing: object) -> str | None:
    """HTML of ``thing`` by the function ``view`` there, for ``_repr_html_``; None, and a notebook shows the
    text, where the audit cannot be read or jinja2 is not installed."""
    try:
        html: str = getattr(importlib.import_module(_HOME), view)(thing)
    except (InputError, MissingExtra):
        return None
    return html
