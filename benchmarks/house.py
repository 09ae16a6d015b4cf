"""The house in numbers and in one picture: ``python -m benchmarks.house [--source DIR] [--draw FILE.svg]``.

- A *room* is a module or package right below ``swaypoint``; a module belongs to the room it lies in.
- The *door* is ``swaypoint/__init__.py``. It is no room: it names the rooms that a user enters.
- A *floor*: a room that imports no other is on floor 1, another one floor above the highest that it imports.
  Rooms that import each other in a circle share a floor. What only a type checker imports counts not here.
- An import *runs up* if it goes to a room that the contract puts higher, or if it closes a circle: it does
  not lead to a lower floor, and from where it leads imports come back. Here what only a type checker imports
  counts, and so does the door, one floor above the highest room that it names.
- A module is *outside the contract* if no layer of import-linter's contract of rooms holds its room.

Imports inside functions count as any other; what is imported by a name in a string is not seen.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path
from textwrap import wrap
from xml.sax.saxutils import escape

from grimp import ImportGraph, build_graph

PACKAGE = "swaypoint"
DOOR = "__init__"
Import = tuple[str, str]


def room_of(module: str) -> str:
    """The room that holds ``module``: ``swaypoint.data.readers.tables`` lies in ``data``."""
    return module.split(".")[1] if "." in module else DOOR


def contract(source: Path) -> list[list[str]]:
    """The layers of rooms in ``source``'s pyproject.toml, the highest first."""
    tool = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    for found in tool["importlinter"]["contracts"]:
        if found["type"] == "layers":
            floors = [[name.strip() for name in re.split("[|:]", layer)] for layer in found["layers"]]
            inside = found.get("containers") == [PACKAGE]
            if inside or all(name.count(".") == 1 for floor in floors for name in floor):
                return [[name.rpartition(".")[2] for name in floor] for floor in floors]
    raise SystemExit(f"{source}/pyproject.toml has no contract of type layers over the rooms of {PACKAGE}")


@dataclass(frozen=True)
class House:
    """The rooms of a checkout, and which imports which."""

    source: Path
    layers: list[list[str]]
    modules: frozenset[str]
    running: frozenset[Import]
    """Imports between rooms (the door is one here) that happen when the program runs: module, module."""
    written: frozenset[Import]
    """These, and those that only a type checker reads."""

    @cached_property
    def rooms(self) -> list[str]:
        return sorted({room_of(module) for module in self.modules} - {DOOR})

    @cached_property
    def weights(self) -> Counter[Import]:
        """How many pairs of modules stand behind each import of one room by another, the door left out."""
        pairs = Counter((room_of(a), room_of(b)) for a, b in self.written)
        return Counter({pair: count for pair, count in pairs.items() if DOOR not in pair})

    @cached_property
    def behind_the_door(self) -> set[str]:
        """The rooms from which ``import swaypoint`` takes its names."""
        return {room_of(b) for a, b in self.written if room_of(a) == DOOR}

    @cached_property
    def floors(self) -> dict[str, int]:
        below = {
            room: {room_of(b) for a, b in self.running if room_of(a) == room} - {DOOR} for room in self.rooms
        }
        reached = {room: _reached(room, below) for room in self.rooms}
        floors: dict[str, int] = {}

        def floor(room: str) -> int:
            if room not in floors:
                circle = {other for other in reached[room] if room in reached[other]} | {room}
                beyond = {other for member in circle for other in below[member]} - circle
                floors.update(dict.fromkeys(circle, 1 + max(map(floor, beyond), default=0)))
            return floors[room]

        return {room: floor(room) for room in self.rooms}

    @cached_property
    def running_up(self) -> list[Import]:
        floors = self.floors | {
            DOOR: 1 + max((self.floors[room] for room in self.behind_the_door), default=0)
        }
        layer = {room: -depth for depth, names in enumerate(self.layers) for room in names}
        rooms = {(room_of(a), room_of(b)) for a, b in self.written}
        onwards = {room: {b for a, b in rooms if a == room} for room in floors}

        def up(a: str, b: str) -> bool:
            against = a in layer and b in layer and layer[b] > layer[a]
            return against or (floors[b] >= floors[a] and a in _reached(b, onwards))

        return sorted((a, b) for a, b in self.written if up(room_of(a), room_of(b)))

    @cached_property
    def outside_the_contract(self) -> list[str]:
        inside = {room for floor in self.layers for room in floor} | {DOOR}
        return sorted(module for module in self.modules if room_of(module) not in inside)

    @cached_property
    def arrows(self) -> list[Import]:
        """The imports of rooms by rooms that no longer way implies: what a picture needs to show."""
        below = {room: {b for a, b in self.weights if a == room} for room in self.rooms}
        return sorted(
            (a, b)
            for a, b in self.weights
            if not any(b in _reached(other, below) for other in below[a] if other not in (a, b))
        )


def _reached(start: str, onwards: dict[str, set[str]]) -> set[str]:
    """All that imports lead to from ``start``, itself only by a circle."""
    found: set[str] = set()
    ahead = set(onwards[start])
    while ahead:
        room = ahead.pop()
        found.add(room)
        ahead |= onwards[room] - found
    return found


def house(source: Path) -> House:
    """Reads the checkout at ``source``, whatever is installed; nothing of it is executed."""
    # Where the package is already imported, its place would be taken for the source's.
    imported = sys.modules.pop(PACKAGE, None)
    sys.path.insert(0, str(source / "src"))
    try:
        running, written = (
            build_graph(PACKAGE, exclude_type_checking_imports=left_out, cache_dir=None)
            for left_out in (True, False)
        )
    finally:
        sys.path.pop(0)
        if imported is not None:
            sys.modules[PACKAGE] = imported
    return House(
        source,
        contract(source),
        frozenset(written.modules),
        _between_rooms(running),
        _between_rooms(written),
    )


def _between_rooms(graph: ImportGraph) -> frozenset[Import]:
    pairs = ((a, b) for a in graph.modules for b in graph.find_modules_directly_imported_by(a))
    return frozenset((a, b) for a, b in pairs if room_of(a) != room_of(b))


def measured(built: House) -> str:
    """The numbers, one a line, and what stands behind each that should be none."""
    lines = [
        f"rooms at the top: {len(built.rooms)} (beside the door, {PACKAGE}/__init__.py)",
        f"floors: {max(built.floors.values())}",
        f"imports that run up: {len(built.running_up)}",
        *(f"    {a} -> {b}" for a, b in built.running_up),
        f"modules outside the contract: {len(built.outside_the_contract)} of {len(built.modules)}",
        *(f"    {module}" for module in built.outside_the_contract),
        f"layers of the contract: {len(built.layers)}",
    ]
    return "\n".join(lines)


# -- the picture ------------------------------------------------------------------------------------

WIDTH, MARGIN, GUTTER, HEADER = 1180, 24, 64, 132
WIDEST, BOX, GAP, AISLE = 360, 98, 34, 46
TINTS = ["#f3f0e8", "#ecf1e6", "#e4f0ea", "#e3eef2", "#e6eaf5", "#ece7f4", "#f3e6ef", "#f6e8e4"]
SANS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
CODE = "ui-monospace, Menlo, Consolas, monospace"
DARK, MUTED, LINE, DOORS = "#1f2a30", "#5f6c74", "#5b6770", "#c8763a"


@dataclass(frozen=True)
class Box:
    """Where a room stands in the picture."""

    left: float
    top: float
    width: float

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


def drawn(built: House) -> str:
    """The house as SVG: a row a floor, a box a room with its sentence, and :attr:`House.arrows` between."""
    boxes = _placed(built)
    height = max(box.top for box in boxes.values()) + BOX + MARGIN
    tops = {floor: boxes[room].top for room, floor in built.floors.items()}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="{SANS}">',
        "<title>The rooms of swaypoint by floor, and which imports which</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"',
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 8 4 0 8Z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
        *_header(built),
        *(line for floor, top in sorted(tops.items()) for line in _floor(floor, top)),
        *(_arrow(built, boxes, pair) for pair in built.arrows),
        *(line for room in built.rooms for line in _room(built, room, boxes[room])),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _placed(built: House) -> dict[str, Box]:
    """Rows from the top floor down; in a row the order with the shortest arrows from above."""
    boxes: dict[str, Box] = {}
    top = float(HEADER)
    for floor in range(max(built.floors.values()), 0, -1):
        row = [room for room in built.rooms if built.floors[room] == floor]
        space = WIDTH - 2 * MARGIN - GUTTER - GAP * len(row)
        width = min(WIDEST, space / len(row))
        start = MARGIN + GUTTER + (space - len(row) * width) / 2
        spots = [Box(start + i * (width + GAP), top, width) for i in range(len(row))]

        def length(order: Iterable[str], spots: list[Box] = spots) -> float:
            placed = dict(zip(order, spots, strict=True))
            ends = ((boxes[a], placed[b]) for a, b in built.arrows if b in placed and a in boxes)
            return sum(abs(a.middle - b.middle) for a, b in ends)

        # Of more than seven rooms in a row (the layout of version 0.1.0) there are too many orders to try.
        orders: Iterable[tuple[str, ...]] = permutations(row) if len(row) < 8 else [tuple(row)]
        boxes.update(zip(min(orders, key=length), spots, strict=True))
        top += BOX + AISLE
    return boxes


def _header(built: House) -> list[str]:
    sentence = _sentence(built.source / "src" / PACKAGE / "__init__.py")
    return [
        _text(MARGIN, 44, PACKAGE, size=24, weight=700, colour=DARK),
        _text(MARGIN, 68, sentence, size=15, colour=DARK),
        _text(
            MARGIN,
            92,
            "A room imports rooms below it, never one above. The thicker an arrow, the more; "
            "arrows that others imply are left out.",
        ),
        _door(WIDTH - MARGIN - 184, 44),
        _text(WIDTH - MARGIN - 166, 43, "import swaypoint", font=CODE),
        _text(WIDTH - MARGIN - 166, 61, "takes its names from here", size=12),
    ]


def _floor(floor: int, top: float) -> list[str]:
    return [
        f'<rect x="{MARGIN}" y="{top - 12:.0f}" width="{WIDTH - 2 * MARGIN}" height="{BOX + 24}" rx="10" '
        f'fill="{TINTS[(floor - 1) % len(TINTS)]}"/>',
        _text(MARGIN + 26, top + BOX / 2 + 9, str(floor), size=26, weight=700, colour="#8b969d"),
    ]


def _room(built: House, room: str, box: Box) -> list[str]:
    home = built.source / "src" / PACKAGE / room
    sentence = _sentence(home / "__init__.py" if home.is_dir() else home.with_suffix(".py"))
    name = f"{room}/" if home.is_dir() else f"{room}.py"
    inside = sorted(
        {module.split(".")[2] for module in built.modules if module.startswith(f"{PACKAGE}.{room}.")}
    )
    inside = [f"{part}/" for part in inside if (home / part).is_dir()]
    lines = wrap(sentence, int((box.width - 24) / 6.7))
    left = box.left + 12
    return [
        f'<g data-room="{room}"><rect x="{box.left:.1f}" y="{box.top:.1f}" width="{box.width:.1f}" '
        f'height="{BOX}" rx="8" fill="#ffffff" stroke="{LINE}" stroke-width="1.2"/>',
        _text(left, box.top + 23, name, size=16, weight=700, colour=DARK, font=CODE),
        *([_door(box.left + box.width - 24, box.top + 24)] if room in built.behind_the_door else []),
        *(_text(left, box.top + 42 + 16 * i, line, colour=DARK) for i, line in enumerate(lines)),
        *([_text(left, box.top + BOX - 9, " ".join(inside), size=11.5, font=CODE)] if inside else []),
        "</g>",
    ]


def _arrow(built: House, boxes: dict[str, Box], pair: Import) -> str:
    """From the lower edge of one box to the upper of the other, between the boxes of the floors it passes."""
    a, b = boxes[pair[0]], boxes[pair[1]]
    x, end, y = _port(built, boxes, pair, leaving=True), _port(built, boxes, pair, leaving=False), a.top + BOX
    drawing = [f"M{x:.1f} {y:.1f}"]
    for top in sorted({box.top for box in boxes.values() if a.top < box.top <= b.top}):
        passes = top < b.top
        to, bend = _gap(boxes, top, (x + end) / 2) if passes else end, top - (0 if passes else 2)
        middle = (y + bend) / 2
        drawing.append(f"C{x:.1f} {middle:.1f} {to:.1f} {middle:.1f} {to:.1f} {bend:.1f}")
        if passes:
            drawing.append(f"V{top + BOX:.1f}")
        x, y = to, top + BOX
    thick = 0.9 + built.weights[pair] ** 0.5 / 2
    return (
        f'<path data-from="{pair[0]}" data-to="{pair[1]}" d="{"".join(drawing)}" fill="none" '
        f'stroke="{LINE}" stroke-width="{thick:.1f}" marker-end="url(#tip)"/>'
    )


def _gap(boxes: dict[str, Box], top: float, near: float) -> float:
    """The place between the boxes of a row, or beside them, that is next to ``near``."""
    row = [box for box in boxes.values() if box.top == top]
    edges = [min(box.left for box in row) - GAP / 2, *(box.left + box.width + GAP / 2 for box in row)]
    return min(edges, key=lambda x: abs(x - near))


def _port(built: House, boxes: dict[str, Box], pair: Import, *, leaving: bool) -> float:
    """Where on its box's edge an arrow begins or ends: side by side, in the order of the other ends."""
    here, there = (0, 1) if leaving else (1, 0)
    mine = [arrow for arrow in built.arrows if arrow[here] == pair[here]]
    mine.sort(key=lambda arrow: (boxes[arrow[there]].middle, arrow))
    box = boxes[pair[here]]
    return box.left + box.width * (mine.index(pair) + 1) / (len(mine) + 1)


def _door(x: float, y: float) -> str:
    return f'<path d="M{x:.1f} {y:.1f}v-13h10v13z" fill="{DOORS}"/>'


def _text(
    x: float,
    y: float,
    said: str,
    *,
    size: float = 13,
    weight: int = 400,
    colour: str = MUTED,
    font: str = SANS,
) -> str:
    style = f'font-size="{size}" font-weight="{weight}" fill="{colour}" font-family="{font}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(said)}</text>'


def _sentence(file: Path) -> str:
    """The first sentence of a module's docstring, without markup."""
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return re.sub("`+", "", re.split(r"(?<=\.)\s", said, maxsplit=1)[0].replace("\n", " "))


def main() -> None:
    parser = argparse.ArgumentParser(description="The rooms of swaypoint, in numbers and in a picture.")
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[1], help="a checkout")
    parser.add_argument("--draw", type=Path, metavar="FILE.svg", help="write the picture there")
    options = parser.parse_args()
    built = house(options.source.resolve())
    print(measured(built))
    if options.draw:
        options.draw.write_text(drawn(built), encoding="utf-8")


if __name__ == "__main__":
    main()
