"""Long class names cut so that what tells them apart stays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

WIDE, NARROW = 36, 13
"""Characters of a name on a button, and under a thumbnail."""
_PIECE, _LONG = 8, 20  # a word longer than this is cut into pieces of so many characters
_WORD = re.compile(r"[^\W_]+|[\W_]")


@dataclass(frozen=True)
class Short:
    """A name as it stands on a button, and under a thumbnail."""

    wide: str
    narrow: str


def shortened(names: Sequence[str]) -> dict[str, Short]:
    """The names that are longer than :data:`NARROW`, each with its short forms; see :func:`cut`."""
    wide, narrow = cut(names, WIDE), cut(names, NARROW)
    return {name: Short(wide[name], narrow[name]) for name in names if len(name) > NARROW}


def cut(names: Sequence[str], room: int) -> dict[str, str]:
    """Each name in about ``room`` characters, no two alike.

    What a name shares with most of the others goes first, an ellipsis in its place: of its words the rarest
    stay, and around them as many more as there is room for. Two names that would look alike get more room,
    until they differ; so a short form may be longer than ``room``.

    >>> cut(["collection of beetles, drawer 17", "collection of beetles, drawer 18"], 12)
    {'collection of beetles, drawer 17': '… drawer 17', 'collection of beetles, drawer 18': '… drawer 18'}
    """
    words = {name: _words(name) for name in names}
    frequency = Counter(word for found in words.values() for word in set(found))
    shown, room_of = {name: name for name in names}, dict.fromkeys(names, room)
    changed = [name for name in names if len(name) > room]
    while changed:
        for name in changed:
            shorter = _cut(words[name], frequency, room_of[name])
            shown[name] = shorter if shorter and len(shorter) < len(name) else name
        alike = Counter(shown.values())
        changed = [name for name in names if alike[shown[name]] > 1 and shown[name] != name]
        for name in changed:
            room_of[name] += max(4, room // 3)  # in the end room for all of it
    return shown


def _words(name: str) -> list[str]:
    """Words and what is between them; a very long one in pieces."""
    pieces = ((word, _PIECE if len(word) > _LONG else len(word)) for word in _WORD.findall(name))
    return [word[i : i + size] for word, size in pieces for i in range(0, len(word), size)]


def _cut(words: list[str], frequency: Counter[str], room: int) -> str:
    """Words that not all names have, the rarest first, and then those beside them."""
    kept: set[int] = set()
    spoken = [i for i, word in enumerate(words) if word.isalnum()]
    everywhere = max(frequency[words[i]] for i in spoken) if spoken else 0
    telling = sorted(
        (i for i in spoken if frequency[words[i]] < everywhere), key=lambda i: frequency[words[i]]
    )
    beside = sorted(spoken, key=lambda i: min((abs(i - j) + (i > j) / 2 for j in telling), default=-i))
    for i in (*telling, *beside):
        if len(_joined(words, kept | {i})) <= room or not kept:
            kept.add(i)
    return _joined(words, kept)


def _joined(words: list[str], kept: set[int]) -> str:
    """The kept words, with what is between two neighbours, and an ellipsis where words are missing."""
    text, last = "", -1
    for i in sorted(kept):
        between = words[last + 1 : i]
        missing = any(word.isalnum() for word in between)
        blank = " " if between and between[-1].isspace() else ""
        text += f"…{blank}" if missing else "".join(between)
        text += words[i]
        last = i
    rest = words[last + 1 :]
    return text + ("…" if any(word.isalnum() for word in rest) else "".join(rest))
