"""Which points, in which order: what the address bar of the review page says."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

import numpy as np

from swaypoint.errors import InputError
from swaypoint.findings.class_pairs import looks_like
from swaypoint.findings.regions import Range
from swaypoint.review.items import Items
from swaypoint.review.log.dealing import dealt
from swaypoint.review.log.verdicts import VERDICTS, Review

STATUSES = ("all", "open", "reviewed", "conflict")
_CORNERS, _FIELDS = 500, 50
OPINIONS = ("suggested", "like", "kind", "disagree", "near", "region", "finding")
"""What depends on the model's opinion of a point, be it by the labels of its neighbours."""
BLIND_ORDERS = ("rank", "index", "label", "leverage")
"""Columns that do not."""
_COMPARED = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*([^<>=]+?)\s*(<=|>=|<|>|=)\s*([^<>=]+?)\s*")


@dataclass(frozen=True)
class Query:
    """A filtered and sorted view of the points.

    Attributes:
        sort: a column of the scores; ``rank`` (the most influential first), ``index`` and columns whose
            name starts with ``-`` ascend or descend as they say; ``finding``: as the finding lists them.
        label, suggested: class names as given, and as suggested.
        split: see :meth:`swaypoint.review.items.Items.split`.
        like: names of classes that points look like rather than their own, see
            :func:`swaypoint.findings.class_pairs.looks_like`.
        kind: suggested kinds, see :data:`swaypoint.scoring.kinds.KINDS`.
        verdict: verdicts that were given.
        status: ``open``: nothing was said yet; ``reviewed``; ``conflict``: reviewers differ.
        text: part of a point's file name or of its row, in any case.
        where: conditions on columns of the scores, all of which hold, such as ``p_wrong > 0.5, index < 100``.
        disagree: only points whose label is not the suggested one.
        top: only the first so many of the ranking.
        near: id of a point; the most similar to it (itself first) come first, whatever ``sort`` says.
        sample: only the first so many of the review's random sample, in its order, see
            :func:`swaypoint.review.log.dealing.dealt`.
        lasso: corners of a polygon on the map, (x, y) each.
        x, y: columns of a table that the map shows, and the lasso means, instead of its own coordinates;
            both or none.
        within: ranges of a table's columns, see :class:`swaypoint.findings.regions.Range`.
        region: number, from 1, of a region that ``swaypoint regions`` found; 0: anywhere.
        finding: name of what holds of the dataset, see :class:`swaypoint.findings.Finding`: its records.
    """

    sort: str = "rank"
    label: tuple[str, ...] = ()
    suggested: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
    status: str = "all"
    text: str = ""
    where: str = ""
    disagree: bool = False
    top: int = 0
    near: str = ""
    sample: int = 0
    lasso: tuple[tuple[float, float], ...] = ()
    x: str = ""
    y: str = ""
    within: tuple[str, ...] = ()
    region: int = 0
    finding: str = ""

    @property
    def cut(self) -> tuple[str, str] | None:
        """The two columns, if both are given."""
        return (self.x, self.y) if self.x and self.y else None

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> Query:
        """From an address's parameters; lists have commas (``%2C`` within a name), a lasso ``x,y;x,y``.
        Names that are no field are passed over.

        Raises:
            InputError: a value that makes no sense.
        """
        found: dict[str, Any] = {}
        for name in {field.name for field in fields(cls)} & values.keys():
            if values[name] == "":
                continue
            try:
                found[name] = _parsed(name, values[name])
            except ValueError:
                raise InputError(f"{name}={values[name]!r} in the address makes no sense") from None
        query = cls(**found)
        if query.status not in STATUSES:
            raise InputError(f"status is {query.status!r}; expected one of {', '.join(STATUSES)}")
        if bad := set(query.verdict) - set(VERDICTS):
            raise InputError(f"verdict is {sorted(bad)[0]!r}; expected one of {', '.join(VERDICTS)}")
        return query

    @classmethod
    def read(cls, address: str) -> Query:
        """What :meth:`address` wrote.

        Raises:
            InputError: a value that makes no sense.
        """
        try:
            address.encode()  # half a surrogate pair is in no address
            values = dict(parse_qsl(address, max_num_fields=_FIELDS))
        except ValueError:
            raise InputError(f"an address of a view has at most {_FIELDS} parameters, of text") from None
        return cls.parse(values)

    def address(self) -> str:
        """The parameters that :meth:`parse` reads back, without what is as usual.

        >>> Query(label=("7", "a,b"), disagree=True).address()
        'label=7%2Ca%252Cb&disagree=1'
        """
        said = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            if field.name == "lasso":
                said[field.name] = ";".join(f"{x:.4g},{y:.4g}" for x, y in value)
            elif isinstance(value, tuple):
                said[field.name] = ",".join(map(quoted, value))
            else:
                said[field.name] = "1" if value is True else str(value)
        return urlencode(said)


QUEUE = Query(status="open")
"""What nobody has judged, the most influential first: what a reviewer works through."""


def _parsed(name: str, value: str) -> Any:
    if name == "lasso":
        corners = tuple(tuple(map(float, corner.split(","))) for corner in value.split(";"))
        if len(corners) > _CORNERS or any(len(corner) != 2 for corner in corners):
            raise ValueError
        return corners
    if name in ("top", "region", "sample"):
        return max(0, int(value))
    if name == "disagree":
        return value in ("1", "true", "on")
    if name in ("sort", "status", "text", "where", "near", "x", "y", "finding"):
        return value
    return tuple(unquote(part) for part in value.split(","))


def quoted(name: str) -> str:
    """A name as one of a list in the address."""
    return quote(name, safe=" ")


def select(
    query: Query, items: Items, review: Review, actor: str, *, blind: bool = False, own: Review | None = None
) -> np.ndarray:
    """Positions ``(m,)`` int64 of the points that ``query`` asks for, in its order: of those that
    :func:`matching` finds the ones that are :func:`by_verdicts`. For the arguments see these.

    Raises:
        InputError: as these.
    """
    found = matching(query, items, own or review, blind=blind)
    kept = by_verdicts(query, items, review, actor, blind=blind)
    return found if kept is None else found[kept[found]]


def matching(query: Query, items: Items, drawn: Review, *, blind: bool = False) -> np.ndarray:
    """Positions ``(m,)`` int64, in order, of the points that ``query`` asks for whatever was said of them:
    what does not change in the course of a review, and may take long.

    Args:
        drawn: whose random sample is meant: in a blind review the actor's own, as what they had not judged is
            what they are dealt of.
        blind: what would tell the model's opinion of a point (:data:`OPINIONS`, other orders than
            :data:`BLIND_ORDERS`) is refused.

    Raises:
        InputError: no such column to sort by, or no such class or point; in a blind review, the model's
            opinion is asked for; a sample before one was drawn.
    """
    if blind:
        check_blind(query, items)
    kept = np.ones(len(items), dtype=bool)
    for column, names in (("label", query.label), ("suggested_label", query.suggested)):
        if names:
            kept &= np.isin(items.scores[column], _values(items, names))
    if query.split:
        if bad := set(query.split) - set(items.splits):
            raise InputError(f"split is {sorted(bad)[0]!r}; expected one of {', '.join(items.splits)}")
        kept &= np.isin(items.scores["split"].astype(str), query.split)
    if query.like:
        kept &= _like(query.like, items)
    if query.kind:
        kept &= np.isin(items.kinds, query.kind)
    if query.disagree:
        kept &= items.scores["label"] != items.scores["suggested_label"]
    if query.top:
        kept &= items.scores["rank"] <= query.top
    if query.lasso:
        places = items.cut(*query.cut).places if query.cut else items.places
        kept &= inside(places, np.array(query.lasso))
    if query.within:
        table = items.needed_table()
        kept &= table.inside([Range.parse(text.strip()) for text in query.within], table.inputs)
    if query.region:
        kept &= _in_region(query.region, items)
    if query.finding:
        kept &= np.isin(np.arange(len(items)), _records(query.finding, items))
    if query.text:
        kept &= items.matching(query.text)
    for column, compare, value in conditions(query.where, items):
        kept &= compare(items.scores[column], value)
    order = dealt(items, drawn)[: query.sample] if query.sample else _order(query, items)
    return order if kept.all() else order[kept[order]]


def conditions(text: str, items: Items) -> list[tuple[str, Callable[[Any, float], Any], float]]:
    """Column, comparison and value of each of ``text``, see :attr:`Query.where`.

    Raises:
        InputError: something else, or no such column.
    """
    found: list[tuple[str, Callable[[Any, float], Any], float]] = []
    for part in re.split(r",|\band\b", text) if text.strip() else ():
        parts = _CONDITION.fullmatch(part)
        try:
            column, sign, value = parts.groups() if parts else ("", "", "")
            found.append((column, _COMPARED[sign], float(value)))
        except (KeyError, ValueError):
            raise InputError(
                f"where is {text!r}; expected conditions such as p_wrong > 0.5, index < 100"
            ) from None
        if column not in sortable(items):
            raise InputError(f"where is {text!r}; expected columns of {', '.join(sortable(items))}")
    return found


def check_blind(query: Query, items: Items) -> None:
    """Raises:
    InputError: it asks for what the model holds of points.
    """
    asked = [name for name in OPINIONS if getattr(query, name)]
    asked += [name for name, *_ in conditions(query.where, items) if name not in BLIND_ORDERS]
    if query.sort.removeprefix("-") not in BLIND_ORDERS:
        asked.append(f"sort={query.sort}")
    if asked:
        raise InputError(
            f"a blind review does not show what the model holds of a point, and {asked[0]} would tell; start"
            " `swaypoint review` without --blind"
        )


def _like(names: tuple[str, ...], items: Items) -> np.ndarray:
    if not {"likely", "p_wrong"} <= items.scores.keys():
        raise InputError(
            "this audit does not say what its points look like: it is one of real values, or of an older"
            " version; make it again"
        )
    kept = [looks_like(items.scores, int(value)) for value in _values(items, names)]
    return np.asarray(np.any(kept, axis=0))


def _in_region(number: int, items: Items) -> np.ndarray:
    if number > len(items.regions):
        known = f"there are {len(items.regions)}" if items.regions else "run `swaypoint regions` first"
        raise InputError(f"there is no region {number}; {known}")
    kept = np.zeros(len(items), dtype=bool)
    kept[list(items.regions[number - 1].members)] = True
    return kept


def _records(name: str, items: Items) -> np.ndarray:
    finding = next((one for one in items.found.findings if one.name == name), None)
    if finding is None:
        raise InputError(f"there is no finding {name!r} in this audit; /findings lists those there are")
    return finding.index


def _values(items: Items, names: tuple[str, ...]) -> list[float]:
    index = {name: float(i) for i, name in enumerate(items.classes)}
    try:
        return [index[name] if items.classes else float(name) for name in names]
    except (KeyError, ValueError) as error:
        raise InputError(f"there is no class {error.args[0]!r}") from None


def _order(query: Query, items: Items) -> np.ndarray:
    if query.near:
        position = items.position(query.near)
        if position is None:
            raise InputError(f"there is no point {query.near!r} in this audit")
        distances = items.distances(position)
        distances[position] = -1.0
        return np.argsort(distances, kind="stable")
    if query.finding and query.sort == "finding":
        return _records(query.finding, items)
    column = query.sort.removeprefix("-")
    if column not in sortable(items):
        known = ", ".join(sortable(items))
        raise InputError(
            f"sort is {query.sort!r}; expected one of {known}, with - before it for the largest first"
        )
    return items.order(column, descending=query.sort.startswith("-"))


def sortable(items: Items) -> list[str]:
    """Columns that a view can be sorted by."""
    return [name for name, array in items.scores.items() if array.dtype.kind in "iuf"]


def by_verdicts(query: Query, items: Items, review: Review, actor: str, *, blind: bool) -> np.ndarray | None:
    """Which points ``query`` asks for by what was said of them, ``(n,)`` bool; None: whatever was.

    Args:
        actor: whose review: which verdicts are meant.
        blind: what others said counts for nothing; else a point that anyone reviewed is not open.

    Raises:
        InputError: conflicts are asked for in a blind review.
    """
    if not query.verdict and query.status == "all":
        return None
    if blind and query.status == "conflict":
        raise InputError("a blind review does not show conflicts; start `swaypoint review` without --blind")
    kept = np.zeros(len(items), dtype=bool)
    for item in review.reviewed():
        position = items.position(item)
        if position is None:
            continue
        own = review.by(actor, item)
        seen = own is not None or not blind
        if query.status == "open":
            kept[position] = seen  # turned around below
        else:
            wanted = review.conflict(item) if query.status == "conflict" else seen
            said = own if own is not None or blind else review.decision(item)
            right = not query.verdict or (said is not None and said.verdict in query.verdict)
            kept[position] = wanted and right
    return ~kept if query.status == "open" else kept


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Which of ``points`` (n, 2) lie in ``polygon`` (k, 2), by the even-odd rule.

    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> inside(np.array([[0.5, 0.5], [1.5, 0.5]]), square).tolist()
    [True, False]
    """
    within = np.zeros(len(points), dtype=bool)
    x, y = points[:, 0], points[:, 1]
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crosses = (y1 > y) != (y2 > y)
        with np.errstate(over="ignore", invalid="ignore"):  # beyond the range of float64 nothing is inside
            within ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return within
