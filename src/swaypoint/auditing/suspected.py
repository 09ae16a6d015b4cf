"""How many labels an audit expects to be wrong, and how many of the ranking hold most of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from swaypoint.auditing.scored import Pairs, Scored
from swaypoint.data.tensors import write_tensors
from swaypoint.folder.manifest import Suspected

WANTED = 0.9
_BINS = 10  # of the probability of being wrong
_FINENESS, _LARGEST = 32, 200  # bins of the score: so many a nat, up to so many nats above and below 0
_MOST_BYTES = 64 << 20


def suspected(scored: Scored, planted: Callable[[np.ndarray], np.ndarray] | None) -> Suspected | None:
    """Of all ranked points, part by part; None of data without classes.

    Args:
        planted: of positions of the source, bool: which labels were planted wrong; None: none were.
    """
    if scored.pairs is None:
        return None
    places = 2 * _LARGEST * _FINENESS + 1
    points, wrong = np.zeros((2, places))
    counts, sums, hits = np.zeros((3, _BINS))
    by_class = np.zeros(len(scored.pairs.expected))
    for part in scored.every():
        p = part["p_wrong"]
        place = ((_LARGEST - np.clip(part["auto"], -_LARGEST, _LARGEST)) * _FINENESS).astype(np.int64)
        points += np.bincount(place, minlength=places)
        wrong += np.bincount(place, p, places)
        by_class += np.bincount(part["label"].astype(np.int64), p, len(by_class))
        of = np.minimum((p * _BINS).astype(np.int64), _BINS - 1)
        counts += np.bincount(of, minlength=_BINS)
        sums += np.bincount(of, p, _BINS)
        if planted is not None:
            hits += np.bincount(of, planted(part["index"]), _BINS)
    seen, expected = np.cumsum(wrong), float(wrong.sum())
    last = min(int(np.searchsorted(seen, WANTED * expected)), places - 1)
    first = int(points[: last + 1].sum())
    return Suspected(
        expected=expected,
        by_class=tuple(by_class.tolist()),
        first=first,
        precision=float(seen[last]) / max(first, 1),
        believed=scored.pairs.believed,
        evidence=scored.pairs.evidence,
        counts=tuple(counts.astype(int).tolist()),
        sums=tuple(sums.tolist()),
        second=scored.second,
        planted=() if planted is None else tuple(hits.astype(int).tolist()),
    )


def write_pairs(pairs: Pairs | None, path: Path) -> None:
    """``pairs.safetensors`` of the folder: ``expected`` and ``variance`` (C, C) float32, rows by given class;
    none of more classes than some 2,800."""
    if pairs is None or 8 * pairs.expected.size > _MOST_BYTES:
        return
    tensors = {name: torch.from_numpy(getattr(pairs, name)).float() for name in ("expected", "variance")}
    write_tensors(path / "pairs.safetensors", tensors)
