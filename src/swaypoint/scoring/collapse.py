"""Neural collapse: how far training has drawn the features of a class together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Collapse:
    """Two of the four measures of Papyan, Han & Donoho (PNAS 2020).

    Attributes:
        within: NC1, tr(Sigma_W Sigma_B^+) / C: the spread of the features within the classes against
            that between the class means; 0: every class is one point.
        equiangularity: NC2, the standard deviation of the cosines between the class means, seen from
            their mean; 0: all classes are equally far apart.
    """

    within: float
    equiangularity: float


def collapse(points: Iterable[tuple[Tensor, Tensor]], classes: int) -> Collapse:
    """From one pass over features ``(D, b)`` float64 and labels ``(b,)`` int64; memory D x D.

    Classes without points are left out; their features are not constrained.
    """
    second = sums = counts = None
    for features, labels in points:
        member = torch.nn.functional.one_hot(labels, classes).to(features)
        parts = features @ features.T, features @ member, member.sum(0)
        if second is None or sums is None or counts is None:
            second, sums, counts = parts
        else:
            second, sums, counts = second + parts[0], sums + parts[1], counts + parts[2]
    if second is None or sums is None or counts is None:
        return Collapse(float("nan"), float("nan"))
    there = counts > 0
    means = sums[:, there] / counts[there]
    total = counts.sum()
    within = second / total - (means * counts[there] / total) @ means.T
    centred = means - means.mean(1, keepdim=True)
    # The inverse between the classes has rank C - 1: through the singular values of the means.
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    kept = values > values[0] * 1e-10
    along = left[:, kept]
    spread = (along * (within @ along)).sum(0) * len(means.T) / values[kept].square()
    directions = centred / centred.norm(dim=0).clamp_min(torch.finfo(centred.dtype).tiny)
    cosines = (directions.T @ directions)[*torch.triu_indices(len(means.T), len(means.T), 1)]
    return Collapse(float(spread.sum()) / len(means.T), float(cosines.std(correction=0)))
