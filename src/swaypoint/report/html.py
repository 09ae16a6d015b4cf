"""The report: one HTML file that needs nothing else, from an audit folder."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swaypoint.errors import InputError
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.writing import write_text
from swaypoint.report import charts, findings
from swaypoint.report.overview import Overview, overview
from swaypoint.report.page import render_page
from swaypoint.report.regions import section
from swaypoint.report.regression import plot
from swaypoint.report.terminal import FITNESS, class_name, in_words, ranked_by, split_name
from swaypoint.report.words import Words, any_marked, texts_in, unmarked
from swaypoint.report.wrong import wrong
from swaypoint.scoring.kinds import KINDS, REGRESSION_KINDS

_SHOWN_COLUMNS = 8
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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
    names, scores = manifest.data.classes, columns(folder)
    found = overview(folder, scores)
    every = cards(folder, scores)
    return render_page(
        "report",
        manifest=manifest,
        folder=folder.path,
        title=Path(manifest.data.name).name,
        ranked=in_words(manifest.data),
        split_name=split_name,
        findings=findings.section(folder),
        summary=found,
        curve=_curve(found, ranked_by(manifest)) if found.suspects else "",
        distribution=_distribution(found),
        classes=_by_class(found, names),
        wrong=wrong(folder),
        residuals=plot(manifest, scores),
        kinds=REGRESSION_KINDS if "studentised" in scores else KINDS,
        regions="" if folder.streamed else section(folder),
        cards=every,
        labels=sorted({card["label"] for card in every}),
        arguments=json.dumps(manifest.arguments, indent=1),
        verdicts=FITNESS,
    )


def columns(folder: AuditFolder) -> dict[str, np.ndarray]:
    """Of :meth:`AuditFolder.scores`, by name.

    Raises:
        InputError: not a finished audit, or a damaged one.
    """
    table = folder.scores()
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def _curve(found: Overview, ranked: str) -> str:
    n, inspect = len(found.seen), found.inspect / found.points
    shares = np.arange(1, n + 1) / n
    wanted = max(0.1, 2.5 * inspect)
    limit = min((step for step in (0.1, 0.2, 0.25, 0.4, 0.5, 0.75) if step >= wanted), default=1.0)
    thin = np.unique(np.linspace(0, np.searchsorted(shares, limit, side="right") - 1, 240).astype(int))
    percent = [(limit * i / 5, f"{100 * limit * i / 5:.3g} %") for i in range(6)]
    x = charts.Axis("share of the points inspected", 0, limit, percent)
    y = charts.Axis("share of the suspects seen", 0, 1, [(i / 4, f"{25 * i} %") for i in range(5)])
    start = np.zeros(1)
    curves = [
        charts.Line(ranked, "curve cook", np.r_[start, shares[thin]], np.r_[start, found.seen[thin]]),
        charts.Line("loss", "curve loss", np.r_[start, shares[thin]], np.r_[start, found.seen_by_loss[thin]]),
        charts.Line("random order", "curve random", np.array([0, limit]), np.array([0, limit])),
    ]
    return charts.lines(curves, x, y, mark=inspect, title="Suspects seen by share inspected")


def _distribution(found: Overview) -> str:
    if not len(found.values):
        return ""
    logs = np.log10(found.values)
    low, high = np.floor(max(logs.min(), logs.max() - 12)), np.ceil(logs.max() + 1e-9)
    heights, edges = np.histogram(
        np.clip(logs, low, high), bins=60, range=(low, max(high, low + 1)), weights=found.counts
    )
    step = max(1, round((high - low) / 6))
    ticks = [(v, "10" + str(v).translate(_SUPERSCRIPT)) for v in range(int(low), int(high) + 1, step)]
    x = charts.Axis("Cook's distance", low, max(high, low + 1), ticks)
    mark = float(np.log10(found.mark))
    return charts.histogram(heights, edges, x, mark=mark, title="Distribution of Cook's distance")


def _by_class(found: Overview, names: Sequence[str]) -> list[dict[str, Any]]:
    """Per given class: points, those in the first 1 %, and suspects; the most affected first."""
    titles = ("points", "first", "suspects")
    rows: list[dict[str, Any]] = [
        {"name": name, **dict(zip(titles, row, strict=True))}
        for name, row in zip(names, found.classes.tolist(), strict=True)
    ]
    return sorted(rows, key=lambda row: -row["first"])[:50]


def cards(
    folder: AuditFolder, scores: dict[str, np.ndarray], *, first: int | None = None
) -> list[dict[str, Any]]:
    """What is shown of the top of the ranking, a dictionary a point, the first first.

    Args:
        scores: the audit's :func:`columns`.
        first: so many; None: all that the folder has examples of.

    Raises:
        InputError: a damaged audit.
    """
    position = {int(index): row for row, index in enumerate(scores["index"])}
    data, words = folder.manifest().data, Words.of(folder)
    names = data.classes
    mean = folder.manifest().mean_leverage(scores["leverage"], scores["split"])
    cards = []
    for example in folder.examples().slice(0, first).to_pylist():
        if (row := position.get(example["index"])) is None:
            raise InputError(f"{folder.path}: an example is none of the points; make the audit again")
        texts, others = texts_in(folder.row(example["row"]), data.columns if data.kind == "texts" else ())
        values = list(others.items())
        margin = float(scores["margin"][row])
        cards.append(
            {
                **{key: example[key] for key in ("rank", "index", "name")},
                "picture": base64.b64encode(example["picture"]).decode() if example["picture"] else "",
                **_texts(words, texts, names, scores["label"][row], scores["suggested_label"][row]),
                "row": values[:_SHOWN_COLUMNS],
                "rest": values[_SHOWN_COLUMNS:],
                "label": class_name(names, scores["label"][row]),
                "suggested": class_name(names, scores["suggested_label"][row]),
                "agrees": bool(scores["label"][row] == scores["suggested_label"][row]),
                "kind": str(scores["kind"][row]),
                "split": str(scores["split"][row]),
                "cook": float(scores["cook"][row]),
                "margin": None if np.isnan(margin) else margin,
                "residual": _at(scores, "residual", row),
                "studentised": _at(scores, "studentised", row),
                "error": _at(scores, "suggested_error", row),
                "sparse": float(scores["leverage"][row]) / mean,
                "agreement": _number(example["neighbour_agreement"]),
                "distance": _number(example["neighbour_distance"]),
            }
        )
    return cards


def _texts(
    words: Words | None, texts: dict[str, str], names: Sequence[str], label: float, suggested: float
) -> dict[str, Any]:
    """The texts of a card in pieces, their beginnings where they are long, and what they speak for: the
    label's class and the one it is held against, () where nothing is marked or the labels are values."""
    if words is None or not texts:
        return {"texts": unmarked(texts), "sides": (), "marked": False}
    sides: tuple[str, ...] = ()
    direction = words.direction(None, None)
    if names:
        rival = words.rival("\n\n".join(texts.values()), int(label), int(suggested))
        direction, sides = words.direction(int(label), rival), (names[int(label)], names[rival])
    found = words.marked(texts, direction)
    return {"texts": found, "sides": sides, "marked": any_marked(found)}


def _at(scores: dict[str, np.ndarray], name: str, row: int) -> float | None:
    return _number(scores[name][row]) if name in scores else None


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
