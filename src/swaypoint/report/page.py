"""The pages' common frame: HTML files that need nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swaypoint.errors import require


def render_page(name: str, **values: Any) -> str:
    """The template ``name`` as one string, escaped.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    jinja2 = require("jinja2", "report")
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return str(environment.get_template(f"{name}.html").render(**values))
