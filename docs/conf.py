"""How the site is built, by ``make docs``: offline, and a warning, such as a dead link, is an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs")]

import executed  # noqa: E402

import swaypoint  # noqa: E402

project = "swaypoint"
copyright = "the swaypoint authors, Apache-2.0"
version = release = swaypoint.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "*.py"]
suppress_warnings = ["myst.header"]  # tables that are made elsewhere skip a level
smartquotes = False  # --option is no dash
highlight_language = "none"  # most blocks are for the shell

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

nb_custom_formats = {".py": "executed.read"}
nb_execution_mode = "off"  # make notebooks executes them
nb_merge_streams = True

maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
napoleon_use_ivar = True

html_theme = "pydata_sphinx_theme"
html_title = f"swaypoint {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"changelog": []}  # it has no section
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

OUTSIDE = {"../benchmarks/RESULTS.md": "results.md", "../CHANGELOG.md": "changelog.md"}
"""Files of the repository that a page links to, and the pages that show them."""


def _link_to_pages(app: Any, page: str, source: list[str]) -> None:
    for file, shown in OUTSIDE.items():
        source[0] = source[0].replace(f"]({file}", f"]({shown}")
    source[0] = source[0].replace("](../src/", "](path:../src/")  # which is no page


def _dashes(app: Any, tree: nodes.document) -> None:
    """Between a parameter and what it is, which is all that ``smartquotes`` is wanted for."""
    for field in tree.findall(nodes.field_body):
        for text in list(field.findall(nodes.Text)):
            if text.startswith(" -- "):
                text.parent.replace(text, nodes.Text(text.replace(" -- ", " – ", 1)))


def _notebooks(app: Any, error: Exception | None) -> None:
    if error is None:
        executed.write(Path(app.outdir) / "notebooks")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("build-finished", _notebooks)
    app.connect("doctree-read", _dashes)
    app.connect("source-read", _link_to_pages)
