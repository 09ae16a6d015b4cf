"""A ranking: every point's scores, in dataset order, and how far to trust them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from swaypoint.errors import InputError, require
from swaypoint.scoring.fitness import Diagnostics
from swaypoint.scoring.regression import Statistics

COLUMNS = ("label", "cook", "loss", "loo_loss", "margin", "leverage", "suggested_label")


@dataclass(frozen=True)
class Ranking:
    """Cook's distance of every point and its by-products; arrays of length n in dataset order.

    Attributes:
        values: Cook's distances, float64, non-negative.
        loss: the points' losses under the model, float64.
        loo_loss: their losses had they been left out of the training (one Newton step), float64.
        leverage: phi^T (Phi^T Phi)^+ phi in 0..1, float64.
        margin: leave-one-out probability of the label minus the largest other, -1..1; NaN for
            losses without classes.
        suggested_label: the leave-one-out prediction (a class index, or a predicted value).
        label: as given.
        standard_error: of the values where they are estimates (the sketch), else None.
        diagnostics: solver, precision and the checks of :mod:`swaypoint.scoring.fitness`.
        probabilities: leave-one-out, ``(n, classes)`` float32, where they were asked for.
        statistics: makes those of :mod:`swaypoint.scoring.regression`, for :attr:`statistical`.
        index: positions in the data as they were passed, those of a DataLoader that shuffles in the order of
            its dataset; ``arange(n)`` but for the result of :meth:`top` and of slices.
        own_index: what they are called where they come from, in the same order: of a ``Subset`` (or a loader
            with a ``SubsetRandomSampler``) the positions in the dataset beneath it, of pandas data its index,
            of batches (inputs, labels, index) their third part; else the positions.
    """

    values: np.ndarray
    loss: np.ndarray
    loo_loss: np.ndarray
    leverage: np.ndarray
    margin: np.ndarray
    suggested_label: np.ndarray
    label: np.ndarray
    diagnostics: Diagnostics
    standard_error: np.ndarray | None = None
    probabilities: np.ndarray | None = field(default=None, repr=False)
    index: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    statistics: Callable[[], Statistics | None] | None = field(default=None, repr=False)
    own_index: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if len(self.index) == 0:
            object.__setattr__(self, "index", np.arange(len(self.values)))
        if len(self.own_index) == 0:
            object.__setattr__(self, "own_index", self.index)

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def order(self) -> np.ndarray:
        """Positions by decreasing Cook's distance; equal ones in dataset order."""
        return np.argsort(-self.values, kind="stable")

    @cached_property
    def statistical(self) -> np.ndarray:
        """The statisticians' Cook's distance D_i, as statsmodels prints it (Cook, 1977; of generalised linear
        models Williams, 1987), ``(n,)``; made when first asked for, by two passes over the data.

        :attr:`values` are n times what the fitted values move; here the number of parameters and the
        dispersion are divided out. Of ``removal="finite"`` the two differ by that one constant, and rank
        alike.

        Raises:
            InputError: the last layer has several outputs or another loss, or is not what was ranked.
        """
        found = None if self.statistics is None else self.statistics()
        if found is None:
            raise InputError(
                "the statisticians' Cook's distance is of the last layer, with one output and the loss"
                " squared_error, huber, poisson or binary_cross_entropy; for others take .values"
            )
        return found.cooks_distance[self.index]

    def top(self, k: int) -> Ranking:
        """The ``k`` most influential points, the first first; ``.index`` says which they are.

        Raises:
            InputError: ``k`` < 1.
        """
        if k < 1:
            raise InputError(f"top({k}): expected a positive number of points")
        return self._at(self.order[:k])

    def __getitem__(self, rows: Any) -> Ranking:
        """The points at ``rows``, a slice, positions or booleans, as they stand; ``.index`` says which.

        Raises:
            IndexError: a position is outside the ranking.
        """
        chosen = np.arange(len(self))[rows]
        return self._at(np.atleast_1d(chosen))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The points by decreasing Cook's distance, each as column -> value, see :meth:`to_arrow`."""
        for batch in self.to_arrow().take(pa.array(self.order)).to_batches(max_chunksize=1024):
            yield from batch.to_pylist()

    def _at(self, rows: np.ndarray) -> Ranking:
        names: tuple[str, ...] = ("values", "loss", "loo_loss", "leverage", "margin", "suggested_label")
        names += ("label", "index", "own_index")
        error = None if self.standard_error is None else self.standard_error[rows]
        columns = {name: getattr(self, name)[rows] for name in names}
        return Ranking(
            **columns, standard_error=error, diagnostics=self.diagnostics, statistics=self.statistics
        )

    def to_arrow(self) -> pa.Table:
        """A table with ``index``, ``own_index`` where that is another, the columns of the audit folder, and
        ``rank`` (1 = largest)."""
        columns = {name: getattr(self, "values" if name == "cook" else name) for name in COLUMNS}
        if self.standard_error is not None:
            columns["standard_error"] = self.standard_error
        named = {}
        if self.own_index is not self.index and not np.array_equal(self.own_index, self.index):
            own = self.own_index
            named["own_index"] = own if own.dtype.kind in "biufM" else [str(one) for one in own]
        return pa.table({"index": self.index, **named, **columns, "rank": positions(self.order)})

    def to_pandas(self) -> Any:
        """:meth:`to_arrow` as a ``pandas.DataFrame``.

        Raises:
            MissingExtra: pandas is not installed.
        """
        require("pandas", "pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """:meth:`to_arrow` as a ``polars.DataFrame``.

        Raises:
            MissingExtra: polars is not installed.
        """
        return require("polars", "polars").from_arrow(self.to_arrow())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """:meth:`to_arrow` for what takes Arrow's PyCapsules, such as ``polars.DataFrame(ranking)``."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def to_csv(self, path: str | Path) -> None:
        """Write :meth:`to_arrow` as CSV, by decreasing Cook's distance."""
        from pyarrow import csv

        csv.write_csv(self.to_arrow().take(pa.array(self.order)), str(path))

    def plot(self, ax: Any = None) -> Any:
        """Cook's distance by rank, on logarithmic axes; returns matplotlib's axes.

        Args:
            ax: where to draw; default: a new figure.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        if ax is None:
            ax = require("matplotlib.pyplot", "study").subplots()[1]
        ax.loglog(np.arange(1, len(self) + 1), np.maximum(self.values[self.order], 1e-300), linewidth=1)
        ax.set(xlabel="rank", ylabel="Cook's distance", title=f"{len(self):,} points")
        return ax

    def _repr_html_(self) -> str:
        """What a notebook shows: the first ten points."""
        table = self[self.order[:10]].to_arrow()
        heads = "".join(f"<th>{name}</th>" for name in table.column_names)
        lines = "".join(
            "<tr>" + "".join(f"<td>{_short(value)}</td>" for value in row.values()) + "</tr>"
            for row in table.to_pylist()
        )
        verdict = self.diagnostics.verdict
        return (
            f"<p>Ranking of {len(self):,} points ({verdict} for influence), the first {len(table)}:</p>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"
        )

    def __repr__(self) -> str:
        first = ", ".join(
            f"{i}: {v:.4g}"
            for i, v in zip(self.index[self.order[:5]], self.values[self.order[:5]], strict=True)
        )
        return f"Ranking of {len(self):,} points ({self.diagnostics.verdict} for influence); first {first}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def positions(order: np.ndarray) -> np.ndarray:
    """Where each point stands in ``order``, from 1: the column ``rank``, ``(n,)`` int64.

    >>> positions(np.array([2, 0, 1])).tolist()
    [2, 3, 1]
    """
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    return rank


def detection_curve(order: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Share of the ``wanted`` points (boolean, dataset order) among the first k of ``order``, for
    k = 1..n.

    >>> detection_curve(np.array([2, 0, 1]), np.array([False, True, True])).tolist()
    [0.5, 0.5, 1.0]
    """
    found = np.cumsum(wanted[order])
    return found / max(int(found[-1]), 1)
