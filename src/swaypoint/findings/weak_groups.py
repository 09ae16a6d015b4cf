"""Groups of held-out records on which the model fails: rules of a table, clusters of other records."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from swaypoint.errors import require
from swaypoint.findings.base import Finding, Severity, findings
from swaypoint.findings.regions.folder import inputs_file, points_file
from swaypoint.findings.regions.table import Table
from swaypoint.findings.significance import halves, holm
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.manifest import TRAIN
from swaypoint.folder.tensors import map_tensor

LEVEL = 0.05
"""Probability of any group by chance, over those that are tested."""
_FEWEST, _LEAST, _SHARE = 200, 20, 0.02
"""Held-out records without which nothing is sought; members of a group in either half: so many, and this
share."""
_CONDITIONS, _RULES, _GROUPS = 300, 1_000, 5
_PROMISING, _WORSE, _OVERLAP = 2.0, 1.5, 0.5
"""Of a group in the first half: standard errors above the others, multiple of their rate of errors; and the
share of a group's records up to which another may have them too."""
_SMALL, _NORMAL = 50, 1.96
_HIGH, _MEDIUM = 0.25, 0.05
"""Shares of all errors that a group has beyond what others of its size have, from which on it is severe."""
_WORST = 0.2
_CLUSTER, _CLUSTERS = 100, 20


@dataclass(frozen=True, eq=False)
class Group:
    """``where`` in words, ``member`` (n,) bool, ``order`` (n,): the smaller, the more telling a member."""

    where: str
    member: np.ndarray
    order: np.ndarray


def find_weak_groups(folder: AuditFolder) -> list[Finding]:
    """Groups of the held-out records with more errors than the others; of real-valued labels, more of the
    fifth with the largest loss.

    Sought on a random half of them: of tables rules of one or two conditions on columns, of other records
    clusters of their features (k-means, a cluster for each hundred, 20 at most). The five at most that stand
    out are counted again on the other half, by the hypergeometric test with Holm's procedure at 5 %, so that
    the breadth of the search costs nothing; and named where their rate is 1.5 times the others'. None of
    streamed audits, and where fewer than 200 records are held out.

    Raises:
        InputError: a damaged folder.
        MissingExtra: scikit-learn is not installed, and clusters are sought.
    """
    if folder.streamed:
        return []
    manifest, scores = folder.manifest(), folder.scores()
    rows = np.flatnonzero(np.array(scores["split"].to_pylist()) != TRAIN)
    points = map_tensor(*points_file(folder), len(scores))
    if len(rows) < _FEWEST or points is None:
        return []
    loss = scores["loss"].to_numpy()[rows]
    bad = (
        scores["margin"].to_numpy()[rows] <= 0
        if manifest.data.classes
        else loss > np.quantile(loss, 1 - _WORST)
    )
    first = halves(len(rows))
    columns = manifest.data.columns
    if inputs_file(folder) is not None and len(columns) == points.shape[1]:
        found = ruled(Table(np.asarray(points[rows]), np.zeros(len(rows)), columns), bad, first, loss)
    else:
        found = clustered(np.asarray(points[rows], dtype=np.float32), bad, first)
    what = "the model errs in" if manifest.data.classes else "the loss is among the largest fifth in"
    return [_finding(group, bad, rows, ~first, what, p) for group, p in confirmed(found, bad, ~first)]


def confirmed(groups: list[Group], bad: np.ndarray, half: np.ndarray) -> list[tuple[Group, float]]:
    """Those with more that is ``bad`` among the records of ``half`` too, each with its p-value."""
    p = np.array([_more(bad[half], group.member[half]) for group in groups])
    kept = holm(p, LEVEL)
    return [
        (group, float(each))
        for group, each, real in zip(groups, p, kept, strict=True)
        if real and _rate(bad, half & group.member) >= _WORSE * _rate(bad, half & ~group.member)
    ]


def _rate(bad: np.ndarray, members: np.ndarray) -> float:
    return float(bad[members].mean()) if members.any() else 0.0


def _more(bad: np.ndarray, member: np.ndarray) -> float:
    """P(as many of the ``member`` are ``bad``), were they drawn at random: hypergeometric, exact."""
    n, k, m, seen = len(bad), int(bad.sum()), int(member.sum()), int((bad & member).sum())
    whole = _log_choose(n, m)
    terms = [_log_choose(k, i) + _log_choose(n - k, m - i) - whole for i in range(seen, min(k, m) + 1)]
    return min(sum(math.exp(term) for term in terms), 1.0)


def _log_choose(n: int, k: int) -> float:
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _promise(count: np.ndarray, errors: np.ndarray, n: int, total: int) -> np.ndarray:
    """Standard errors by which the rate of groups of ``count`` members lies above the others'; -inf of those
    that are too small, or hold nearly all."""
    least = max(_LEAST, _SHARE * n)
    usual = total / max(n, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = (total - errors) / np.maximum(n - count, 1)
        spread = np.sqrt(usual * (1 - usual) * (1 / count + 1 / np.maximum(n - count, 1)))
        found = (errors / count - rest) / spread
    return np.where((count >= least) & (n - count >= least) & (spread > 0), found, -np.inf)


# -- rules --------------------------------------------------------------------------------------------


def ruled(table: Table, bad: np.ndarray, first: np.ndarray, loss: np.ndarray) -> list[Group]:
    """Groups by up to two conditions that stand out in the half ``first``."""
    words, of, inside = _conditions(table, first)
    if not words:
        return []
    members, errors = inside[first].astype(np.float32), bad[first].astype(np.float32)
    n, total = len(errors), int(errors.sum())
    alone = _promise(members.sum(0), errors @ members, n, total)
    best = np.sort(np.argsort(-alone, kind="stable")[:_CONDITIONS])
    chosen = members[:, best]
    both = _promise(chosen.T @ chosen, chosen.T @ (chosen * errors[:, None]), n, total)
    both[of[best][:, None] >= of[best]] = -np.inf  # two conditions on one column are none of two
    rules: list[tuple[float, tuple[int, ...]]] = [
        (value, (i,)) for i, value in enumerate(alone.tolist()) if value >= _PROMISING
    ]
    for i, j in np.argwhere(both >= _PROMISING).tolist():
        a, b = int(best[i]), int(best[j])
        if both[i, j] > max(alone[a], alone[b]) + 0.5:  # a second condition must earn its place
            rules.append((float(both[i, j]), (a, b)))
    groups: list[Group] = []
    for _, rule in sorted(rules, key=lambda each: (-each[0], each[1]))[:_RULES]:
        member = np.asarray(inside[:, list(rule)].all(axis=1))
        if len(groups) < _GROUPS and not any(_overlaps(member, other.member) for other in groups):
            where = "where " + " and ".join(words[i] for i in rule)
            groups.append(Group(where, member, np.where(bad, 0.0, 1e9) - loss))
    return groups


def _overlaps(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a & b).sum() > _OVERLAP * min(a.sum(), b.sum()))


def _conditions(table: Table, first: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """In words, (c,) the number of each one's column, and which records meet it, (n, c) bool."""
    words: list[str] = []
    of: list[int] = []
    inside: list[np.ndarray] = []
    for number, name in enumerate(table.source):
        values, categories = table.column(name, table.inputs)
        found = []
        if categories:
            found = [(f"{name} = {each}", values == code) for code, each in enumerate(categories)]
        else:
            for edge in np.unique(np.quantile(values[first], (0.1, 0.25, 0.5, 0.75, 0.9))).tolist():
                found += [(f"{name} ≤ {edge:.4g}", values <= edge), (f"{name} > {edge:.4g}", values > edge)]
        for text, member in found:
            if member[first].sum() >= _LEAST:
                words.append(text)
                of.append(number)
                inside.append(member)
    return words, np.array(of), np.stack(inside, axis=1) if inside else np.zeros((len(first), 0), dtype=bool)


# -- clusters -----------------------------------------------------------------------------------------


def clustered(features: np.ndarray, bad: np.ndarray, first: np.ndarray) -> list[Group]:
    """Clusters, of the half ``first`` and the others by the nearest centre, that stand out in it."""
    scaled = (features - features[first].mean(0)) / np.maximum(features[first].std(0), 1e-6)
    k = min(max(int(first.sum()) // _CLUSTER, 2), _CLUSTERS)
    means = require("sklearn.cluster", "sklearn").KMeans(k, n_init=1, max_iter=50, random_state=0)
    means.fit(scaled[first])
    distance = means.transform(scaled)
    of, away = distance.argmin(1), distance.min(1)
    count = np.bincount(of[first], minlength=k)
    errors = np.bincount(of[first], bad[first], minlength=k)
    promise = _promise(count, errors, int(first.sum()), int(bad[first].sum()))
    best = [each for each in np.argsort(-promise, kind="stable")[:_GROUPS] if promise[each] >= _PROMISING]
    return [Group("in a cluster of alike records", of == each, away) for each in best]


# -- the finding --------------------------------------------------------------------------------------


def _finding(
    group: Group, bad: np.ndarray, rows: np.ndarray, half: np.ndarray, what: str, p: float
) -> Finding:
    inside, outside = half & group.member, half & ~group.member
    size, rate, others = int(inside.sum()), _rate(bad, inside), _rate(bad, outside)
    low, high = wilson(rate, size)
    share = (rate - others) * size / max(int(bad[half].sum()), 1)
    severity: Severity = "high" if share >= _HIGH else "medium" if share >= _MEDIUM else "low"
    members = np.flatnonzero(group.member)
    members = members[np.argsort(group.order[members], kind="stable")]
    small = "; a small group" if size < _SMALL else ""
    return Finding(
        name=f"weak group {group.where.removeprefix('where ')}"
        if group.where.startswith("where ")
        else f"weak group of {len(members):,}",
        sentence=f"{group.where} {what} {rate:.1%} ({low:.1%} to {high:.1%}) of {size:,} held-out records, in"
        f" {others:.1%} of the others; sought on one half of them, counted on the other{small}",
        severity=severity,
        evidence={
            "records": len(members), "counted": size, "rate": rate, "low": low, "high": high,
            "rate_of_others": others, "share_of_errors": share, "p": p,
        },
        index=rows[members].astype(np.int64),
        remedy="look at them: wrong labels, missing information or too few of them in training? then correct,"
        " or gather more of them",
    )  # fmt: skip


def wilson(rate: float, n: int) -> tuple[float, float]:
    """95 % interval of a rate seen in ``n`` (Wilson, 1927)."""
    z = _NORMAL**2 / n
    centre, half = rate + z / 2, _NORMAL * math.sqrt(rate * (1 - rate) / n + z / (4 * n))
    return (centre - half) / (1 + z), (centre + half) / (1 + z)


findings.register("weak_groups", find_weak_groups)
