"""The top of a ranking in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swaypoint.errors import InputError
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.manifest import Manifest, Planted

_ORDERS = {
    "cooks_distance": "Cook's distance",
    "models": "Cook's distance of several models",
    "auto": "the recommended score",
}
_COLOURS = {"fit": "green", "caution": "yellow", "unfit": "red"}
_WORDS = {"fit": "fit for influence", "caution": "use with caution", "unfit": "not fit"}
_VERDICTS = {verdict: f"[{_COLOURS[verdict]}]{words}[/]" for verdict, words in _WORDS.items()}


def show(folder: AuditFolder, *, top: int = 20, console: Console | None = None) -> None:
    """Print what was audited, how far to trust it, planted errors if any, and the first ``top`` points.

    Raises:
        InputError: not a finished audit, or ``top`` < 1.
    """
    if top < 1:
        raise InputError(f"top is {top}; expected a positive number")
    console = console or Console()
    manifest, scores = folder.manifest(), folder.scores()
    _heading(manifest, console)
    if manifest.flipped is not None:
        console.print(_planted(manifest.flipped, classes=bool(manifest.data.classes)))
    columns = {name: scores[name].to_numpy(zero_copy_only=False) for name in scores.column_names}
    order = np.argsort(columns["rank"])[:top]
    names = manifest.data.classes
    table = Table(
        title=f"First {len(order)} of {manifest.data.train:,} by {ranked_by(manifest)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    regression = "studentised" in columns
    # In a narrow terminal only the class names are cut.
    wide = 7 if regression else 0
    for name, width in (("rank", 4), ("index", 5), ("label", wide), ("suggested", wide), ("kind", 10)):
        words = name in ("label", "suggested", "kind")
        table.add_column(name, justify="left" if words else "right", no_wrap=True, min_width=width)
    further = (("residual", 8), ("studentised", 6)) if regression else (("margin", 6),) if names else ()
    for name, width in (("cook", 8), *further, ("leverage", 7)):
        table.add_column(
            "stud." if name == "studentised" else name, justify="right", no_wrap=True, min_width=width
        )
    mean = manifest.mean_leverage(columns["leverage"])
    for row in order:
        table.add_row(
            str(columns["rank"][row]),
            str(columns["index"][row]),
            escape(class_name(names, columns["label"][row])),
            escape(class_name(names, columns["suggested_label"][row])),
            columns["kind"][row],
            f"{columns['cook'][row]:.3g}",
            *(f"{columns[name][row]:+.{'4g' if name == 'residual' else '2f'}}" for name, _ in further),
            f"{columns['leverage'][row] / mean:.1f}×",
        )
    console.print(table)


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


def ranked_by(manifest: Manifest) -> str:
    """What the ranking is by, in words."""
    return _ORDERS[manifest.ranked_by]


def class_name(names: Sequence[str], value: Any) -> str:
    """A class by its index, or a real value as it is."""
    return names[int(value)] if names and np.isfinite(value) else f"{value:.4g}"


def _heading(manifest: Manifest, console: Console) -> None:
    data, model, checks = manifest.data, manifest.model, manifest.diagnostics
    console.print(
        f"[bold]{escape(str(data.name))}[/]: {data.train:,} points ranked, {data.validation:,} held out,"
        f" {f'{len(data.classes)} classes' if data.classes else 'real values'}",
        soft_wrap=True,
    )
    line = f"{escape(model.name)}, last layer {model.features} → {model.outputs}"
    for part, share in asdict(model.accuracy).items():
        if share is not None:
            line += f", {part} accuracy {share:.1%}"
    for part in ("train", "validation") if model.regression is not None else ():
        if (found := getattr(model.regression, part)) is not None:
            line += f", {part} R² {found.r_squared:.3f} (RMSE {found.rmse:.4g})"
    console.print(line, highlight=False, soft_wrap=True)
    console.print(f"{_VERDICTS[checks.verdict]}; {checks.solver}, {checks.precision}", highlight=False)
    for check in checks.checks:
        if check.verdict != "fit":
            console.print(
                f"  [yellow]{check.name}[/]: {escape(check.value)}. Remedy: {escape(check.remedy)}",
                highlight=False,
                soft_wrap=True,
            )
    if data.left_out:
        console.print(f"  [yellow]{data.left_out:,} bad records were left out[/]")
    if data.skipped:
        console.print(f"  [yellow]{len(data.skipped)} records were skipped[/]; manifest.json lists them")


def _planted(flipped: Planted, *, classes: bool) -> Table:
    what = "wrong labels" if classes else "gross errors, of 10 and of 4 standard deviations,"
    title = f"Planted {what} found ({flipped.in_training} among the ranked points)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    names = {"auto": "recommended", "models": "Cook, all models", "cook": "Cook's distance", "loss": "loss"}
    names |= {"random": "random order"}
    shown = [name for name in names if name in flipped.found[0]]
    for name in ("inspected", *(names[name] for name in shown)):
        table.add_column(name, justify="right")
    for row in flipped.found:
        cells = [f"{row['hits'][name]} ({row[name]:.0%})" for name in shown]
        table.add_row(f"first {row['inspected']:.0%}", *cells)
    return table
