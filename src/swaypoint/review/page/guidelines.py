"""What the owner of a review asks of its reviewers, written in Markdown."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from swaypoint.errors import InputError, reading

FILE = "guidelines.md"
"""In the audit folder; found there by itself."""
_LONGEST = 1_000_000


def rendered(file: Path) -> Markup:
    """The Markdown in ``file`` as HTML. Markup within it is text, and no address runs a script.

    Raises:
        InputError: it cannot be read, or is longer than a person would read.
    """
    with reading(file, "guidelines in Markdown, UTF-8", "write them into a file of text"):
        if file.stat().st_size > _LONGEST:
            raise InputError(f"{file}: guidelines of more than {_LONGEST:,} bytes; shorten them")
        text = file.read_text(encoding="utf-8")
    return Markup(MarkdownIt("js-default").render(text))  # this preset leaves HTML as text
