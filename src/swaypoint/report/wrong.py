"""The report's part on labels that are probably wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.manifest import Suspected
from swaypoint.report import charts
from swaypoint.report.terminal import suspected_words

_CLASSES = 20


def wrong(folder: AuditFolder) -> dict[str, Any] | None:
    """What the page shows; None where the audit does not say."""
    manifest = folder.manifest()
    found = manifest.suspected
    if found is None:
        return None
    words = suspected_words(manifest)
    width = 1 / len(found.counts)
    planted = found.planted or (None,) * len(found.counts)
    bins = zip(found.counts, found.sums, planted, strict=True)
    rows = [
        {"from": i * width, "to": (i + 1) * width, "points": count, "expected": expected, "planted": hit}
        for i, (count, expected, hit) in enumerate(bins)
        if count
    ]
    by_class = sorted(zip(manifest.data.classes, found.by_class, strict=True), key=lambda pair: -pair[1])
    return {
        "words": words[0].upper() + words[1:] + ".",
        "rows": rows,
        "reliability": _reliability(found) if found.planted else "",
        "classes": by_class[:_CLASSES],
    }


def _reliability(found: Suspected) -> str:
    """Share of planted labels against the mean probability of being wrong, bin by bin."""
    counts, sums, planted = (np.array(part, float) for part in (found.counts, found.sums, found.planted))
    some = counts > 0
    ticks = [(i / 5, f"{20 * i} %") for i in range(6)]
    x = charts.Axis("probability of being wrong, by the model", 0, 1, ticks)
    y = charts.Axis("share that was planted wrong", 0, 1, ticks)
    ends = np.array([0.0, 1.0])
    curves = [
        charts.Line("planted", "curve cook", sums[some] / counts[some], planted[some] / counts[some]),
        charts.Line("as it should be", "curve random", ends, ends),
    ]
    return charts.lines(curves, x, y, title="Planted labels by probability of being wrong")
