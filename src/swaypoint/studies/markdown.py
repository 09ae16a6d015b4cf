"""Tables of the studies as Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def markdown(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a line of names above its rows."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
