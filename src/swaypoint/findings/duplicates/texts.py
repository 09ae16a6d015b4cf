"""Near copies among texts: nearly the same words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from swaypoint.findings.duplicates.nearest import once

SHARED = 0.6
"""Share of the words of two texts that both have, weighted by their rarity, from which on they are near."""
FALSE = 0.01
"""Expected number of pairs of texts that share as much by chance, were words independent."""
_HASHES, _BAND = 126, 3
_NEXT = 16
_PAIRS = 4096
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Of a text in Unicode's form NFKC, without case, punctuation and white space.

    >>> words("Ｆull  width,\\nand ﬁne")
    ['full', 'width', 'and', 'fine']
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def near_texts(texts: Sequence[str]) -> np.ndarray:
    """Pairs of texts that are near copies, ``(p, 2)`` int64.

    Each is the set of its :func:`words`, a word w weighing -log of the share of texts that have it. Two are
    near whose common words weigh at least 0.6 of all that either has (weighted Jaccard), and so much that at
    most one pair in a hundred such datasets would have them by chance: the weight is more than log(pairs of
    texts / 0.01). Or whose words are the same in the same order, at any length. Candidates are those with
    three equal minima of hashes in one of 42 bands (Broder, 1997): a pair of unweighted Jaccard 0.4 is missed
    with probability 0.06, of 0.5 with 0.004, of 0.6 with 0.00005.
    """
    said = [words(text) for text in texts]
    filled = np.flatnonzero([len(one) > 0 for one in said])
    digests = np.array([_hash_of(" ".join(said[row])) for row in filled], dtype=np.uint64)
    same = filled[_in_bands(digests[:, None])]
    number: dict[str, int] = {}
    sets = [np.unique([number.setdefault(word, len(number)) for word in one]) for one in said]
    sets = [one.astype(np.int64) for one in sets]
    if len(filled) < 2:
        return same
    length = np.array([len(one) for one in sets])
    counts = np.bincount(np.concatenate(sets), minlength=len(number))
    weights = -np.log(counts / len(texts))
    pairs = _candidates(sets, length)
    common, union = _weighed(sets, weights, pairs)
    surprise = np.log(len(texts) * (len(texts) - 1) / 2 / FALSE)
    near = (common >= SHARED * union) & (common >= surprise)
    return once(np.concatenate([same, pairs[near]]))


def _hash_of(text: str) -> int:
    """The same in every process, as Python's own is not."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _candidates(sets: list[np.ndarray], length: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(0)
    total = int(np.concatenate(sets).max()) + 1
    full = np.flatnonzero(length)
    flat = np.concatenate([sets[row] for row in full])
    starts = np.concatenate([[0], np.cumsum(length[full])[:-1]])
    bands = np.empty((len(full), _HASHES // _BAND), dtype=np.uint64)
    for band in range(bands.shape[1]):
        joined = np.zeros(len(full), dtype=np.uint64)
        for _ in range(_BAND):
            hashed = generator.permutation(total).astype(np.uint64)
            joined = joined * np.uint64(0x9E3779B97F4A7C15) + np.minimum.reduceat(hashed[flat], starts)
        bands[:, band] = joined
    return full[_in_bands(bands)]


def _in_bands(bands: np.ndarray) -> np.ndarray:
    """Pairs of rows that are equal in a column, ``(p, 2)``; of more than 16 such rows each with the next
    16."""
    found = [np.empty((0, 2), dtype=np.int64)]
    for values in bands.T:
        order = np.argsort(values, kind="stable")
        for step in range(1, min(_NEXT, len(order) - 1) + 1):
            equal = values[order[:-step]] == values[order[step:]]
            if not equal.any():
                break
            found.append(np.stack([order[:-step][equal], order[step:][equal]], axis=1))
    return once(np.concatenate(found))


def _weighed(sets: list[np.ndarray], weights: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the words of each of the ``pairs`` that both have, and that either has, the weight, ``(p,)``
    each."""
    of = np.array([weights[one].sum() for one in sets])
    common = np.zeros(len(pairs))
    for start in range(0, len(pairs), _PAIRS):
        chosen = pairs[start : start + _PAIRS]
        one, other = (
            np.concatenate([sets[row] + number * len(weights) for number, row in enumerate(column.tolist())])
            for column in chosen.T
        )
        both = np.intersect1d(one, other, assume_unique=True)
        common[start : start + _PAIRS] = np.bincount(
            both // len(weights), weights[both % len(weights)], minlength=len(chosen)
        )
    return common, of[pairs].sum(1) - common
