"""Damage for files: what truncation, flipped bits, careless editors and malice make of a valid one."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from swaypoint.errors import InputError

_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
_NUMBERS = [
    "",
    "0",
    "-1",
    "1e400",
    "nan",
    "-inf",
    "99999999999999999999",
    "2147483648",
    "1e-320",
    "0x10",
    "1_0",
]
_TEXTS = [*_NUMBERS, '"', "'", ",,,", "\t", "é", "\x00", "\x1b[2J", "=1+1", "\r", "\ufeff", "x" * 3000]
HOSTILE = [
    None,
    True,
    0,
    -1,
    0.5,
    2**40,
    2**70,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud800",
]
HOSTILE += ["\x1b[2J\n", [], {}, [[]], [None], {"a": 1}, "a" * 5000]


def fuzz(examples: int) -> settings:
    """Of a test, so that a file of them takes seconds; ``make fuzz`` gives each many times as many."""
    profile = settings.get_current_profile_name()
    return settings(
        max_examples=examples * (50 if profile == "fuzz" else 1),
        deadline=None,
        phases=(Phase.explicit, Phase.generate),  # the damage is small as it is; to shrink it takes minutes
        suppress_health_check=_CHECKS,
        derandomize=profile != "fuzz",
        database=None,
    )


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut short, with bytes flipped, replaced, left out, doubled or put in; at times two of these."""
    for _ in range(draw(st.integers(1, 2))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(0, 64)))
        piece = content[start:stop]
        changes = {
            "cut": content[:start],
            "flip": content[:start]
            + bytes(b ^ draw(st.integers(1, 255)) for b in piece[:2])
            + content[start + 2 :],
            "leave out": content[:start] + content[stop:],
            "double": content[:stop] + piece + content[stop:],
            "replace": content[:start] + draw(st.binary(max_size=16)) + content[stop:],
            "fill": content[:start] + bytes([draw(st.sampled_from([0, 255]))]) * len(piece) + content[stop:],
        }
        content = changes[draw(st.sampled_from(sorted(changes)))]
    return content


@st.composite
def edited(draw: st.DrawFn, text: str, separators: str = ",") -> bytes:
    """A text file with fields replaced, lines left out, doubled or moved, in a wrong encoding, or damaged."""
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 3))):
        at, to = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        change = draw(st.sampled_from(["field", "field", "leave out", "double", "move", "append"]))
        separator = draw(st.sampled_from(separators))
        if change == "field":
            fields = lines[at].split(separator)
            fields[draw(st.integers(0, len(fields) - 1))] = draw(st.sampled_from(_TEXTS))
            lines[at] = separator.join(fields)
        elif change == "append":
            lines[at] += draw(st.sampled_from([separator, *_TEXTS]))
        else:
            line = lines[at] if change == "double" else lines.pop(at)
            if change != "leave out":
                lines.insert(to, line)
            lines = lines or [""]
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    return "\n".join(lines).encode(encoding, "replace")


@st.composite
def misshapen(draw: st.DrawFn, value: Any) -> bytes:
    """JSON with parts replaced by values of other types, left out or doubled; or nested beyond reason."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 2))):
        value = _changed(draw, value)
    text = json.dumps(value)
    if draw(st.integers(0, 20)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(["[" * 100_000, '{"a":' * 100_000, "9" * 5000])) + text[at:]
    return text.encode()


def _changed(draw: st.DrawFn, value: Any) -> Any:
    parts = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    if not parts or draw(st.integers(0, 9)) == 0:
        return copy.deepcopy(draw(st.sampled_from(HOSTILE)))
    part = draw(st.sampled_from(parts))
    change = draw(st.sampled_from(["inside", "inside", "inside", "inside", "leave out", "double"]))
    if change == "inside":
        value[part] = _changed(draw, value[part])
    elif change == "leave out":
        del value[part]
    elif isinstance(value, list):
        value.insert(part, value[part])
    else:
        value[draw(st.sampled_from(["", "a", "\ud800", "__class__"]))] = value[part]
    return value


def outcome(use: Callable[[Path], Any], path: Path, *also: Path) -> Any:
    """What ``use`` makes of the file; an outcome too is an InputError that names it, or one of ``also``, on
    a line that can be read.

    Anything else that it raises fails the test.
    """
    try:
        return use(path)
    except InputError as error:
        message = str(error)
        assert any(str(named) in message for named in (path, *also)), message
        assert message.count("\n") == 0, message
        assert len(message) < 5000, message
        return error


def use_damaged(use: Callable[[Path], Any], name: str, content: bytes) -> Any:
    """:func:`outcome` for a file of that name and content in a folder of its own, where nothing is left."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        result = outcome(use, path)
        assert [file.name for file in Path(folder).iterdir()] == [name]
        return result
