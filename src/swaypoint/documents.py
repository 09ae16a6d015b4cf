"""JSON files of a known shape: read and checked at once, so that whoever uses the content need not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swaypoint.errors import InputError, reading, shortened

_MOST = 2**63


def read_json(path: Path, shape: Any, remedy: str) -> Any:
    """The content of a JSON file, which has the shape; see :func:`misfit`.

    Raises:
        InputError: it is missing, no JSON, or of another shape; it is said where, and ``remedy``.
    """
    with reading(path, "a JSON file", remedy):
        value = json.loads(path.read_text(encoding="utf-8"))
    if (problem := misfit(value, shape)) is not None:
        raise InputError(f"{path}: {problem}; {remedy}")
    return value


def misfit(value: Any, shape: Any, where: str = "its content") -> str | None:
    """What in ``value`` does not have the shape; None where all of it has.

    A shape is a type (``str`` of text that UTF-8 can hold, ``float`` of any number, ``int`` of one that 64
    bits hold, ``bool``), None, a set of the possible texts, a list of one shape (any number of such), a
    dict (an object with at least these names), or a tuple of shapes (any of them).

    >>> misfit({"seed": 0, "tags": ["a", 1]}, {"seed": int, "tags": [str]})
    "'tags'[1] is 1, no str"
    """
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{where} is {_shown(value)}, no object"
        missing = [name for name in shape if name not in value]
        if missing:
            return f"{where} has no {missing[0]!r}"
        inner = ((value[name], part, repr(name)) for name, part in shape.items())
        return next((found for args in inner if (found := misfit(*args)) is not None), None)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is {_shown(value)}, no list"
        parts = ((part, shape[0], f"{where}[{i}]") for i, part in enumerate(value))
        return next((found for args in parts if (found := misfit(*args)) is not None), None)
    if isinstance(shape, tuple):
        problems = [misfit(value, part, where) for part in shape]
        return None if None in problems else problems[-1]
    if isinstance(shape, set):
        fits = isinstance(value, str) and value in shape
        return None if fits else f"{where} is {_shown(value)}, none of {', '.join(sorted(shape))}"
    return (
        None if _is(value, shape) else f"{where} is {_shown(value)}, no {getattr(shape, '__name__', shape)}"
    )


def _is(value: Any, kind: Any) -> bool:
    if kind is None or kind is bool:
        return value is None if kind is None else isinstance(value, bool)
    if kind is str:
        return isinstance(value, str) and value.encode("utf-8", "ignore").decode() == value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return kind is float if isinstance(value, float) else abs(value) < _MOST


def _shown(value: Any) -> str:
    return shortened(repr(value), 60)
