"""Texts as features without any download: TF-IDF of words and pairs of words, in a few hundred components.

A text is a row x (J,) of TF-IDF weights of its terms, the words and the pairs of neighbouring words (Salton &
Buckley, 1988: logarithms of the counts, smoothed inverse document frequencies, unit length). A word brings
the n-grams of its letters along (as in Bojanowski et al., 2017), so that "colour" is near "colours" and a
rare word near frequent ones: x A with A = [I, G], where a row of G holds a word's n-grams. The features are
the first components of that (latent semantic analysis: Deerwester et al., 1990): phi = x A V = x E, with the
right singular vectors V of all x A.

All of it is linear in x: a head's logit w' phi + b is b and the sum of x_j (E w)_j over the terms of a text,
see :meth:`TextFeatures.contributions`. Without torch: a review shows them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from swaypoint.errors import InputError, reading, require
from swaypoint.folder.documents import REMEDY, read_parquet
from swaypoint.folder.tensors import map_tensor
from swaypoint.folder.writing import replace_file, write_table

Progress = Callable[[int, int], None] | None
COMPONENTS = 256
"""Features of a text; fewer where there are fewer texts or terms."""
_WORDS = _PAIRS = 50_000  # at most so many terms, the most frequent
_LEAST = 2  # a term is in at least so many texts
_LETTERS, _BUCKETS = (3, 5), 2**16  # n-grams of a word's letters, and how many they are hashed to
_PASSES, _MORE, _SAMPLE = 3, 10, 20_000  # over at most so many texts, with so many directions more
_CHUNK = 2_000  # texts at a time
_COUNTED = 8_000_000  # different pairs counted at a time

# Scripts without blanks between words: each letter is one, and pairs of them are what words are elsewhere.
_ALONE = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER = rf"[^\W{_ALONE}]"
# Vowels and accents that Unicode calls marks, not letters.
_MARK = r"[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff]"
_TOKEN = re.compile(rf"{_LETTER}+(?:{_MARK}+{_LETTER}*)*(?:['’]{_LETTER}+)*|\S")


@dataclass(frozen=True)
class Span:
    """A stretch of a text, ``text[start:stop]``, and what it adds to a logit."""

    start: int
    stop: int
    value: float


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """What makes features of texts.

    Attributes:
        terms: (J,) words, then pairs of words with a blank between them.
        idf: (J,) float32, the terms' inverse document frequencies.
        embedding: E, (J, D) float32.
    """

    terms: tuple[str, ...]
    idf: np.ndarray
    embedding: np.ndarray

    def __call__(self, texts: Sequence[str], *, on_progress: Progress = None) -> np.ndarray:
        """(n, D) float32."""
        parts = _told(texts, on_progress)
        return np.concatenate([self.weights(part) @ self.embedding for part in parts])

    def weights(self, texts: Sequence[str]) -> Any:
        """The rows x of texts, (n, J) float32, a ``scipy.sparse.csr_array``."""
        known = self._words
        tokens = _tokens(texts, lambda word: known.get(word, -1))
        return _weighted(_counts(tokens, self._pairs, len(self.terms)), self.idf)

    def word_weights(self, texts: Sequence[str], *, on_progress: Progress = None) -> Any:
        """The same of the words alone, (n, words)."""
        known, width = self._words, self.words
        none = _Pairs.of_keys(np.empty(0, np.int64), width)
        parts = (_tokens(part, lambda word: known.get(word, -1)) for part in _told(texts, on_progress))
        weights = [_weighted(_counts(part, none, width), self.idf[:width]) for part in parts]
        return require("scipy.sparse", "sklearn").vstack(weights, format="csr")

    @property
    def words(self) -> int:
        """How many of the terms are single words."""
        return len(self._words)

    def contributions(self, text: str, direction: np.ndarray) -> list[Span]:
        """What each word of ``text`` adds to w' phi for a direction w (D,), in their order, those that add
        nothing left out; together they are w' phi.

        A term that occurs more than once adds the same wherever it does, a pair half at each of its words.
        """
        spans = [match.span() for match in _TOKEN.finditer(text)]
        words = np.array([self._words.get(text[start:stop].lower(), -1) for start, stop in spans], np.int64)
        x = self.weights([text])
        added = x.data * (self.embedding[x.indices].astype(np.float64) @ direction)
        pairs = self._pairs.columns(words[:-1], words[1:])
        first, known = np.flatnonzero(pairs >= 0), np.flatnonzero(words >= 0)
        columns = np.concatenate([words[known], pairs[first], pairs[first]])
        places = np.concatenate([known, first, first + 1])
        term = np.searchsorted(x.indices, columns)
        share = (added / np.bincount(term, minlength=len(added)))[term]
        values = np.bincount(places, share, len(spans)).tolist()
        return [Span(*span, value) for span, value in zip(spans, values, strict=True) if value]

    @property
    def name(self) -> str:
        """In words."""
        return f"TF-IDF of words and letters, {self.embedding.shape[1]} components"

    @cached_property
    def digest(self) -> str:
        """sha256 in hex of all of it."""
        found = hashlib.sha256("\n".join(self.terms).encode("utf-8", "surrogatepass"))
        found.update(self.idf.tobytes() + np.ascontiguousarray(self.embedding).tobytes())
        return found.hexdigest()

    def save(self, folder: Path) -> None:
        """``terms.parquet`` and ``model.safetensors``."""
        from safetensors.numpy import save_file

        write_table(folder / "terms.parquet", pa.table({"term": pa.array(self.terms), "idf": self.idf}))
        tensors = {"embedding": np.ascontiguousarray(self.embedding)}
        replace_file(folder / "model.safetensors", lambda path: save_file(tensors, path))

    @classmethod
    def load(cls, folder: Path) -> TextFeatures | None:
        """What :meth:`save` wrote, its embedding memory-mapped; None where there is none.

        Raises:
            InputError: it is damaged.
        """
        file = folder / "terms.parquet"
        if not file.is_file():
            return None
        table = read_parquet(file, REMEDY)
        with reading(file, "the terms of an audit's texts", REMEDY):
            terms, idf = tuple(map(str, table["term"].to_pylist())), table["idf"].to_numpy()
        embedding = map_tensor(folder / "model.safetensors", "embedding", len(terms))
        return None if embedding is None else cls(terms, idf, embedding)

    @cached_property
    def _words(self) -> dict[str, int]:
        return {term: column for column, term in enumerate(self.terms) if " " not in term}

    @cached_property
    def _pairs(self) -> _Pairs:
        words, width = self._words, len(self._words)
        split = (term.split(" ") for term in self.terms[width:])
        return _Pairs.of_keys(np.array([words[a] * width + words[b] for a, b in split], np.int64), width)


def fit_text_features(
    texts: Sequence[str], *, components: int = COMPONENTS, seed: int = 0, on_progress: Progress = None
) -> TextFeatures:
    """The features of ``texts`` (n,), which know nothing of labels: the terms and their frequencies of all of
    them, the components of at most 20,000, evenly spaced. The same seed gives the same, to the bit.

    Holds 8 bytes a word, and 8 a different term of a text. ``on_progress`` is called with how many texts are
    counted, of how many.

    Raises:
        InputError: no word is in two texts.
        MissingExtra: scikit-learn is not installed.
    """
    numbers: dict[str, int] = {}
    parts = _told(texts, on_progress)
    chunks = [_tokens(part, lambda word: numbers.setdefault(word, len(numbers))) for part in parts]
    names, counted = list(numbers), np.zeros(len(numbers), np.int64)
    for chunk in chunks:
        seen, _ = _distinct(chunk.words, chunk.texts)
        counted += np.bincount(seen, minlength=len(names))
    chosen = _frequent(counted, names, _WORDS)
    if not len(chosen):
        raise InputError(f"no word is in two of the {len(texts):,} texts to train on; expected more of them")
    columns = np.full(len(names), -1, np.int32)
    columns[chosen] = np.arange(len(chosen))
    words = [names[i] for i in chosen.tolist()]
    chunks = [_Tokens(columns[chunk.words], chunk.texts, chunk.n) for chunk in chunks]
    keys, frequencies = _pair_frequencies(chunks, len(words))
    best = _frequent(frequencies, keys, _PAIRS)
    pairs = _Pairs.of_keys(keys[best], len(words))
    terms = (
        *words,
        *(f"{words[key // len(words)]} {words[key % len(words)]}" for key in keys[best].tolist()),
    )
    within = np.concatenate([counted[chosen], frequencies[best]])
    idf = (np.log((1 + len(texts)) / (1 + within)) + 1).astype(np.float32)
    sample = [_weighted(_counts(chunk, pairs, len(terms)), idf) for chunk in chunks]
    x = require("scipy.sparse", "sklearn").vstack(sample, format="csr")[:: -(-len(texts) // _SAMPLE)]
    return TextFeatures(terms, idf, _embedding(x, _letters(words), components, seed))


def _told(texts: Sequence[str], on_progress: Progress) -> Iterator[Sequence[str]]:
    """Some at a time; told of once the next are asked for."""
    for start in range(0, len(texts), _CHUNK):
        yield texts[start : start + _CHUNK]
        if on_progress is not None:
            on_progress(min(start + _CHUNK, len(texts)), len(texts))


# -- counting ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Tokens:
    """The words of ``n`` texts one after the other, (m,) int32, -1 where not known, and each one's text."""

    words: np.ndarray
    texts: np.ndarray
    n: int

    def neighbours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First word, second word and text of the neighbours within a text."""
        same = self.texts[1:] == self.texts[:-1]
        return self.words[:-1][same], self.words[1:][same], self.texts[1:][same]


def _tokens(texts: Sequence[str], number: Callable[[str], int]) -> _Tokens:
    found = [[number(word.lower()) for word in _TOKEN.findall(text)] for text in texts]
    lengths = [len(words) for words in found]
    words = np.fromiter(chain.from_iterable(found), np.int32, sum(lengths))
    return _Tokens(words, np.repeat(np.arange(len(found), dtype=np.int32), lengths), len(found))


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Known pairs of words: sorted keys ``first * width + second``, and the column of each."""

    keys: np.ndarray
    of: np.ndarray
    width: int

    @classmethod
    def of_keys(cls, keys: np.ndarray, width: int) -> _Pairs:
        """Of keys in the order of their columns, which come after the ``width`` words."""
        order = np.argsort(keys)
        return cls(keys[order], width + order, width)

    def columns(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Of pairs of words' columns, int64; -1 where one is not known."""
        if not len(self.keys):
            return np.full(len(first), -1)
        keys = np.where((first < 0) | (second < 0), -1, _keys(first, second, self.width))
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.of[at], -1)


def _keys(first: np.ndarray, second: np.ndarray, width: int) -> np.ndarray:
    """Of pairs of words, int64."""
    return first.astype(np.int64) * width + second


def _distinct(values: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each value once a text, and the texts."""
    order = np.lexsort((values, texts))
    values, texts = values[order], texts[order]
    new = np.ones(len(values), dtype=bool)
    new[1:] = (values[1:] != values[:-1]) | (texts[1:] != texts[:-1])
    return values[new], texts[new]


def _frequent(counts: np.ndarray, names: Sequence[Any] | np.ndarray, most: int) -> np.ndarray:
    """Positions of the most frequent, the first names of equal ones."""
    least = _LEAST if len(counts) <= most else max(_LEAST, int(np.partition(counts, -most)[-most]))
    enough = np.flatnonzero(counts >= least).tolist()
    return np.array(sorted(enough, key=lambda i: (-counts[i], names[i]))[:most], np.int64)


def _pair_frequencies(chunks: Sequence[_Tokens], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted pairs of neighbouring known words, ``first * width + second``, and in how many texts each is."""
    keys, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for chunk in chunks:
        first, second, texts = chunk.neighbours()
        known = (first >= 0) & (second >= 0)
        pairs, _ = _distinct(_keys(first[known], second[known], width), texts[known])
        here, count = np.unique(pairs, return_counts=True)
        merged, at = np.unique(np.concatenate([keys, here]), return_inverse=True)
        counts = np.bincount(at, np.concatenate([counts, count]), len(merged)).astype(np.int64)
        keys = merged
        if len(keys) > _COUNTED:  # what is rare so far is not going to be frequent
            keys, counts = keys[counts > 1], counts[counts > 1]
    return keys, counts


def _counts(tokens: _Tokens, pairs: _Pairs, width: int) -> Any:
    """(n, J) counts of the terms, columns ascending."""
    first, second, texts = tokens.neighbours()
    columns = np.concatenate([tokens.words, pairs.columns(first, second)])
    rows, known = np.concatenate([tokens.texts, texts]), columns >= 0
    ones = np.ones(int(known.sum()), np.float32)
    sparse = require("scipy.sparse", "sklearn")
    found = sparse.csr_array((ones, (rows[known], columns[known])), shape=(tokens.n, width))
    found.sum_duplicates()
    return found


def _weighted(counts: Any, idf: np.ndarray) -> Any:
    """Rows of logarithms of the counts times inverse document frequencies, of unit length."""
    values = (np.log(counts.data) + 1) * idf[counts.indices]
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    lengths = np.sqrt(np.bincount(rows, values.astype(np.float64) ** 2, counts.shape[0]))
    counts.data = (values / lengths[rows]).astype(np.float32)
    return counts


# -- components -------------------------------------------------------------------------------------


def _letters(words: list[str]) -> Any:
    """G, (words, buckets) float32: the n-grams of each word's letters, rows of unit length."""
    text = require("sklearn.feature_extraction.text", "sklearn")
    sparse = require("scipy.sparse", "sklearn")
    hashed = text.HashingVectorizer(
        analyzer="char_wb", ngram_range=_LETTERS, n_features=_BUCKETS, lowercase=False, dtype=np.float32
    )
    return sparse.csr_array(hashed.transform(words))


def _embedding(x: Any, letters: Any, components: int, seed: int) -> np.ndarray:
    """E = A V with the right singular vectors V of x A, by subspace iteration on x A A' x' (Halko et al.,
    2011, algorithm 4.4; A itself, with a column for each n-gram, is never multiplied by anything dense)."""
    transposed, spread, words = x.T.tocsr(), letters.T.tocsr(), letters.shape[0]

    def related(terms: np.ndarray) -> np.ndarray:
        """A A' of (J, k)."""
        found = terms.copy()
        found[:words] += letters @ (spread @ terms[:words])
        return found

    wanted = min(components, *x.shape)
    basis = np.random.default_rng(seed).standard_normal(
        (x.shape[0], min(x.shape[0], wanted + _MORE)), dtype=np.float32
    )
    for _ in range(_PASSES):
        basis = np.linalg.qr(x @ related(transposed @ basis))[0]
    projected = transposed @ basis
    spanned = related(projected)
    values, turned = np.linalg.eigh((projected.T @ spanned).astype(np.float64))
    best = np.flatnonzero(values > 1e-6 * values[-1])[::-1][:wanted]
    return spanned @ (turned[:, best] / np.sqrt(values[best])).astype(np.float32)
