"""The table: medians of the rounds, errors against the truth, ratios to swaypoint."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.whole_model import overlap


@dataclass(frozen=True)
class Row:
    """A peer on a workload; NaN where there is no such number.

    Attributes:
        seconds: median of the rounds; peak: largest resident memory, bytes.
        ratio: median of the rounds' ratios to swaypoint's seconds.
        median_error, largest_error: relative, against the truth.
        shared: of the top 1 % of the truth.
        failure: why there are no numbers.
        rounds: that the medians are of.
    """

    workload: str
    peer: str
    method: str = ""
    seconds: float = math.nan
    ratio: float = math.nan
    peak: float = math.nan
    median_error: float = math.nan
    largest_error: float = math.nan
    shared: float = math.nan
    failure: str = ""
    rounds: int = 0


def ratio(seconds: Sequence[float], own: Sequence[float]) -> float:
    """Round by round: both were measured side by side."""
    pairs = [a / b for a, b in zip(seconds, own, strict=False)]
    return statistics.median(pairs) if pairs else math.nan


def accuracy(values: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> tuple[float, float, float]:
    """Median and largest relative error at ``rows``, whose ``truth`` is known; overlap if that is all."""
    errors = np.abs(values[rows].astype(np.float64) / truth - 1)
    shared = overlap(values, truth) if len(rows) == len(values) else math.nan
    return float(np.median(errors)), float(errors.max()), shared


def markdown(rows: Iterable[Row], titles: dict[str, str]) -> str:
    """A table for each workload, the order of ``titles``."""
    parts, rows = [], list(rows)
    for name, title in titles.items():
        parts += [f"### {title}", "", "| " + " | ".join(_HEADINGS) + " |", "|" + " --- |" * len(_HEADINGS)]
        parts += [_line(row) for row in rows if row.workload == name]
        parts.append("")
    return "\n".join(parts)


_HEADINGS = ("", "how", "time", "× swaypoint", "peak memory", "error, median", "largest", "top 1 % shared")


def _line(row: Row) -> str:
    if row.failure:
        return f"| {row.peer} | {row.method} | {_cell(row.failure)} |" + " |" * (len(_HEADINGS) - 3)
    cells = (
        row.peer,
        row.method,
        _number(row.seconds, _digits(row.seconds), " s (once)" if row.rounds == 1 else " s"),
        _number(row.ratio, _digits(row.ratio)),
        _number(row.peak / 1e9, ".2f", " GB"),
        _number(row.median_error, ".0e"),
        _number(row.largest_error, ".0e"),
        _number(row.shared, ".3f"),
    )
    return "| " + " | ".join(cells) + " |"


def _digits(value: float) -> str:
    return ".4f" if value < 0.1 else ".2f" if value < 10 else ",.0f"


def _number(value: float, form: str, unit: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:{form}}{unit}"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def documents(rows: Iterable[Row]) -> list[dict[str, object]]:
    """For JSON, where NaN is null."""
    return [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(row).items()}
        for row in rows
    ]
