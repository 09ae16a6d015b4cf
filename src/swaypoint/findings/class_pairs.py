"""Classes that are labelled as others: one finding for each pair that stands out."""

from __future__ import annotations

from urllib.parse import quote

import numpy as np

from swaypoint.findings.base import Finding, Severity, findings
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.tensors import read_tensors

LOOKS = 0.1
"""From this probability of being wrong on a record is said to look like its most probable other class."""
_HIGH, _MEDIUM = 0.05, 0.01
"""Shares of a class from which on a pair is severe."""
_FEWEST, _ABOVE, _MOST = 3.0, 3.0, 10
"""Fewest expected labels of a pair; multiple of the mean share of all pairs; most pairs."""
_NORMAL = 1.96


def looks_like(scores: dict[str, np.ndarray], other: int) -> np.ndarray:
    """Which records look like the class ``other`` rather than their own, ``(n,)`` bool."""
    return (scores["likely"] == other) & (scores["p_wrong"] >= LOOKS)


def find_class_pairs(folder: AuditFolder) -> list[Finding]:
    """Pairs of classes (j, k) of which much that is labelled j looks like k, at most ten, the largest first.

    The share is the mean over the points labelled j of P(true class k | the model's probabilities, label j),
    see :func:`swaypoint.wrong_labels`; its interval is that of a sum of independent events of these
    probabilities (Poisson-binomial, normal approximation, 95 %): what chance leaves open where the model is
    right, not how wrong it may be. Named are pairs of at least three labels and thrice the mean share of all
    pairs; none where the data tell no channel, and of audits that have none of this.

    Raises:
        InputError: a damaged folder.
    """
    manifest = folder.manifest()
    names = manifest.data.classes
    lengths = {"j": len(names), "k": len(names)}
    axes = {"expected": "jk", "variance": "jk"}
    pairs = read_tensors(folder.path / "pairs.safetensors", axes, **lengths)
    if not pairs or manifest.suspected is None or not manifest.suspected.believed:
        return []
    expected = pairs["expected"].astype(np.float64)
    share = expected / np.maximum(expected.sum(1, keepdims=True), 1e-300)
    np.fill_diagonal(expected, 0)
    np.fill_diagonal(share, 0)
    usual = expected.sum() / max(pairs["expected"].sum() * (len(names) - 1), 1e-300)
    chosen = np.argwhere((expected >= _FEWEST) & (share >= _ABOVE * usual))
    chosen = chosen[np.argsort(-expected[tuple(chosen.T)], kind="stable")][:_MOST]
    table = folder.scores()
    columns = ("label", "likely", "p_wrong")
    scores = {name: table[name].to_numpy() for name in columns}
    return [
        _finding(folder, names, scores, (j, k), expected, share, float(pairs["variance"][j, k]))
        for j, k in chosen.tolist()
    ]


def _finding(
    folder: AuditFolder,
    names: tuple[str, ...],
    scores: dict[str, np.ndarray],
    pair: tuple[int, int],
    expected: np.ndarray,
    share: np.ndarray,
    variance: float,
) -> Finding:
    j, k = pair
    count, half = expected[j, k], _NORMAL * variance**0.5
    low, high = max(count - half, 0.0), count + half
    found = np.flatnonzero((scores["label"] == j) & looks_like(scores, k))
    queue = found[np.argsort(-scores["p_wrong"][found], kind="stable")]
    return Finding(
        name=f"{names[j]} like {names[k]}",
        sentence=f"{share[j, k]:.1%} of what is labelled {names[j]} looks like {names[k]} (about"
        f" {count:,.0f} records, {low:,.0f} to {high:,.0f} by the model's own estimate),"
        f" {share[k, j]:.1%} the other way",
        severity=_severity(share[j, k]),
        evidence={
            "share": share[j, k],
            "records": count,
            "low": low,
            "high": high,
            "share_the_other_way": share[k, j],
        },
        index=queue.astype(np.int64),
        remedy=_remedy(folder, names[j], names[k], mutual=bool(share[k, j] >= _MEDIUM)),
    )


def _remedy(folder: AuditFolder, given: str, other: str, *, mutual: bool) -> str:
    address = f"/gallery?label={quote(quote(given, safe=' '))}&like={quote(quote(other, safe=' '))}"
    queue = f"swaypoint review {folder.path}, then {address}"
    if mutual:
        return (
            f"the two are taken for each other: tell annotators where one ends and the other begins, or merge"
            f" them; and review this queue: {queue}"
        )
    return f"review this queue: {queue}; if most are wrong, clarify the instruction for {given}"


def _severity(share: float) -> Severity:
    return "high" if share >= _HIGH else "medium" if share >= _MEDIUM else "low"


findings.register("class_pairs", find_class_pairs)
