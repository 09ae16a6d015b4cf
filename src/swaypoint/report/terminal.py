"""The top of a ranking in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swaypoint.errors import InputError, shortened
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.manifest import (
    HELD_OUT,
    OUT_OF_FOLD,
    TRAIN,
    AuditedData,
    Manifest,
    Planted,
    ranking_column,
)

_ORDERS = {
    "cooks_distance": "Cook's distance",
    "models": "Cook's distance of several models",
    "auto": "the recommended score",
}
_PARTS = {"train": "train", "validation": "held-out"}
"""Of the accuracies and the fit of a regression."""
_TREATED = 12  # columns of a table of which it is said what was done
_HANDFUL = 5.0  # expected wrong labels, below which a number of points to look at means little
_COLOURS = {"fit": "green", "caution": "yellow", "unfit": "red"}
FITNESS = {"fit": "fit for influence", "caution": "use with caution", "unfit": "not fit for influence"}
"""The verdicts on a model in words."""
_VERDICTS = {verdict: f"[{_COLOURS[verdict]}]{words}[/]" for verdict, words in FITNESS.items()}


def show(folder: AuditFolder, *, top: int = 20, console: Console | None = None) -> None:
    """Print what was audited, how far to trust it, planted errors if any, and the first ``top`` points.

    Raises:
        InputError: not a finished audit, or ``top`` < 1.
    """
    if top < 1:
        raise InputError(f"top is {top}; expected a positive number")
    console = console or Console()
    manifest, points = folder.manifest(), ranked(folder, top).to_pylist()
    _heading(manifest, console)
    if manifest.suspected is not None:
        console.print(suspected_words(manifest), highlight=False, soft_wrap=True)
    if manifest.flipped is not None:
        console.print(_planted(manifest.flipped, classes=bool(manifest.data.classes)))
    console.print(_first(folder, points, console.width))
    if "studentised" in points[0] and manifest.ranked_by != "auto":
        console.print(
            "What sways the fit stands first. Values that are probably wrong: the column auto (studentised"
            " residuals), by which --score auto ranks.",
            highlight=False,
            soft_wrap=True,
        )


def _first(folder: AuditFolder, points: Sequence[dict[str, Any]], columns: int) -> Table:
    """The first of the ranking; in a terminal of few ``columns`` only names are cut, of files and classes."""
    manifest = folder.manifest()
    table = Table(
        title=f"First {len(points)} of {sum(manifest.data.ranked.values()):,} by {ranked_by(manifest)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    named = any(point["name"] for point in points)
    texts = _beginnings(folder, [point["index"] for point in points])
    regression = "studentised" in points[0]
    wide = 7 if regression else 0
    several = len(manifest.data.ranked) > 1
    for name, width in (("rank", 4), ("index", 5), ("label", wide), ("suggested", wide), ("kind", 10)):
        words = name in ("label", "suggested", "kind")
        table.add_column(name, justify="left" if words else "right", no_wrap=True, min_width=width)
        if named and name == "index":
            table.add_column("file", no_wrap=True, overflow="ellipsis")
        if texts and name == "index":
            table.add_column("text", no_wrap=True, overflow="ellipsis", max_width=max(10, columns - 70))
    if several:
        table.add_column("split", no_wrap=True, min_width=8)
    by = ranking_column(manifest.ranked_by)
    signed = ("residual", "studentised") if regression else ("margin",) if manifest.data.classes else ()
    for name in (*((by, "cook") if by != "cook" else ("cook",)), *signed, "leverage"):
        short = "stud." if name == "studentised" else name
        table.add_column(short, justify="right", no_wrap=True, min_width=6 if name in signed else 8)
    scores = folder.scores()
    mean = manifest.mean_leverage(*(scores[name].to_numpy() for name in ("leverage", "split")))
    for point in points:
        table.add_row(
            *(str(point[name]) for name in ("rank", "index")),
            *((escape(point["name"]),) if named else ()),
            *((escape(texts[point["index"]]),) if texts else ()),
            *(escape(point[name]) for name in ("label", "suggested_label", "kind")),
            *((escape(split_name(point["split"])),) if several else ()),
            *(f"{point[name]:.3g}" for name in ((by, "cook") if by != "cook" else ("cook",))),
            *(f"{point[name]:+.{'4g' if name == 'residual' else '2f'}}" for name in signed),
            f"{point['leverage'] / mean:.1f}×",
        )
    return table


def _beginnings(folder: AuditFolder, index: Sequence[int]) -> dict[int, str]:
    """How the texts at these positions of the source begin, on one line; empty where there are none."""
    data = folder.manifest().data
    if data.kind != "texts" or not (folder.path / "items.arrow").is_file():
        return {}
    rows = folder.items()[1]["row"]
    place = {int(at): row for row, at in enumerate(folder.scores()["index"].to_numpy())}
    found = {}
    for at in index:
        values = folder.row(rows[place[at]].as_py())
        text = shortened(" | ".join(values.get(column, "") for column in data.columns), 120)
        found[at] = "".join(character if character.isprintable() else "·" for character in text)
    return found


def ranked(folder: AuditFolder, top: int | None = None) -> pa.Table:
    """The first ``top`` points of the ranking, or all that the folder holds, the first first: the columns of
    the scores, after ``rank``, ``index`` and ``name`` (the file, or empty), with classes by their names.

    Raises:
        InputError: not a finished audit.
    """
    names, scores = folder.manifest().data.classes, folder.scores()
    files = pa.array([""] * len(scores))
    if (folder.path / "items.arrow").is_file():  # older audits have none
        files = folder.items()[1]["name"]
    found = {"rank": scores["rank"], "index": scores["index"], "name": files}
    for column in scores.column_names:
        values = scores[column]
        if column in ("label", "suggested_label"):
            values = pa.array([class_name(names, value) for value in values.to_numpy()], pa.string())
        found.setdefault(column, values)
    order = np.argsort(scores["rank"].to_numpy())[:top]
    return pa.table(found).take(pa.array(order))


def described(folder: AuditFolder, *, top: int) -> dict[str, Any]:
    """What :func:`show` prints, for a machine: numbers as they are, None where there is none.

    Raises:
        InputError: as there.
    """
    if top < 1:
        raise InputError(f"top is {top}; expected a positive number")
    manifest = folder.manifest()
    points = [
        {name: _finite(value) for name, value in row.items()} for row in ranked(folder, top).to_pylist()
    ]
    return {
        "folder": str(folder.path),
        "data": {
            "name": manifest.data.name,
            "ranked": sum(manifest.data.ranked.values()),
            "splits": manifest.data.ranked,
            "held_out": manifest.data.validation,
            "classes": list(manifest.data.classes),
            "of": manifest.data.of,
            "skipped": len(manifest.data.skipped) + manifest.data.left_out,
        },
        "model": {"name": manifest.model.name, "loss": manifest.model.loss}
        | {"accuracy": asdict(manifest.model.accuracy)},
        "ranked_by": ranking_column(manifest.ranked_by),
        "fitness": described_fitness(folder),
        "suspected": None if manifest.suspected is None else asdict(manifest.suspected),
        "planted": None if manifest.flipped is None else asdict(manifest.flipped),
        "points": points,
    }


def described_fitness(folder: AuditFolder) -> dict[str, Any]:
    """What :func:`show_fitness` prints, for a machine.

    Raises:
        InputError: not a finished audit.
    """
    return {name: _finite(value) for name, value in asdict(folder.manifest().diagnostics).items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def show_fitness(folder: AuditFolder, *, console: Console | None = None) -> None:
    """Print whether the model is fit for influence: every measure, its verdict, and what to do.

    Raises:
        InputError: not a finished audit.
    """
    console = console or Console()
    checks = folder.manifest().diagnostics
    console.print(
        f"{_VERDICTS[checks.verdict]}; {checks.solver}, {checks.precision}, {checks.outcome}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_lines=True)
    for name in ("check", "verdict", "measured", "meaning"):
        table.add_column(name, min_width=7)
    for check in checks.checks:
        meaning = escape(check.meaning)
        if check.verdict != "fit":
            meaning += f"\n[bold]Remedy[/]: {escape(check.remedy)}"
        colour = _COLOURS[check.verdict]
        table.add_row(check.name, f"[{colour}]{check.verdict}[/]", escape(check.value), meaning)
    console.print(table)


def suspected_words(manifest: Manifest) -> str:
    """How many labels are probably wrong, and how many points to look at, in a sentence or two; "" where the
    audit does not say."""
    found = manifest.suspected
    if found is None:
        return ""
    checks = manifest.diagnostics.checks
    if any(check.name == "Baseline" and check.verdict == "unfit" for check in checks):
        return "how many labels are wrong cannot be told by a model that is no better than one answer for all"
    ranked = sum(manifest.data.ranked.values())
    held_out = manifest.model.accuracy.validation
    if held_out is not None and held_out < 0.5 and found.expected > ranked / 3:
        right = f"{held_out:.0%} of the points held out"
        return f"how many labels are wrong cannot be told by a model that is right on {right}"
    by = "the model's own estimate"
    if found.second is not None:
        share = found.second.accuracy
        known = "" if share is None else f", held-out accuracy {share:.1%}"
        by = f"the estimate of {found.second.name} that saw no point they judge{known}"
        if found.second.together:
            by = f"the estimate of the model and {found.second.name}, neither with the label that it judges"
    words = (
        f"about {found.expected:,.0f} of {ranked:,} labels are probably wrong by {by}"
        " (no bound: too low where people err as the models do)"
    )
    if not found.first or found.expected < 0.5:
        return words
    if found.expected < _HANDFUL:
        return f"{words}; too few to say how far to look: begin at the top of the ranking"
    order = "" if manifest.ranked_by == "auto" else " by the recommended score (--score auto)"
    return (
        f"{words}; look at the first {found.first:,}{order} to find nine in ten, expected precision there"
        f" {found.precision:.0%}"
    )


def ranked_by(manifest: Manifest) -> str:
    """What the ranking is by, in words."""
    return _ORDERS[manifest.ranked_by]


def class_name(names: Sequence[str], value: Any) -> str:
    """A class by its index, or a real value as it is."""
    return names[int(value)] if names and np.isfinite(value) else f"{value:.4g}"


def _heading(manifest: Manifest, console: Console) -> None:
    data, model, checks = manifest.data, manifest.model, manifest.diagnostics
    console.print(
        f"[bold]{escape(str(data.name))}[/]: {in_words(data)},"
        f" {f'{len(data.classes)} classes' if data.classes else 'real values'}",
        soft_wrap=True,
    )
    several = "" if model.folds is None else f"{model.folds} models, each without one fold: "
    line = f"{several}{escape(model.name)}, last layer {model.features} → {model.outputs}"
    for split, share in model.accuracy.by_split().items():
        line += f", {split_name(split).replace(' ', '-')} accuracy {share:.1%}"
    for part in _PARTS if model.regression is not None else ():
        if (found := getattr(model.regression, part)) is not None:
            line += f", {_PARTS[part]} R² {found.r_squared:.3f} (RMSE {found.rmse:.4g})"
    console.print(line, highlight=False, soft_wrap=True)
    console.print(f"{_VERDICTS[checks.verdict]}; {checks.solver}, {checks.precision}", highlight=False)
    for check in checks.checks:
        if check.verdict != "fit":
            console.print(
                f"  [yellow]{check.name}[/]: {escape(check.value)}. Remedy: {escape(check.remedy)}",
                highlight=False,
                soft_wrap=True,
            )
    treated = [f"{column}: {said}" for column, said in (data.treatments or {}).items()]
    for line in treated[:_TREATED]:
        console.print(f"  [dim]{escape(shortened(line))}[/]", highlight=False, soft_wrap=True)
    if len(treated) > _TREATED:
        more = len(treated) - _TREATED
        console.print(f"  [dim]… and {more} more columns, see the report[/]", highlight=False)
    if data.left_out:
        console.print(f"  [yellow]{data.left_out:,} bad records were left out[/]")
    if data.skipped:
        console.print(f"  [yellow]{len(data.skipped)} records were skipped[/]; manifest.json lists them")


def in_words(data: AuditedData) -> str:
    """How many points are ranked, and how many of them were not trained on."""
    ranked = data.ranked
    if data.of is not None:
        look = f"a first look at {data.points:,} of {data.of:,} records"
        return f"{look}, {in_words(replace(data, of=None))}"
    apart = ", ".join(f"{count:,} {split_name(split)}" for split, count in ranked.items() if split != TRAIN)
    if data.splits is None and data.validation:  # an older audit
        return f"{data.train:,} points ranked, {data.validation:,} held out and not ranked"
    return f"{sum(ranked.values()):,} points ranked" + (f", of which {apart}" if apart else "")


def split_name(split: str) -> str:
    """A split in words: as it is, but for the audit's own names of what it held out."""
    return split.replace("_", " ") if split in (HELD_OUT, OUT_OF_FOLD) else split


def _planted(flipped: Planted, *, classes: bool) -> Table:
    what = "wrong labels" if classes else "gross errors, of 10 and of 4 standard deviations,"
    ranked = flipped.ranked
    among = f"{sum(ranked.values())} among the ranked points"
    if len(ranked) > 1:
        parts = (f"{count} {split_name(split)}" for split, count in ranked.items())
        among = f"{sum(ranked.values())}: {', '.join(parts)}"
    title = f"Planted {what} found ({among})"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    names = {"auto": "recommended", "models": "Cook, all models", "cook": "Cook's distance", "loss": "loss"}
    names |= {"random": "random order"}
    shown = [name for name in names if name in flipped.found[0]]
    for name in ("inspected", *(names[name] for name in shown)):
        table.add_column(name, justify="right")
    for row in flipped.found:
        cells = [f"{row['hits'][name]} ({row[name]:.0%})" for name in shown]
        table.add_row(f"first {row['inspected']:.0%}", *cells)
        for split, hits in row.get("by_split", {}).items() if len(ranked) > 1 else ():
            of = max(ranked[split], 1)
            apart = [f"{hits[name]} ({hits[name] / of:.0%})" for name in shown]
            table.add_row(split_name(split), *apart, style="dim")
    return table
