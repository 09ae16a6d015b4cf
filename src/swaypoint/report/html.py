"""The report: one HTML file that needs nothing else, from an audit folder."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swaypoint.errors import InputError
from swaypoint.folder import AuditFolder, write_text
from swaypoint.report import charts
from swaypoint.report.page import render_page
from swaypoint.report.regions import section
from swaypoint.report.streamed import Overview, overview
from swaypoint.report.terminal import class_name, mean_leverage, ranked_by

_WANTED = 0.9
_SHOWN_COLUMNS = 8
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Concern:
    """The "inspect this many" question: suspects, and how much of the ranking holds 90 % of them.

    A suspect is a point to which the model, fitted without it, gives another class. ``cook`` and ``loss``:
    shares of them seen, at evenly spaced shares of the ``points`` inspected.
    """

    points: int
    suspects: int
    inspect: int
    cook: np.ndarray
    loss: np.ndarray


def write_report(folder: AuditFolder, path: Path) -> Path:
    """Render the folder to ``path``, whole or not at all.

    Raises:
        InputError: not a finished audit.
        MissingExtra: jinja2 is not installed.
    """
    write_text(path, render(folder))
    return path


def render(folder: AuditFolder) -> str:
    """The page as one string.

    Raises:
        InputError: not a finished audit.
        MissingExtra: jinja2 is not installed.
    """
    manifest = folder.manifest()
    scores = {name: column.to_numpy(zero_copy_only=False) for name, column in _columns(folder.scores())}
    found = overview(folder) if folder.streamed else None
    concern = inspect_this_many(scores["margin"], scores["rank"], scores["loss"])
    if found is not None:
        concern = _concern_of(found)
    cards = _cards(folder, scores, manifest["data"]["classes"])
    return render_page(
        "report",
        manifest=manifest,
        title=Path(manifest["data"]["name"]).name,
        summary=summarize(scores) if found is None else _summary_of(found),
        concern=concern,
        curve=_curve(concern, ranked_by(manifest)) if concern else "",
        distribution=_distribution(scores["cook"])
        if found is None
        else _distribution(found.values, found.counts, found.mark),
        classes=_by_class(scores, manifest["data"]["classes"])
        if found is None
        else _class_rows(manifest["data"]["classes"], found.classes),
        regions="" if folder.streamed else section(folder),
        cards=cards,
        labels=sorted({card["label"] for card in cards}),
        arguments=json.dumps(manifest["arguments"], indent=1),
        verdicts={
            "fit": "fit for influence",
            "caution": "use with caution",
            "unfit": "not fit for influence",
        },
    )


def _concern_of(found: Overview) -> Concern | None:
    if not found.suspects:
        return None
    return Concern(found.points, found.suspects, found.inspect, found.seen, found.seen_by_loss)


def _summary_of(found: Overview) -> dict[str, Any]:
    return {"n": found.points, "first": found.first, "share": found.share, "kinds": found.kinds}


def _columns(table: Any) -> list[tuple[str, Any]]:
    return list(zip(table.column_names, table.columns, strict=True))


def inspect_this_many(margin: np.ndarray, rank: np.ndarray, loss: np.ndarray) -> Concern | None:
    """How deep to look: see :class:`Concern`. None if no point is suspect (or there are no classes)."""
    suspect = margin < 0  # False for NaN
    if not suspect.any():
        return None
    found = np.cumsum(suspect[np.argsort(rank)]) / suspect.sum()
    by_loss = np.cumsum(suspect[np.argsort(-loss, kind="stable")]) / suspect.sum()
    return Concern(
        len(margin), int(suspect.sum()), int(np.searchsorted(found, _WANTED - 1e-12)) + 1, found, by_loss
    )


def summarize(scores: dict[str, np.ndarray]) -> dict[str, Any]:
    """n, the first 1 % and their share of the total, and the kinds among them."""
    n = len(scores["cook"])
    first = max(1, round(0.01 * n))
    order = np.argsort(scores["rank"])
    finite = np.nan_to_num(scores["cook"], posinf=0.0)
    kinds, counts = np.unique(scores["kind"][order[:first]].astype(str), return_counts=True)
    return {
        "n": n,
        "first": first,
        "share": float(finite[order[:first]].sum() / max(finite.sum(), 1e-300)),
        "kinds": sorted(zip(kinds.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1]),
    }


def _curve(concern: Concern, ranked: str) -> str:
    n, inspect = len(concern.cook), concern.inspect / concern.points
    shares = np.arange(1, n + 1) / n
    wanted = max(0.1, 2.5 * inspect)
    limit = min((step for step in (0.1, 0.2, 0.25, 0.4, 0.5, 0.75) if step >= wanted), default=1.0)
    thin = np.unique(np.linspace(0, np.searchsorted(shares, limit, side="right") - 1, 240).astype(int))
    percent = [(limit * i / 5, f"{100 * limit * i / 5:.3g} %") for i in range(6)]
    x = charts.Axis("share of the points inspected", 0, limit, percent)
    y = charts.Axis("share of the suspects seen", 0, 1, [(i / 4, f"{25 * i} %") for i in range(5)])
    start = np.zeros(1)
    curves = [
        charts.Line(ranked, "curve cook", np.r_[start, shares[thin]], np.r_[start, concern.cook[thin]]),
        charts.Line("loss", "curve loss", np.r_[start, shares[thin]], np.r_[start, concern.loss[thin]]),
        charts.Line("random order", "curve random", np.array([0, limit]), np.array([0, limit])),
    ]
    return charts.lines(curves, x, y, mark=inspect, title="Suspects seen by share inspected")


def _distribution(cook: np.ndarray, counts: np.ndarray | None = None, mark: float | None = None) -> str:
    """Of Cook's distances, ``counts`` of each where they stand for several; above ``mark`` are 1 %."""
    usable = (cook > 0) & np.isfinite(cook)
    if not usable.any():
        return ""
    logs, weights = np.log10(cook[usable]), None if counts is None else counts[usable]
    low, high = np.floor(max(logs.min(), logs.max() - 12)), np.ceil(logs.max() + 1e-9)
    heights, edges = np.histogram(
        np.clip(logs, low, high), bins=60, range=(low, max(high, low + 1)), weights=weights
    )
    step = max(1, round((high - low) / 6))
    ticks = [(v, "10" + str(v).translate(_SUPERSCRIPT)) for v in range(int(low), int(high) + 1, step)]
    x = charts.Axis("Cook's distance", low, max(high, low + 1), ticks)
    beyond = float(np.quantile(logs, 0.99)) if mark is None else float(np.log10(mark))
    return charts.histogram(heights, edges, x, mark=beyond, title="Distribution of Cook's distance")


def _by_class(scores: dict[str, np.ndarray], names: list[str]) -> list[dict[str, Any]]:
    """Per given class: points, those in the first 1 %, and suspects; the most affected first."""
    if not names:
        return []
    label = scores["label"].astype(int)
    first = scores["rank"] <= max(1, round(0.01 * len(label)))
    parts = (label, label[first], label[scores["margin"] < 0])
    return _class_rows(names, np.stack([np.bincount(part, minlength=len(names)) for part in parts], 1))


def _class_rows(names: list[str], counts: np.ndarray) -> list[dict[str, Any]]:
    """Of points, those in the first 1 %, and suspects, ``(classes, 3)``."""
    titles = ("points", "first", "suspects")
    rows: list[dict[str, Any]] = [
        {"name": name, **dict(zip(titles, row, strict=True))}
        for name, row in zip(names, counts.tolist(), strict=True)
    ]
    return sorted(rows, key=lambda row: -row["first"])[:50]


def _cards(folder: AuditFolder, scores: dict[str, np.ndarray], names: list[str]) -> list[dict[str, Any]]:
    position = {int(index): row for row, index in enumerate(scores["index"])}
    mean = mean_leverage(folder.manifest(), scores["leverage"])
    cards = []
    for example in folder.examples().to_pylist():
        if (row := position.get(example["index"])) is None:
            raise InputError(f"{folder.path}: an example is none of the points; make the audit again")
        values = list(folder.row(example["row"]).items())
        margin = float(scores["margin"][row])
        cards.append(
            {
                **{key: example[key] for key in ("rank", "index", "name")},
                "picture": base64.b64encode(example["picture"]).decode() if example["picture"] else "",
                "row": values[:_SHOWN_COLUMNS],
                "rest": values[_SHOWN_COLUMNS:],
                "label": class_name(names, scores["label"][row]),
                "suggested": class_name(names, scores["suggested_label"][row]),
                "agrees": bool(scores["label"][row] == scores["suggested_label"][row]),
                "kind": str(scores["kind"][row]),
                "cook": float(scores["cook"][row]),
                "margin": None if np.isnan(margin) else margin,
                "sparse": float(scores["leverage"][row]) / mean,
                "agreement": _number(example["neighbour_agreement"]),
                "distance": _number(example["neighbour_distance"]),
            }
        )
    return cards


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
