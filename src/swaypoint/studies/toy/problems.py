"""Two-dimensional problems of two classes whose true boundary, and the distance to it, are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Map = Callable[[np.ndarray], np.ndarray]
"""Of points (n, 2) float64 in the square [-1, 1]^2 to (n,)."""

_SLOPE = 0.4
_RING = (0.4, 0.8)
_DISC, _BAND = 0.6, 0.1
_LINES = (-0.5, 0.0, 0.5)
_RADIUS, _REACH = 1 / 3, 0.3  # fingers: half their width, half the length of their straight walls
_STRETCH = ((-0.5, 0.5), (-0.85, -0.05))  # x and y of a box around the middle finger's tip


@dataclass(frozen=True)
class Problem:
    """Points uniform in the square [-1, 1]^2, but for what is thinned, and a boundary between two classes.

    Attributes:
        name: for files; title: says what is seen.
        side: the class on whose side of the true boundary a point lies, 0 or 1.
        distance: to the nearest point of the true boundary within the square.
        stretch: True in the stretch of the boundary that is watched; None: there is none.
        kept: share of the points that is kept there.
        band: half the width of the band around the boundary in which labels are drawn at random.
    """

    name: str
    title: str
    side: Map
    distance: Map
    stretch: Map | None = None
    kept: float = 1.0
    band: float = 0.0


@dataclass(frozen=True)
class Sample:
    """Drawn points: ``points`` (n, 2) float64, ``labels`` (n,) int64, ``distance`` (n,) float64 to the true
    boundary, ``stretch``, ``noisy``, ``wrong`` (n,) bool: in the watched stretch, in the band of random
    labels, labelled otherwise than its side.
    """

    points: np.ndarray
    labels: np.ndarray
    distance: np.ndarray
    stretch: np.ndarray
    noisy: np.ndarray
    wrong: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Sample:
        """Those of ``rows``."""
        return Sample(**{name: values[rows] for name, values in vars(self).items()})


def draw(problem: Problem, count: int, generator: np.random.Generator) -> Sample:
    """``count`` points of ``problem`` in random order."""
    kept: list[np.ndarray] = []
    missing = count
    while missing:
        points = generator.uniform(-1.0, 1.0, (missing, 2))
        if problem.stretch is not None:
            points = points[~problem.stretch(points) | (generator.random(missing) < problem.kept)]
        kept.append(points)
        missing -= len(points)
    points = np.concatenate(kept)
    distance, side = problem.distance(points), problem.side(points).astype(np.int64)
    labels = side.copy()
    noisy = distance < problem.band
    labels[noisy] = generator.integers(0, 2, int(noisy.sum()))
    stretch = np.zeros(count, dtype=bool) if problem.stretch is None else problem.stretch(points)
    return Sample(points, labels, distance, stretch, noisy, labels != side)


def _to_segment(points: np.ndarray, start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    along = np.subtract(end, start)
    place = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
    return np.linalg.norm(points - start - place[:, None] * along, axis=1)


def _to_half_circle(
    points: np.ndarray, centre: tuple[float, float], radius: float, *, up: bool
) -> np.ndarray:
    """To the upper or lower half of a circle: radial on its side, to the nearer end on the other."""
    away = points - centre
    radial = np.abs(np.linalg.norm(away, axis=1) - radius)
    to_end = np.hypot(np.abs(away[:, 0]) - radius, away[:, 1])
    return np.where((away[:, 1] >= 0.0) == up, radial, to_end)


def _straight_side(points: np.ndarray) -> np.ndarray:
    return points[:, 1] > _SLOPE * points[:, 0]


def _straight_distance(points: np.ndarray) -> np.ndarray:
    return _to_segment(points, (-1.0, -_SLOPE), (1.0, _SLOPE))


def _middle_side(points: np.ndarray) -> np.ndarray:
    return points[:, 0] > 0.0


def _middle_distance(points: np.ndarray) -> np.ndarray:
    return np.abs(points[:, 0])


def _ring_side(points: np.ndarray) -> np.ndarray:
    radius = np.linalg.norm(points, axis=1)
    return (radius > _RING[0]) & (radius < _RING[1])


def _ring_distance(points: np.ndarray) -> np.ndarray:
    radius = np.linalg.norm(points, axis=1)
    return np.abs(radius[:, None] - _RING).min(axis=1)


def _disc_side(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points, axis=1) < _DISC


def _disc_distance(points: np.ndarray) -> np.ndarray:
    return np.abs(np.linalg.norm(points, axis=1) - _DISC)


def _fingers_side(points: np.ndarray) -> np.ndarray:
    """Above a curve that goes up around x = -2/3 and 2/3 and down around 0, with vertical walls between."""
    x, y = points.T
    middle = np.abs(x) < _RADIUS
    from_axis = np.where(middle, x, np.abs(x) - 2 * _RADIUS)
    height = _REACH + np.sqrt(np.maximum(_RADIUS**2 - from_axis**2, 0.0))
    return y > np.where(middle, -height, height)


def _fingers_distance(points: np.ndarray) -> np.ndarray:
    tips = (
        _to_half_circle(points, (-2 * _RADIUS, _REACH), _RADIUS, up=True),
        _to_half_circle(points, (0.0, -_REACH), _RADIUS, up=False),
        _to_half_circle(points, (2 * _RADIUS, _REACH), _RADIUS, up=True),
    )
    walls = [_to_segment(points, (x, -_REACH), (x, _REACH)) for x in (-_RADIUS, _RADIUS)]
    return np.min([*tips, *walls], axis=0)


def _fingers_stretch(points: np.ndarray) -> np.ndarray:
    (left, right), (low, high) = _STRETCH
    x, y = points.T
    return (x > left) & (x < right) & (y > low) & (y < high)


def _checkerboard_side(points: np.ndarray) -> np.ndarray:
    return np.floor(2.0 * points).sum(axis=1) % 2 == 1


def _checkerboard_distance(points: np.ndarray) -> np.ndarray:
    return np.abs(points[:, :, None] - np.array(_LINES)).min(axis=(1, 2))


PROBLEMS: tuple[Problem, ...] = (
    Problem("straight", "Straight boundary", _straight_side, _straight_distance),
    Problem("ring", "Ring", _ring_side, _ring_distance),
    Problem("curves", "Interleaved curves", _fingers_side, _fingers_distance, _fingers_stretch),
    Problem(
        "sparse",
        "Interleaved curves, the middle tip under-sampled",
        _fingers_side,
        _fingers_distance,
        _fingers_stretch,
        kept=0.1,
    ),
    Problem("checkerboard", "Checkerboard", _checkerboard_side, _checkerboard_distance),
    Problem("noisy", "Disc, random labels within a band", _disc_side, _disc_distance, band=_BAND),
)
"""In increasing complexity. The first of the two with interleaved curves is the second's control."""
MIDDLE = Problem("flip", "Boundary in the middle, one flipped label", _middle_side, _middle_distance)
