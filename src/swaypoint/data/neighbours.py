"""The nearest points in feature space, of many points at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Neighbours:
    """The nearest other points of some points, in feature space.

    ``index`` (q, k) int64 rows of the reference; ``distance`` (q,) float64 mean distance as a
    multiple of the median over the reference sample; ``agreement`` (q,) float64 share of the
    neighbours that carry the same label.
    """

    index: np.ndarray
    distance: np.ndarray
    agreement: np.ndarray


def neighbours(
    features: torch.Tensor, labels: np.ndarray, queries: np.ndarray, *, k: int = 10, reference: int = 50_000
) -> Neighbours:
    """Nearest neighbours (Euclidean, standardised features) of the rows ``queries``.

    Args:
        features: ``(n, D)``.
        labels: ``(n,)``.
        queries: rows to explain, ``(q,)``.
        reference: neighbours are sought among at most this many rows, evenly spaced.
    """
    step = max(1, -(-len(features) // reference))
    pool = np.arange(0, len(features), step)
    spread = features[pool].float().std(0).clamp_min(1e-12)
    base = features[pool].float() / spread
    k = min(k, len(pool) - 1)
    squares = base.square().sum(1)
    sample = np.arange(0, len(features), max(1, len(features) // 1000))
    nearest, distance = _nearest(base, squares, pool, features, spread, np.concatenate([queries, sample]), k)
    typical = max(float(np.median(distance[len(queries) :])), 1e-12)
    index = pool[nearest[: len(queries)]]
    agreement = (labels[index] == labels[queries, None]).mean(1)
    return Neighbours(index, distance[: len(queries)] / typical, agreement)


def _nearest(
    base: torch.Tensor,
    squares: torch.Tensor,
    pool: np.ndarray,
    features: torch.Tensor,
    spread: torch.Tensor,
    rows: np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    found, means = [], []
    for start in range(0, len(rows), 1024):
        chunk = rows[start : start + 1024]
        points = features[chunk].float() / spread
        distances = squares - 2.0 * points @ base.T + points.square().sum(1, keepdim=True)
        distances[torch.from_numpy(chunk[:, None] == pool[None, :])] = torch.inf  # not itself
        values, index = distances.topk(k, largest=False)
        found.append(index.numpy())
        means.append(values.clamp_min(0).sqrt().mean(1).double().numpy())
    return np.concatenate(found), np.concatenate(means)
