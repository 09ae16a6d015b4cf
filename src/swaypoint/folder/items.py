"""What tells a record from another, and where it lies on the map."""

from __future__ import annotations

import hashlib

import numpy as np

_ID_LENGTH = 20
_SAMPLE = 10_000


def item_id(content: bytes, source: str) -> str:
    """Of a point: by what it holds and where it stood, so that it is the same in the next audit.

    Args:
        content: the input as read, without its label.
        source: its file, or its position.

    >>> item_id(b"pixels", "cat/1.png") == item_id(b"pixels", "cat/2.png")
    False
    """
    return hashlib.sha256(content + b"\0" + source.encode()).hexdigest()[:_ID_LENGTH]


def project(features: np.ndarray) -> np.ndarray:
    """The first two principal components of standardised features, ``(n, D) -> (n, 2)`` float32, each
    scaled to -1..1 at its 1 % and 99 % quantiles."""
    points = components(features, 2)
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    return (2 * (points - low) / np.where(high > low, high - low, np.inf) - 1).astype(np.float32)


def components(features: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` principal components of standardised features, ``(n, D) -> (n, count)`` float64;
    those beyond D are 0. Deviations and axes are of 10,000 to 20,000 of them, evenly spaced."""
    sample = features[:: max(1, len(features) // _SAMPLE)].astype(np.float64)
    centre, spread = sample.mean(0), sample.std(0)
    spread = np.where(spread > 0, spread, np.inf)  # a dead feature says nothing
    _, _, axes = np.linalg.svd((sample - centre) / spread, full_matrices=False)
    axes = np.vstack([axes, np.zeros((count, features.shape[1]))])[:count]
    return np.asarray((features - centre) / spread @ axes.T)
