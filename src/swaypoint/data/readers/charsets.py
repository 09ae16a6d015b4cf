"""In what encoding bytes that are not UTF-8 are text, by their words that are not ASCII."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from swaypoint.errors import InputError, require

MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""How text of an encoding begins."""
_WORDS = 64 << 10  # bytes of words that are not ASCII, by which an encoding is told
_LATIN = ("cp1252", "cp1250")  # of equal ones the first: western
_ENCODINGS = [
    *(*_LATIN, "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
]
"""What tables are written in. Of all that there are, charset-normalizer finds rare ones in short texts."""


def encoding_of(name: object, blocks: Iterable[bytes]) -> str:
    """Of bytes that are not UTF-8; of so many blocks as are needed to tell.

    Raises:
        InputError: none fits.
        MissingExtra: charset-normalizer is not installed.
    """
    words = b" ".join(_foreign_words(blocks))[:_WORDS]
    best = (
        require("charset_normalizer", "tables")
        .from_bytes(words, cp_isolation=_ENCODINGS, threshold=0.5)
        .best()
    )
    if best is None:
        raise InputError(f"{name}: it is not UTF-8 text, nor of a known encoding; save it as UTF-8")
    return _latin(words) if best.encoding in _LATIN else str(best.encoding)


def _latin(words: bytes) -> str:
    """Which of the two encodings of Latin letters makes the more letters of what stands beside letters."""
    beside = b" ".join(word for word in words.split() if re.search(rb"[A-Za-z]", word))
    return max(_LATIN, key=lambda name: sum(map(str.isalpha, beside.decode(name, errors="replace"))))


def _foreign_words(blocks: Iterable[bytes]) -> Iterator[bytes]:
    found = 0
    for block in blocks:
        for word in block.replace(b",", b" ").replace(b";", b" ").split():
            if not word.isascii():
                found += len(word)
                yield word
        if found >= _WORDS:
            return
