"""Regions in the terminal, in the report and on a page of their examples; cuts of a table: two columns as a
picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from swaypoint.errors import InputError, MissingExtra
from swaypoint.findings.regions import (
    Exploration,
    Points,
    Range,
    Region,
    Table,
    central,
    read_points,
    read_regions,
    regions,
)
from swaypoint.findings.regions.folder import points_file
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.writing import write_text
from swaypoint.report import charts
from swaypoint.report.examples import Example, reader
from swaypoint.report.page import render_page

SHOWN = 12
_FEW = 50
_ON_PAGE, _EXAMPLES, _NAMES = 30, 8, 6
_DOTS = 1_500
_LARGEST, _SMALLEST = 9.0, 1.6
_CLASSES = 12
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#5c656f}.tick.y{text-anchor:end}"
    ".tick.x,.axis{text-anchor:middle}.grid{stroke:#dfdcd4}svg{background:#fff}"
)


@dataclass(frozen=True)
class Row:
    """One region in words."""

    number: int
    points: int
    share: str
    where: str
    classes: str
    spacing: str
    disagreement: str
    errors: str
    wrong: str
    action: str
    reason: str


@dataclass(frozen=True)
class Section:
    """The report's part about regions: the first ones, how many more, the points in all of them, and a cut
    as SVG; what ``swaypoint regions`` ``gives`` beyond that; or ``missing``, what has to be installed."""

    rows: tuple[Row, ...]
    more: int
    points: int
    share: float
    picture: str
    gives: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Shown:
    """A region on the page: ``classes``, each with how many are labelled so and how many the model takes for
    it, and ``examples`` under headings."""

    row: Row
    classes: tuple[tuple[str, int, int], ...]
    examples: tuple[tuple[str, tuple[Example, ...]], ...]


def section(folder: AuditFolder) -> Section | None:
    """Of an audit that kept its inputs or features: the regions that ``swaypoint regions`` found, or those of
    its defaults; None of other audits, and of so few points that the tenth neighbour is none."""
    if not points_file(folder)[0].is_file():
        return None
    try:
        points, table = read_points(folder)
        if len(table.inputs) < _FEW:
            return None
        found = read_regions(folder) or regions(points, table)
    except MissingExtra as missing:
        return Section((), 0, 0, 0.0, "", missing=str(missing))
    names = telling(found, table)
    picture = cut(points, table, *names, found=found[:SHOWN]) if len(names) == 2 else ""
    return Section(
        tuple(row(number, region) for number, region in enumerate(found[:SHOWN], start=1)),
        max(0, len(found) - SHOWN),
        sum(map(len, found)),
        sum(region.share for region in found),
        picture,
        "proposes new inputs" if table.columns else "writes a page of examples of each",
    )


def write_page(folder: AuditFolder, found: Exploration, path: Path) -> None:
    """The first thirty regions with their central and their most influential records: one HTML file that
    needs nothing else, whole or not at all.

    Raises:
        InputError: not a finished audit, or a damaged one.
        MissingExtra: jinja2 is not installed.
    """
    example = reader(folder, whole=True)
    shown = []
    for number, region in enumerate(found.regions[:_ON_PAGE], start=1):
        middle = central(region, found.points, found.table)[:_EXAMPLES].tolist()
        chosen = [("central", middle), ("most influential", list(region.members[:_EXAMPLES]))]
        if len(region) <= _EXAMPLES:
            chosen = [("all of them", list(region.members))]
        given, guessed = dict(region.classes), dict(region.predicted)
        names = sorted(given | guessed, key=lambda name: -(given.get(name, 0) + guessed.get(name, 0)))
        shown.append(
            Shown(
                row(number, region),
                tuple((name, given.get(name, 0), guessed.get(name, 0)) for name in names[:_NAMES]),
                tuple((heading, tuple(map(example, them))) for heading, them in chosen) if example else (),
            )
        )
    page = render_page(
        "regions",
        title=Path(folder.manifest().data.name).name,
        folder=folder.path,
        regions=shown,
        more=max(0, len(found.regions) - _ON_PAGE),
        points=sum(map(len, found.regions)),
        share=sum(region.share for region in found.regions),
        coordinates=not found.table.columns,
    )
    write_text(path, page)


def row(number: int, region: Region) -> Row:
    return Row(
        number,
        len(region),
        f"{region.share:.1%}",
        region.where,
        ", ".join(f"{count} {name}" for name, count in region.classes),
        f"{region.spacing:.1f} ×",
        _percent(region.disagreement),
        _percent(region.errors),
        _percent(region.wrong),
        region.action,
        region.reason,
    )


def _percent(share: float) -> str:
    return "" if share != share else f"{share:.0%}"


def show(found: Exploration, *, console: Console | None = None) -> None:
    """Print the first regions, and how many more there are."""
    console = console or Console()
    members, share = sum(map(len, found.regions)), sum(region.share for region in found.regions)
    grid = Grid(
        title=f"{len(found.regions)} regions of the {members:,} points that carry {share:.0%} of the"
        " influence",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in ("", "points", "influence"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("do", no_wrap=True)
    grid.add_column("where and why", overflow="fold")
    for number, region in enumerate(found.regions[:SHOWN], start=1):
        said = row(number, region)
        labels = f" ({said.classes})" if said.classes else ""
        words = f"{escape(said.where)}{escape(labels)}\n[dim]{escape(said.reason)}[/]"
        grid.add_row(str(number), f"{said.points:,}", said.share, said.action, words)
    console.print(grid)
    if len(found.regions) > SHOWN:
        console.print(f"and {len(found.regions) - SHOWN} more, in regions.json", highlight=False)


def telling(found: Sequence[Region], table: Table) -> tuple[str, ...]:
    """The two columns in which the regions are narrowest, weighted by influence; fewer of a narrow table."""
    weight: dict[str, float] = defaultdict(float)
    for region in found:
        for bound in region.bounds:
            weight[bound.column] += region.share * (1.0 - bound.share)
    order = sorted(table.source, key=lambda name: -weight[name])  # stable: ties in the table's order
    return tuple(order[:2])


# -- cuts -------------------------------------------------------------------------------------------


def cut(
    points: Points,
    table: Table,
    x: str,
    y: str,
    *,
    within: Sequence[Range] = (),
    found: Sequence[Region] = (),
) -> str:
    """Points in two columns as SVG: area by influence, colour by label, outlined in the colour of the
    predicted class where it is another; regions of ``found`` that are narrow in both as boxes.

    Drawn are the most influential thousand and an even sample of the others, of those ``within`` the ranges
    of further columns.

    Raises:
        InputError: no such column, the same one twice, or nothing within the ranges.
    """
    if x == y:
        raise InputError(f"x and y are both {x!r}; a cut is along two columns")
    (xs, x_names), (ys, y_names) = table.column(x, points.inputs), table.column(y, points.inputs)
    inside = np.flatnonzero(table.inside(within, points.inputs))
    if len(inside) == 0:
        raise InputError(f"no points within {', '.join(map(str, within))}; widen the ranges")
    order = inside[np.argsort(-points.cook[inside], kind="stable")]
    first, rest = order[: _DOTS * 2 // 3], np.sort(order[_DOTS * 2 // 3 :])
    shown = np.r_[rest[:: max(1, -(-len(rest) // (_DOTS // 3)))], first[::-1]]  # the influential on top
    strength = np.sqrt(np.minimum(points.cook[shown] / max(points.cook[first[0]], 1e-300), 1.0))
    labels = points.labels[shown].astype(np.int64) if table.classes else np.zeros(len(shown), np.int64)
    other = points.predicted[shown].astype(np.int64) if table.classes else labels
    dots = charts.Dots(
        _jittered(xs[shown], x_names),
        _jittered(ys[shown], y_names),
        _SMALLEST + (_LARGEST - _SMALLEST) * np.nan_to_num(strength, nan=1.0),
        [_hue(label) for label in labels],
        [_hue(guess) if guess != label else "" for label, guess in zip(labels, other, strict=True)],
    )
    return charts.scatter(
        dots,
        _axis(x, dots.x, x_names),
        _axis(y, dots.y, y_names),
        boxes=_boxes(found, x, y),
        names=[(name, _hue(index)) for index, name in enumerate(table.classes[:_CLASSES])],
        title=f"{y} over {x}, area by influence",
    )


def standalone(svg: str) -> str:
    """An SVG of the report as a file of its own."""
    opened = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return opened.replace("</title>", f"</title><style>{_STYLE}</style>", 1)


def _hue(index: int) -> str:
    ten = len(charts.HUES)
    return charts.HUES[index] if index < ten else f"hsl({index * 137.508 % 360:.0f} 55% 55%)"


def _jittered(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Categories are spread a little, so that their points do not hide each other."""
    return values + np.random.default_rng(0).uniform(-0.25, 0.25, len(values)) if names else values


def _axis(name: str, values: np.ndarray, names: Sequence[str]) -> charts.Axis:
    if names:
        return charts.Axis(
            name, -0.5, len(names) - 0.5, [(i, text[:14]) for i, text in enumerate(names)][:12]
        )
    return charts.value_axis(name, float(values.min()), float(values.max()))


def _boxes(found: Sequence[Region], x: str, y: str) -> list[charts.Box]:
    boxes = []
    for number, region in enumerate(found, start=1):
        bounds = {bound.column: bound for bound in region.bounds if not bound.values}
        if x in bounds and y in bounds:
            a, b = bounds[x], bounds[y]
            boxes.append(charts.Box(str(number), (a.low, a.high), (b.low, b.high)))
    return boxes
