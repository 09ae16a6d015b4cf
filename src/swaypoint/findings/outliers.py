"""Records that belong to no class: far from every class, by one p-value each and false discovery control.

Tried beside the statistic below, on records planted in pictures, texts and tables: the Mahalanobis distance
to the nearest class (Lee et al., 2018), which misses classes that are no Gaussians; the same less that to all
records (Ren et al., 2021), blind to what the background holds too; leverage, alike; and the nearest
neighbours of any class, to which ten foreign records that are alike are each other's. In what a network makes
of pictures they say the opposite of the truth where it finds nothing that it knows: such pictures lie in the
middle, near to everything. That is told by the length of the features.
"""

from __future__ import annotations

import numpy as np

from swaypoint.findings.base import Finding, Severity, findings
from swaypoint.findings.regions.folder import points_file
from swaypoint.findings.significance import benjamini_hochberg
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.manifest import TRAIN
from swaypoint.folder.tensors import map_tensor

FOREIGN = "p_foreign"
"""Of the scores: :func:`foreign_p_values`, the most foreign the smallest."""
LEARNED = "images"
"""The kind of data whose features are of a network: those of texts are long or short with the words, and
those that are given may have any origin."""
LEVEL = 0.1
"""False discovery rate: of the records named at most so many are expected to belong to a class after all."""
_HIGH, _MEDIUM = 0.01, 0.001
"""Shares of all records from which on foreign ones are severe."""
_FEWEST = 100
"""Records of a split below which their tail cannot be told."""
_FITTED, _CHUNK = 10_000, 1_000
_DISTANCES, _REFERENCE = 200_000_000, 2_000
"""At most so many distances are computed, to at least so many trained records, evenly spaced."""
_TRIMMED, _ROUNDS = 0.05, 3
"""Share of the farthest records that is left out of the covariance, and how often that is done."""
_RIDGE, _RIDGE_OF_FEW, _RIDGE_OF_TWO = 1e-3, 0.1, 0.05
"""Of the covariance, times the mean variance: always, and times columns by record; and in columns of two
values, 0 and 1, so that one which is rare adds no more than 1 / 0.05 to a squared distance."""
_SHARE, _LEAST = 0.02, 5
"""The neighbour that counts: this share of its class, and at least the fifth."""
_TAIL, _CENSORED, _EXCEEDING = 0.1, 0.015, 50
"""Shares of a split: the tail that is modelled, and its end of which only the count is used; the tail's
fewest records."""
_SHAPE, _SHAPE_SPREAD = -0.1, 0.2
"""Prior of the tail's shape, normal: mean and standard deviation."""
_COUNTED = 150
"""The tail's likelihood counts as that of at most so many values. The model is not true: with the whole
likelihood of 40,000 clean records it was so sure of its shape that half of the draws had false findings, and
with shapes of at least 0 alone nothing was found of what was planted."""
_GRID = 300
_ROUNDING = 1e-4
"""Of squared lengths, up to which they are one."""


def find_outliers(folder: AuditFolder) -> list[Finding]:
    """Records far from every class, at most one finding: those that the Benjamini-Hochberg procedure rejects
    at a false discovery rate of 10 %, by :func:`foreign_p_values`; the most foreign first.

    In a table by its values, else by the features of the last layer. None of streamed audits, and of older
    ones that kept neither. On data where nothing is foreign it is a false alarm as often, in one of ten at
    most.

    Raises:
        InputError: a damaged folder.
    """
    classes, p = folder.manifest().data.classes, None if folder.streamed else _p_values(folder)
    if p is None:
        return []
    tested = np.flatnonzero(~np.isnan(p))
    named = tested[benjamini_hochberg(p[tested], LEVEL)]
    if not len(named):
        return []
    count, share = len(named), len(named) / len(tested)
    severity: Severity = "high" if share >= _HIGH else "medium" if share >= _MEDIUM else "low"
    one = count == 1
    does = ("belongs" if one else "belong") if classes else "is" if one else "are"
    what = (
        f"{does} {'to no class' if classes else 'unlike all others'}, as far as {'its' if one else 'their'}"
    )
    return [
        Finding(
            name="foreign records",
            sentence=f"{count:,} of {len(tested):,} records ({share:.2%}) {what} distance from the"
            f" others tells; about {LEVEL * count:.1f} of them may be named by mistake",
            severity=severity,
            evidence={
                "records": count,
                "share": share,
                "tested": len(tested),
                "false_discovery_rate": LEVEL,
                "expected_false": LEVEL * count,
                "largest_p": float(p[named].max()),
            },
            index=named[np.argsort(p[named], kind="stable")].astype(np.int64),
            remedy="look at them; leave out what is not what the model is for, or give it a class of its own",
        )
    ]


def _p_values(folder: AuditFolder) -> np.ndarray | None:
    """As the scores have them; of an older audit they are made now, where it kept its points."""
    table, place = folder.scores(), points_file(folder)
    if FOREIGN in table.column_names:
        return np.asarray(table[FOREIGN].to_numpy())
    points = map_tensor(*place, len(table)) if place[0].is_file() else None
    if points is None or not points.shape[1]:
        return None
    data = folder.manifest().data
    labels = table["label"].to_numpy() if data.classes else None
    split = np.array(table["split"].to_pylist())
    return foreign_p_values(points, labels, split, learned=data.kind == LEARNED)


def foreign_p_values(
    points: np.ndarray, labels: np.ndarray | None, split: np.ndarray, *, learned: bool = False
) -> np.ndarray:
    """P-values of belonging to a class, ``(n,)`` float64; NaN in splits of less than 100 records.

    The statistic is the logarithm of the distance to a class, that is to its k-th nearest record of the
    split ``train`` with k = 2 % of it, at least 5, minimal over the classes; so foreign records that are
    alike, but fewer than that, do not vouch for each other. Distances are in :func:`whitening` coordinates.
    A trained record is not its own neighbour, so that those of a split are exchangeable where none is
    foreign; each is compared with its own split alone, whose features the network knows as well.

    The p-values, see :func:`tail_p_values`, depend on each other by their common reference, positively as
    conformal ones do (Bates et al., 2023), which Benjamini & Hochberg's procedure allows; beyond the
    observed range they are as good as the model of the tail, and not free of assumptions.

    ``learned`` features are short where a network finds nothing that it knows (Dhamija et al., 2018): the
    p-value is then the harmonic mean of that of the distance and that of the length (Wilson, 2019), at most
    twice the smaller, which is close to exact where they are small.

    The coordinates are fitted to at most 10,000 trained records, which are then a little nearer than the
    other trained ones; of more records than that the p-values are so far approximate.

    O(n m D) with m <= 200,000,000 / n reference records, or 2,000.

    Args:
        points: ``(n, D)`` finite, may be memory-mapped.
        labels: ``(n,)`` codes of the classes; None: there are none.
        split: ``(n,)`` names.
    """
    labels = np.zeros(len(split), dtype=np.int64) if labels is None else labels
    trained, p = np.flatnonzero(split == TRAIN), np.full(len(split), np.nan)
    if len(trained) < _FEWEST:
        return p
    fitted = _spaced(trained, _FITTED)
    axes = whitening(points[fitted], labels[fitted])
    reference = _spaced(trained, max(_REFERENCE, _DISTANCES // len(split)))
    distance = _to_classes(points, axes, reference[np.argsort(labels[reference], kind="stable")], labels)
    shortness = _shortness(points) if learned else None
    for name in np.unique(split):
        members = np.flatnonzero(split == name)
        if len(members) >= _FEWEST:
            p[members] = tail_p_values(distance[members])
            if shortness is not None:
                p[members] = 2 / (1 / p[members] + 1 / tail_p_values(shortness[members]))
    return p


def _shortness(points: np.ndarray) -> np.ndarray | None:
    """Minus the logarithm of the length of each, ``(n,)``; None where all are as long, as of unit length."""
    squares = np.einsum("nd,nd->n", points, points, dtype=np.float64)
    low, high = squares.min(), squares.max()
    return None if high - low <= _ROUNDING * high else -0.5 * np.log(np.maximum(squares, 1e-9 * high))


def _spaced(rows: np.ndarray, most: int) -> np.ndarray:
    return rows[:: -(-len(rows) // most)]


def whitening(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Axes (D, D) float32 in which what lies within the classes has unit covariance: that of all but the
    farthest 5 %, found in turn with it, as in the concentration steps of Rousseeuw & Van Driessen (1999).

    Args:
        points: ``(n, D)`` finite.
        labels: ``(n,)`` codes of the classes.
    """
    rows = np.asarray(points, dtype=np.float64)
    low, high = rows.min(0), rows.max(0)
    varies = high > low
    two = varies & ((rows == low) | (rows == high)).all(0)
    unit = np.where(varies, np.where(two, high - low, np.where(varies, rows.std(0), 1.0)), np.inf)
    scaled = (rows - rows.mean(0)) / unit
    used, classes = np.ones(len(rows), dtype=bool), int(labels.max()) + 1
    for _ in range(_ROUNDS):
        means, sizes = _class_means(scaled[used], labels[used], classes)
        residuals = scaled[used] - means[labels[used]]
        covariance = residuals.T @ residuals / len(residuals)
        ridge = max(_RIDGE, _RIDGE_OF_FEW * rows.shape[1] / len(residuals))
        ridge *= max(covariance.trace() / max(varies.sum(), 1), 1e-12)
        covariance[np.diag_indices(len(unit))] += np.where(two, np.maximum(ridge, _RIDGE_OF_TWO), ridge)
        values, vectors = np.linalg.eigh(covariance)
        axes = vectors / np.sqrt(values)
        white, centres = scaled @ axes, means[sizes > 0] @ axes
        squared = np.square(white).sum(1) + (np.square(centres).sum(1) - 2 * white @ centres.T).min(1)
        used = squared <= np.quantile(squared, 1 - _TRIMMED)
    return np.asarray(axes / unit[:, None], dtype=np.float32)


def _class_means(rows: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of the classes, (C, D), and their sizes, (C,); zeros of one that is not there."""
    order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=classes)
    ends = np.cumsum(sizes)
    means = np.zeros((classes, rows.shape[1]))
    for label in np.flatnonzero(sizes):
        means[label] = rows[order[ends[label] - sizes[label] : ends[label]]].mean(0)
    return means, sizes


def _to_classes(
    points: np.ndarray, axes: np.ndarray, reference: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Logarithm of the distance to the nearest class, ``(n,)``; ``reference``: rows, sorted by label."""
    centre = points[reference].mean(0)
    known = (points[reference] - centre) @ axes
    lengths, place = np.square(known).sum(1), np.full(len(points), -1)
    place[reference] = np.arange(len(reference))
    ends = np.flatnonzero(np.diff(labels[reference], append=-1)) + 1
    found = np.full(len(points), np.inf, dtype=np.float32)
    for start in range(0, len(points), _CHUNK):
        rows = (points[start : start + _CHUNK] - centre) @ axes
        squared, itself = lengths - 2 * rows @ known.T, place[start : start + _CHUNK]
        squared[itself >= 0, itself[itself >= 0]] = np.inf
        nearest, begin = found[start : start + _CHUNK], 0
        for end in ends.tolist():
            k = min(max(_LEAST, round(_SHARE * (end - begin))), end - begin - 1)
            if k > 0:
                np.minimum(nearest, np.partition(squared[:, begin:end], k - 1, axis=1)[:, k - 1], out=nearest)
            begin = end
        nearest += np.square(rows).sum(1)
    return 0.5 * np.log(np.maximum(found.astype(np.float64), 1e-9))


def tail_p_values(values: np.ndarray) -> np.ndarray:
    """Of each value the probability of one as large, were it drawn as the others: ``(m,) -> (m,)`` float64.

    Up to the last tenth it is the share of the values that are as large (their rank, uniform where they are
    exchangeable). No rank is below 1 / m, so the excess over the last tenth's beginning is taken to follow a
    generalised Pareto distribution (Pickands, 1975), whose shape and scale are integrated over a grid by
    their likelihood, coarsened (Miller & Dunson, 2019) to that of 150 values. The last 1.5 % of the values
    enter it by their count alone: foreign records, up to so many, do not make their own reference.
    """
    m, ascending = len(values), np.sort(values)
    p = (m - np.searchsorted(ascending, values)) / m
    count = min(max(round(_TAIL * m), _EXCEEDING), m - 1)
    begin, end = ascending[m - count - 1], ascending[m - max(round(_CENSORED * m), 1)]
    excess = ascending[m - count :] - begin
    inside = excess[(excess > 0) & (excess < end - begin)]
    if not len(inside):
        return p
    shape, scale = (
        axis.ravel() for axis in np.meshgrid(np.linspace(-0.6, 0.8, 29), np.exp(np.linspace(-1.5, 1.5, 31)))
    )
    shape = np.where(np.abs(shape) < 1e-9, 1e-6, shape)
    scale = scale * max(inside.mean(), 1e-12)
    # A few hundred quantiles stand for all values.
    some = np.quantile(inside, (np.arange(_GRID) + 0.5) / _GRID) if len(inside) > _GRID else inside
    weight = -len(inside) * np.log(scale)
    weight -= (count - len(inside)) * _decay(np.array([end - begin]), shape, scale)[0]
    weight -= len(inside) * (1 + shape) * _decay(some, shape, scale).mean(0)
    weight *= min(1.0, _COUNTED / count)
    weight -= ((shape - _SHAPE) / _SHAPE_SPREAD) ** 2 / 2
    weight = np.exp(weight - weight.max())
    beyond = np.flatnonzero(values > begin)
    for rows in (beyond[start : start + _CHUNK] for start in range(0, len(beyond), _CHUNK)):
        p[rows] = count / m * np.exp(-_decay(values[rows] - begin, shape, scale)) @ (weight / weight.sum())
    return p


def _decay(values: np.ndarray, shape: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """-log P(excess > value) of generalised Pareto distributions, ``(b, g)``; infinite beyond their ends."""
    inside = 1 + shape * values[:, None] / scale
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(inside > 0, np.log(np.maximum(inside, 0.0)) / shape, np.inf))


findings.register("outliers", find_outliers)
