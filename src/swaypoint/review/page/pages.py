"""What the review page shows, as values: each page is rendered as HTML, or sent as JSON as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from swaypoint.errors import InputError
from swaypoint.findings.regions import Region
from swaypoint.report.words import Marked, any_marked
from swaypoint.review.cuts import Axis
from swaypoint.review.items import Items, Related
from swaypoint.review.log.threads import Remark
from swaypoint.review.log.verdicts import VERDICTS, Decision, Review
from swaypoint.review.page.desk import Desk, View
from swaypoint.review.page.differences import Difference, differences
from swaypoint.review.page.pictures import seen_size
from swaypoint.review.page.query import Query
from swaypoint.review.page.reasons import Reason

WINDOW = 200
_CARD_COLUMNS = 6
_CARD_TEXT = 200
_CHOICES = 9


@dataclass(frozen=True)
class Said:
    """A verdict, and whose."""

    reviewer: str
    verdict: str
    label: str | None
    note: str


@dataclass(frozen=True)
class Cell:
    """One point in the gallery.

    ``suggested`` and ``kind`` are None in a blind review; ``values`` are a row's first
    columns, of what is no picture; ``other`` is what counts by others' verdicts where the reviewer has none.
    """

    id: str
    rank: int
    split: str
    label: str
    suggested: str | None
    kind: str | None
    picture: bool
    values: tuple[tuple[str, str], ...]
    own: Said | None
    other: Said | None
    conflict: bool


@dataclass(frozen=True)
class Gallery:
    """A window of a view: ``cells`` stand at ``start`` of its ``count``."""

    query: str
    seq: int
    count: int
    start: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Choice:
    """A class to relabel to, on a number key; the probability is None where it is hidden or not known."""

    key: str
    label: str
    probability: float | None


@dataclass(frozen=True)
class Tile:
    """A related point; ``value`` is its distance or influence, ``same`` that it carries the same label;
    of a row ``differs`` says in what it is another, of a text ``values`` what it is."""

    id: str
    label: str
    same: bool
    value: float
    picture: bool
    values: tuple[tuple[str, str], ...]
    differs: tuple[Difference, ...]


@dataclass(frozen=True)
class ItemPage:
    """One point, and where it stands in the view.

    Attributes:
        place: from 0; None: it is not in the view.
        previous, following, waiting: ids; ``waiting`` is the next that has no verdict yet.
        hidden: the model's opinion is not shown (a blind review).
        certainty: the model's probability of the given label.
        interval: of a regression what the value should be between, in 95 of 100 cases; ``outside`` says that
            it is not.
        others: verdicts of other reviewers.
        candidates: of the point's class and the likeliest others, the nearest points whose labels
            the model agrees with.
        seen: width and height of the picture as the model saw it; None where it is none.
        texts: in pieces, the words that speak for and against the label marked where ``words``, and then
            ``sides`` are the label's class and the one it is held against, () without classes.
        remarks: what was said of it beside verdicts.
    """

    id: str
    query: str
    seq: int
    count: int
    place: int | None
    previous: str | None
    following: str | None
    waiting: str | None
    rank: int
    split: str
    source: str
    label: str
    suggested: str | None
    hidden: bool
    kind: str | None
    certainty: float | None
    interval: tuple[str, str] | None
    outside: bool
    choices: tuple[Choice, ...]
    reasons: tuple[Reason, ...]
    picture: bool
    seen: tuple[int, int] | None
    values: tuple[tuple[str, str], ...]
    scores: tuple[tuple[str, float], ...]
    own: Said | None
    others: tuple[Said, ...]
    conflict: bool
    neighbours: tuple[Tile, ...]
    proponents: tuple[Tile, ...]
    opponents: tuple[Tile, ...]
    candidates: tuple[tuple[str, tuple[Tile, ...]], ...]
    texts: tuple[Marked, ...] = ()
    words: bool = False
    sides: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Finished:
    """In place of an item: nothing in the view waits; ``others`` of its points are assigned to others."""

    query: str
    seq: int
    count: int
    others: int


@dataclass(frozen=True)
class Point:
    """One point of the map, by its position."""

    id: str
    rank: int
    label: str
    picture: bool


@dataclass(frozen=True)
class RegionLink:
    """A region in words, and the address of its points on the map along its narrowest columns."""

    number: int
    points: int
    action: str
    words: str
    query: str


@dataclass(frozen=True)
class MapPage:
    """The map's legend; its points come as ``/map.bin``, see :func:`map_points`.

    Attributes:
        columns: of the table, along which it can be cut; () of pictures.
        axes: of a cut; None: the map's own.
        regions: where ``swaypoint regions`` has been run.
        without_lasso: the address of the same view with the lasso dropped.
    """

    query: str
    seq: int
    count: int
    points: int
    labels: tuple[str, ...]
    verdicts: tuple[str, ...]
    columns: tuple[str, ...]
    axes: tuple[Axis, Axis] | None
    regions: tuple[RegionLink, ...]
    without_lasso: str


def gallery(desk: Desk, review: Review, view: View, actor: str, start: int) -> Gallery:
    """The window of ``view`` from ``start``, at most 200 points."""
    start = max(0, start)
    positions = view.positions[start : start + WINDOW].tolist()
    cells = tuple(cell(desk, review, position, actor) for position in positions)
    return Gallery(view.query.address(), view.seq, len(view), start, cells)


def cell(desk: Desk, review: Review, position: int, actor: str) -> Cell:
    """One point, as ``actor`` may see it."""
    items = desk.items
    item = items.ids[position]
    hidden = desk.blind
    own = review.by(actor, item)
    counts = review.decision(item) if own is None else None
    picture = items.pictured
    return Cell(
        item,
        int(items.scores["rank"][position]),
        items.split(position),
        items.label(position),
        None if hidden else items.suggested(position),
        None if hidden else items.suggested_kind(position),
        picture,
        () if picture else _values(items, position, _CARD_COLUMNS),
        None if own is None else _said(actor, own),
        None if counts is None else _said("", counts),
        review.conflict(item),
    )


def _said(reviewer: str, decision: Decision) -> Said:
    return Said(reviewer, decision.verdict, decision.label, decision.note)


def _values(items: Items, position: int, k: int) -> tuple[tuple[str, str], ...]:
    values = items.row(position).items()
    return tuple((name, str(value)[:_CARD_TEXT]) for name, value in list(values)[:k])  # a card shows no more


def item_page(desk: Desk, review: Review, view: View, actor: str, position: int) -> ItemPage:
    """The point at ``position``."""
    items = desk.items
    item, place = items.ids[position], view.place(position)
    hidden = desk.blind
    certainty, choices = _choices(items, position, hidden=hidden)
    near, supports, contradicts, candidates, why = desk.related(position)
    waiting = desk.first_waiting(view, actor, 0 if place is None else place + 1)
    own = review.by(actor, item)
    between = None if hidden else items.interval(position)
    value = float(items.scores["label"][position])
    texts, sides = (items.texts(position), ()) if hidden else items.marked(position)
    return ItemPage(
        id=item,
        query=view.query.address(),
        seq=view.seq,
        count=len(view),
        place=place,
        previous=_beside(items, view, place, -1),
        following=_beside(items, view, place, +1),
        waiting=None if waiting in (None, position) else items.ids[waiting],  # type: ignore[index]
        rank=desk.rank(view, position),
        split=items.split(position),
        source=items.source(position),
        label=items.label(position),
        suggested=None if hidden else items.suggested(position),
        hidden=hidden,
        kind=None if hidden else items.suggested_kind(position),
        certainty=certainty,
        interval=None if between is None else (f"{between[0]:.6g}", f"{between[1]:.6g}"),
        outside=between is not None and not between[0] <= value <= between[1],
        choices=choices,
        reasons=why,
        picture=items.pictured,
        seen=seen_size(items, position) if items.kind == "images" else None,
        values=tuple(items.others(position).items()),
        scores=() if hidden else _scores(items, position),
        own=None if own is None else _said(actor, own),
        others=tuple(_said(who, what) for who, what in sorted(review.all_on(item).items()) if who != actor),
        conflict=review.conflict(item),
        # What the model holds of other points tells what it holds of this one, and so do their labels.
        neighbours=() if hidden else _tiles(items, position, near),
        proponents=() if hidden else _telling(items, _tiles(items, position, supports), same=True),
        opponents=() if hidden else _telling(items, _tiles(items, position, contradicts), same=False),
        candidates=tuple((name, _tiles(items, position, one)) for name, one in candidates.items()),
        texts=texts,
        words=any_marked(texts) and items.has_words and not hidden,
        sides=sides,
        remarks=desk.remarks(item, actor),
    )


def _beside(items: Items, view: View, place: int | None, step: int) -> str | None:
    there = -1 if place is None else place + step
    return items.ids[int(view.positions[there])] if 0 <= there < len(view) else None


def _choices(items: Items, position: int, *, hidden: bool) -> tuple[float | None, tuple[Choice, ...]]:
    """The model's probability of the given label, and the other classes, the likeliest first."""
    given = items.label(position)
    if not items.classes:
        known = not hidden and np.isfinite(items.scores["suggested_label"][position])
        return None, (Choice("1", items.suggested(position), None),) if known else ()
    likely = [] if hidden else items.suggestions(position, len(items.classes))
    if not likely:  # hidden or not known: in their own order, which tells nothing
        first = () if hidden else (items.suggested(position),)
        names = [name for name in dict.fromkeys((*first, *items.classes)) if name != given]
        return None, tuple(Choice(str(i), name, None) for i, name in enumerate(names[:_CHOICES], start=1))
    certainty = next(one.probability for one in likely if one.label == given)
    others = [one for one in likely if one.label != given][:_CHOICES]
    choices = (Choice(str(i), one.label, one.probability) for i, one in enumerate(others, start=1))
    return certainty, tuple(choices)


def _scores(items: Items, position: int) -> tuple[tuple[str, float], ...]:
    left_out = {"index", "label", "suggested_label", "rank"}
    return tuple(
        (name, float(values[position]))
        for name, values in items.scores.items()
        if name not in left_out and values.dtype.kind == "f" and np.isfinite(values[position])
    )


def _tiles(items: Items, position: int, related: Related) -> tuple[Tile, ...]:
    labels, picture = items.scores["label"], items.kind == "images"
    return tuple(
        Tile(
            items.ids[other],
            items.label(other),
            not items.classes or bool(labels[other] == labels[position]),
            float(value),
            picture,
            _values(items, other, 3) if items.kind == "texts" else (),
            () if picture or items.kind == "texts" else differences(items, position, other),
        )
        for other, value in zip(related.positions.tolist(), related.values.tolist(), strict=True)
    )


def _telling(items: Items, tiles: tuple[Tile, ...], *, same: bool) -> tuple[Tile, ...]:
    """Supporters or opponents where most of them carry what one expects: the point's own label, or another.

    Else influence runs through features that the classes share: it tells of the model, and a person would
    take it for evidence about the label. Of real values all.
    """
    expected = sum(tile.same == same for tile in tiles)
    return tiles if not items.classes or 2 * expected > len(tiles) else ()


def finished(desk: Desk, view: View, actor: str) -> Finished:
    return Finished(view.query.address(), view.seq, len(view), desk.others(view, actor))


def point(desk: Desk, position: int) -> Point:
    """Raises:
    InputError: there is none.
    """
    items = desk.items
    if not 0 <= position < len(items):
        raise InputError(f"there is no point at {position}; expected 0 to {len(items) - 1}")
    rank = int(items.scores["rank"][position])
    return Point(items.ids[position], rank, items.label(position), items.pictured)


def map_page(desk: Desk, view: View) -> MapPage:
    items, query = desk.items, view.query
    shown = items.cut(*query.cut) if query.cut else None
    return MapPage(
        query=query.address(),
        seq=view.seq,
        count=len(view),
        points=len(items),
        labels=items.classes,
        verdicts=tuple(VERDICTS),
        columns=items.table.source if items.table else (),
        axes=(shown.x, shown.y) if shown else None,
        regions=tuple(_region(*one) for one in enumerate(() if desk.blind else items.regions, start=1)),
        without_lasso=replace(query, lasso=()).address(),
    )


def _region(number: int, region: Region) -> RegionLink:
    names = [bound.column for bound in region.bounds][:2]
    x, y = names if len(names) == 2 else ("", "")
    return RegionLink(
        number, len(region), region.action, region.where, Query(region=number, x=x, y=y).address()
    )


def verdicts(desk: Desk, review: Review, actor: str) -> np.ndarray:
    """Of each point, ``(n,)`` uint8: 0 none, else 1 + its place in VERDICTS; the actor's own where there is
    one."""
    verdict = np.zeros(len(desk.items), np.uint8)
    for item in review.reviewed():
        position, decision = desk.items.position(item), review.by(actor, item) or review.decision(item)
        if position is not None and decision is not None:
            verdict[position] = 1 + VERDICTS.index(decision.verdict)
    return verdict


def map_points(desk: Desk, view: View, verdict: np.ndarray) -> bytes:
    """The map's n points, little endian, one column after the other: x and y interleaved (2n float32),
    class (n uint16), rank (n uint32), :func:`verdicts` (n uint8), and whether it is in the view (n uint8); of
    a cut then the influence (n uint8: 255 √(cook / largest))."""
    items = desk.items
    shown = np.zeros(len(items), np.uint8)
    shown[view.positions] = 1
    label = items.scores["label"].astype("<u2") if items.classes else np.zeros(len(items), "<u2")
    columns: Sequence[np.ndarray] = (
        (items.cut(*view.query.cut).places if view.query.cut else items.places).astype("<f4"),
        label,
        items.scores["rank"].astype("<u4"),
        verdict,
        shown,
        *((_strength(items),) if view.query.cut else ()),
    )
    return b"".join(column.tobytes() for column in columns)


def _strength(items: Items) -> np.ndarray:
    cook = np.minimum(items.scores["cook"], np.finfo(np.float32).max)
    return np.rint(255.0 * np.sqrt(cook / max(float(cook.max()), 1e-300))).astype(np.uint8)
