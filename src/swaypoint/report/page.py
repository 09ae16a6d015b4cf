"""The pages' common frame: HTML files that need nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swaypoint.errors import require

PARTS = Path(__file__).parent
"""Where the templates lie, and the parts that other pages share."""


def render_page(name: str, *, templates: Path = PARTS, **values: Any) -> str:
    """The template ``name`` of the folder ``templates`` as one string, escaped.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    jinja2 = require("jinja2", "report")
    loader = jinja2.FileSystemLoader([templates, PARTS])
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return str(environment.get_template(f"{name}.html").render(**values))
