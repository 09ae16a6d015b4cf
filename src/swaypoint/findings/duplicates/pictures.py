"""Near copies among pictures: saved again, resized, brighter, mirrored, or cropped a little.

A picture is known by its lowest frequencies, the discrete cosine coefficients whose signs are the perceptual
hash pHash. The few lowest find candidates, quickly; then the candidates are laid over each other, mirrored
and cropped, and compared by many more.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from swaypoint.data.neighbours import among_cells, smallest
from swaypoint.errors import require
from swaypoint.findings.duplicates.nearest import near_pairs

SIDE = 32
"""Pixels that a picture is brought to before anything else."""
_KEPT, _COMPARED, _SOUGHT = 20, 16, 6
"""Lowest frequencies that are kept in each direction, that confirm, and that find candidates."""
_CANDIDATES = 32
_EXACT = 100_000
"""Up to so many pictures candidates are sought among all: with so few numbers each, cells are no quicker."""
_EVEN = 0.5
"""Coefficients are divided by their deviation over the pictures to this power: at 0 the lowest would be all
that counts, as their variance is a thousand times that of others, and at 1 the noise of what was
compressed."""
_CROPS = ((0.95, 2), (0.9, 3))
"""Shares of a side that a crop keeps, and at how many places along it."""
_FINER = ((0.97, 2), (0.95, 3), (0.925, 3), (0.9, 4), (0.88, 4))
"""The same where few pairs are left."""
_SMALLEST = 24
"""Pixels from which on a crop can be told from another picture, and parts of a picture have content."""
CONFIRMED = 0.85
"""Mean correlation within the parts of two pictures from which on they are copies."""
_PARTS, _NOISE = 4, 0.01
_QUERIES, _ALIGNED = 1024, 512


@dataclass(frozen=True, eq=False)
class Sketches:
    """Pictures by their lowest frequencies.

    Attributes:
        coefficients: ``(n, K, K)`` float32, orthonormal type-II cosine coefficients of the grey pictures of
            ``side`` x ``side`` pixels, rows first.
        side: pixels.
    """

    coefficients: np.ndarray
    side: int

    def __len__(self) -> int:
        return len(self.coefficients)

    @cached_property
    def weights(self) -> np.ndarray:
        """What each coefficient is divided by, ``(K, K)``; infinite for the mean, which is brightness."""
        square = np.zeros(self.coefficients.shape[1:])
        for start in range(0, len(self), _QUERIES):
            square += np.square(self.coefficients[start : start + _QUERIES], dtype=np.float64).sum(0)
        deviation = np.sqrt(square / max(len(self), 1))
        weights = np.maximum(deviation, 1e-3 * deviation.max(initial=1e-6)) ** _EVEN
        weights[0, 0] = np.inf
        return weights.astype(np.float32)

    def directions(self, count: int, coefficients: np.ndarray | None = None) -> np.ndarray:
        """The ``count`` lowest frequencies in each direction as vectors of length 1, ``(n, count^2)``
        float32; 0 of a picture that has none, as one colour all over."""
        given = self.coefficients if coefficients is None else coefficients
        count = min(count, given.shape[-1])
        low = given[..., :count, :count] / self.weights[:count, :count]
        low = low.reshape(*given.shape[:-2], -1)
        length = np.linalg.norm(low, axis=-1, keepdims=True)
        return np.divide(low, length, out=np.zeros_like(low), where=length > 1e-6)


def sketched(pictures: Iterable[Any]) -> Sketches:
    """Of pictures, each as its encoded bytes or as ``(h, w)`` or ``(h, w, 3)`` uint8.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    image, grey, side = require("PIL.Image", "images"), [], None
    for picture in pictures:
        shown = (
            image.fromarray(picture) if isinstance(picture, np.ndarray) else image.open(io.BytesIO(picture))
        )
        side = side or min(SIDE, *shown.size)
        shown = shown.convert("L")
        if shown.size != (side, side):
            shown = shown.resize((side, side), image.Resampling.LANCZOS)
        grey.append(np.asarray(shown))
    side = side or SIDE
    waves = cosines(side)[: min(_KEPT, side)]
    kept = np.empty((len(grey), len(waves), len(waves)), dtype=np.float32)
    for start in range(0, len(grey), _QUERIES):
        kept[start : start + _QUERIES] = waves @ np.stack(grey[start : start + _QUERIES]) @ waves.T
    return Sketches(kept, side)


def cosines(side: int) -> np.ndarray:
    """The orthonormal type-II discrete cosine transform, ``(side, side)`` float32, a frequency a row.

    >>> bool(np.allclose(cosines(4) @ cosines(4).T, np.eye(4), atol=1e-6))
    True
    """
    frequency, place = np.arange(side)[:, None], np.arange(side) + 0.5
    waves = np.sqrt(2 / side) * np.cos(np.pi * frequency * place / side)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)


def mirrored(count: int) -> np.ndarray:
    """What a mirror image does to the ``count`` lowest frequencies in each direction, ``(count^2,)``: odd
    columns change their sign."""
    return np.tile(np.where(np.arange(count) % 2, -1.0, 1.0), count).astype(np.float32)


def candidates(sketches: Sketches, k: int = _CANDIDATES) -> np.ndarray:
    """The pictures most alike each by the lowest frequencies, either way round, ``(n, k)`` int64; -1: none.

    With a picture's even columns e and its odd ones o, the mirror image is (e, -o), so that the better of the
    two correlations is e.e' + |o.o'|.
    """
    low, k = sketches.directions(_SOUGHT), min(k, len(sketches) - 1)
    turned = mirrored(min(_SOUGHT, sketches.coefficients.shape[1]))
    if len(low) > _EXACT:
        return among_cells(low, k, turns=(1.0, turned))
    even = turned > 0
    same, opposite = np.ascontiguousarray(low[:, even]), np.ascontiguousarray(low[:, ~even])
    negative = -same
    found = np.empty((len(low), k), dtype=np.int64)
    for start in range(0, len(low), _QUERIES):
        rows = slice(start, min(start + _QUERIES, len(low)))
        unlike = opposite[rows] @ opposite.T
        np.abs(unlike, out=unlike)
        np.subtract(negative[rows] @ same.T, unlike, out=unlike)
        unlike[np.arange(rows.stop - start), np.arange(start, rows.stop)] = np.inf
        found[rows] = smallest(unlike, k)
    return found


def aligned(sketches: Sketches, index: np.ndarray) -> np.ndarray:
    """How alike pictures are once they are laid over each other: the largest correlation of their frequencies
    over crops of the one or of the other, and their mirror images.

    Args:
        index: ``(n, k)`` int64, others of each; -1: none.

    Returns:
        ``(n, k)`` float32 in -1..1; -1 where there is none.
    """
    size = min(_COMPARED, sketches.coefficients.shape[1])
    whole, turned = sketches.directions(size), mirrored(size)
    views = _views(sketches, _CROPS)
    alike = np.empty(index.shape, dtype=np.float32)
    for start in range(0, len(index), _ALIGNED):
        rows = slice(start, start + _ALIGNED)
        given = sketches.coefficients[rows]
        seen = sketches.directions(size, np.stack([a @ given @ b.T for a, b in views], axis=1))
        others = whole[index[rows]].transpose(0, 2, 1)
        best = (seen @ others).max(1)
        alike[rows] = np.maximum(best, ((seen * turned) @ others).max(1))
    return _either_way(index, np.where(index >= 0, alike, np.float32(-1)))


def _views(sketches: Sketches, crops: tuple[tuple[float, int], ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The picture itself and its crops brought to its size: matrices of the rows and of the columns, each
    ``(K, K)`` float32 on coefficients."""
    kept, side = sketches.coefficients.shape[1], sketches.side
    whole = np.eye(kept, dtype=np.float32)
    views = [(whole, whole)]
    for share, places in crops if side >= _SMALLEST else ():
        ways = [_cropped(side, kept, start, share) for start in np.linspace(0, 1 - share, places)]
        views += [(rows, columns) for rows in ways for columns in ways]
    return views


def _cropped(side: int, kept: int, start: float, share: float) -> np.ndarray:
    """Along one direction, ``share`` of the side from ``start`` on, by linear interpolation between
    pixels."""
    waves = cosines(side)
    place = (start + (np.arange(side) + 0.5) / side * share) * side - 0.5
    at = np.clip(np.floor(place), 0, side - 2).astype(np.int64)
    weight = np.clip(place - at, 0, 1)
    pixels = np.zeros((side, side))
    pixels[np.arange(side), at], pixels[np.arange(side), at + 1] = 1 - weight, weight
    return (waves @ pixels @ waves.T)[:kept, :kept].astype(np.float32)


def confirmed(sketches: Sketches, pairs: np.ndarray) -> np.ndarray:
    """How alike two pictures are in every part: laid over each other as well as can be, at more places than
    :func:`aligned` tries, they are cut into 4 x 4 parts; the mean of the parts' correlations, each weighted
    by its contrast.

    Two pictures of a ship on the sea agree as a whole, by the horizon, and not where the ships are; a copy
    agrees everywhere.

    Args:
        pairs: ``(p, 2)`` int64.

    Returns:
        ``(p,)`` float64 in -1..1.
    """
    views = _views(sketches, _FINER)
    alike = np.empty(len(pairs))
    for start in range(0, len(pairs), _ALIGNED):
        one, other = (sketches.coefficients[column] for column in pairs[start : start + _ALIGNED].T)
        alike[start : start + _ALIGNED] = _agreement(views, one, other)
    return alike


def _agreement(views: list[tuple[np.ndarray, np.ndarray]], one: np.ndarray, other: np.ndarray) -> np.ndarray:
    kept, each = one.shape[1], np.arange(len(one))
    turn = mirrored(kept).reshape(kept, kept)
    one, other = one.copy(), other.copy()
    one[:, 0, 0] = other[:, 0, 0] = 0.0
    best, laid = np.full(len(one), -2.0), np.zeros((2, *one.shape), dtype=np.float32)
    for moved, still in ((one, other), (other, one)):
        seen = np.stack([a @ moved @ b.T for a, b in views], axis=1)
        seen[..., 0, 0] = 0.0
        length = np.linalg.norm(seen, axis=(2, 3)) * np.linalg.norm(still, axis=(1, 2))[:, None]
        for target in (still, still * turn):
            product = np.einsum("pvij,pij->pv", seen, target)
            alike = np.divide(product, length, out=np.zeros_like(product), where=length > 0)
            view = alike.argmax(1)
            better = alike[each, view] > best
            best = np.where(better, alike[each, view], best)
            laid[0, better], laid[1, better] = seen[each, view][better], target[better]
    waves = cosines(kept)
    pixels = waves.T @ laid @ waves
    pixels /= np.maximum(np.sqrt(np.square(pixels).mean((2, 3), keepdims=True)), 1e-6)
    side = kept // _PARTS * _PARTS
    parts = pixels[..., :side, :side].reshape(2, -1, _PARTS, side // _PARTS, _PARTS, side // _PARTS)
    parts = parts - parts.mean((3, 5), keepdims=True)
    variance, shared = np.square(parts).mean((3, 5)), (parts[0] * parts[1]).mean((2, 4))
    correlation = shared / np.sqrt((variance[0] + _NOISE) * (variance[1] + _NOISE))
    weight = np.sqrt(variance.mean(0))
    return np.asarray((correlation * weight).sum((1, 2)) / np.maximum(weight.sum((1, 2)), 1e-6))


def near_pictures(sketches: Sketches) -> np.ndarray:
    """Pairs of pictures that are near copies, ``(p, 2)`` int64: nearer than chance explains, see
    :func:`~swaypoint.findings.duplicates.nearest.near_pairs`, and, where there are pixels enough to tell,
    alike in every part."""
    if len(sketches) < 3:
        return np.empty((0, 2), dtype=np.int64)
    index = candidates(sketches)
    pairs, _ = near_pairs(index, np.sqrt(np.maximum(2 - 2 * aligned(sketches, index).astype(np.float64), 0)))
    return pairs if sketches.side < _SMALLEST else pairs[confirmed(sketches, pairs) >= CONFIRMED]


def _either_way(index: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Of i and j the larger of the two values, where each is among the other's."""
    n = len(index)
    there = np.where(index >= 0, np.arange(n)[:, None] * n + index, -1).ravel()
    back = np.where(index >= 0, index * n + np.arange(n)[:, None], -1).ravel()
    order = np.argsort(there)
    place = order[np.searchsorted(there, back, sorter=order).clip(max=len(there) - 1)]
    other = np.where(there[place] == back, alike.ravel()[place], -1.0)
    return np.maximum(alike, other.reshape(index.shape)).astype(np.float32)
