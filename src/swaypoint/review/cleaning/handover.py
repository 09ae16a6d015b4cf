"""The hand-over of a reviewed audit to somebody who answers for the data: one page that needs nothing else.

Every number on it follows from the audit folder and the log; so it can be made again, and checked.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from swaypoint import __version__
from swaypoint.errors import InputError
from swaypoint.findings import found as found_in
from swaypoint.folder.writing import write_text
from swaypoint.report.page import render_page
from swaypoint.report.terminal import FITNESS, in_words, ranked_by, split_name
from swaypoint.review.cleaning.printed import chromium, write_pdf
from swaypoint.review.cleaning.simulated import ACTOR
from swaypoint.review.items import Items
from swaypoint.review.log.agreement import Kappa, cohen, fleiss
from swaypoint.review.log.counting import CONFIDENCE
from swaypoint.review.log.progress import confusion
from swaypoint.review.log.served import BLIND, OPEN, Servings
from swaypoint.review.log.statement import described
from swaypoint.review.log.verdicts import VERDICTS, WRONG, Anchor, Review, Store

_HERE = Path(__file__).parent
CLASSES = 100
"""Classes with a line of their own, those with most judged points; the others are summed up."""
_CHANGES, _PAIRS = 30, 40
WAYS = {
    "queue": "one after the other, down the ranking",
    "sample": "as the random sample",
    "gallery": "picked from many, in the gallery",
    "bulk": "many at once",
    "link": "by a link to the point",
    "": "not known (a log of an older version, or verdicts made elsewhere)",
}
"""In words, the ways of :data:`~swaypoint.review.log.verdicts.WAYS` by which a point is dealt."""
SHOWN = {
    BLIND: "in a blind review, without what the model holds of the point and what others said",
    OPEN: "with what the model holds of the point in sight",
    "": "not on the review's page, or where the log does not say how it was served",
}
"""In words, how much reviewers saw, in the order in which it is told."""
CONFLICT = "in conflict"


@dataclass(frozen=True)
class WayRow:
    """Points by the way of the first verdict on each: ``points`` with a verdict that stands, by what counts
    of them ``wrong``, and ``undecided``: skipped or in conflict."""

    way: str
    points: int
    wrong: int
    undecided: int


@dataclass(frozen=True)
class ClassRow:
    """Points with one given label: all, judged, and by what counts of these, conflicts apart."""

    name: str
    points: int
    judged: int
    verdicts: dict[str, int]


@dataclass(frozen=True)
class ReviewerRow:
    """Points with a verdict of one reviewer that stands, of these wrong and skipped; when they began and
    ended, and how many verdicts they gave, those taken back or changed included."""

    name: str
    points: int
    wrong: int
    skipped: int
    given: int
    first: str
    last: str


@dataclass(frozen=True)
class AgreementRow:
    """Of two reviewers, or of all, on ``items`` points; ``kappa`` is None where it is not defined."""

    who: str
    items: int
    observed: float
    kappa: float | None


@dataclass(frozen=True)
class LogEnd:
    """The events of an audit in its log, from the first to the last, which is number ``anchor.seq`` there.

    Attributes:
        shown: verdicts by whether their reviewers saw the model's opinion, see
            :meth:`~swaypoint.review.log.served.Servings.shown`.
    """

    events: int
    first: str
    last: str
    anchor: Anchor
    shown: dict[str, int]


def log_end(review: Review, log: Store | None) -> LogEnd | None:
    """Where the log of ``review`` ends, verified up to there; None without an event.

    Raises:
        InputError: an event is not as it was written, see :meth:`Store.verify`.
        StoreUnavailable: the database cannot be reached.
    """
    if log is None or not review.events:
        return None
    first, last = review.events[0], review.events[-1]
    anchor = Anchor(last.seq, last.digest)
    log.verify([anchor])  # that what was read is what the chain holds
    played = {event.actor for event in review.events if _played(event.actor)}
    shown = Servings(log, review.run).shown(review.events, played=played)
    return LogEnd(len(review.events), first.at, last.at, anchor, shown)


def way_rows(items: Items, review: Review) -> list[WayRow]:
    """By way, in the order of :data:`WAYS`; only those that came up."""
    first: dict[str, str] = {}
    for event in review.events:
        if event.decision is not None:
            first.setdefault(event.item, event.way)
    found: dict[str, list[int]] = {}
    for item in review.reviewed():
        if items.position(item) is None:
            continue
        decision, counts = review.decision(item), found.setdefault(first[item], [0, 0, 0])
        counts[0] += 1
        counts[1] += decision is not None and decision.verdict in WRONG
        counts[2] += decision is None or not decision.final
    ways = [*(way for way in WAYS if way in found), *(way for way in found if way not in WAYS)]
    return [WayRow(WAYS.get(way, way), *found[way]) for way in ways]


def class_rows(items: Items, review: Review) -> list[ClassRow]:
    """By given label, all classes in their order, or the :data:`CLASSES` that most was judged of and the sum
    of the others; values, which have no classes, are one row."""
    names = items.classes or ("all values",)
    labels = items.scores["label"].astype(int).tolist() if items.classes else [0] * len(items)
    points, said = Counter(labels), [Counter[str]() for _ in names]
    for item in review.reviewed():
        position = items.position(item)
        if position is not None:
            decision = review.decision(item)
            said[labels[position]][CONFLICT if decision is None else decision.verdict] += 1

    def row(name: str, of: Sequence[int]) -> ClassRow:
        counts = {column: sum(said[c][column] for c in of) for column in (*VERDICTS, CONFLICT)}
        return ClassRow(name, sum(points[c] for c in of), sum(counts.values()), counts)

    every = range(len(names))
    if len(names) <= CLASSES:
        return [row(names[c], [c]) for c in every]
    most = sorted(every, key=lambda c: -said[c].total())
    shown, others = sorted(most[:CLASSES]), most[CLASSES:]
    return [*(row(names[c], [c]) for c in shown), row(f"the other {len(others):,} classes", others)]


def changes(items: Items, review: Review) -> list[tuple[str, str, int]]:
    """Given label, right label and points, of those found mislabeled, the most frequent first."""
    table = confusion(items, review)
    found = [
        (items.classes[given], items.classes[right], int(table.counts[given, right]))
        for given, right in zip(*table.counts.nonzero(), strict=True)
        if given != right
    ]
    found += [(items.classes[c], "not known", int(table.unknown[c])) for c in table.unknown.nonzero()[0]]
    return sorted(found, key=lambda change: (-change[2], change[:2]))


def called(review: Review, *, names: bool) -> dict[str, str]:
    """By reviewer, how the page calls them: a number in the order in which they began, or their own name. One
    that ``swaypoint simulate`` played is called so."""
    actors = dict.fromkeys(event.actor for event in review.events)
    numbered = {actor: f"reviewer {number}" for number, actor in enumerate(actors, start=1)}
    found = dict(zip(actors, actors, strict=True)) if names else numbered
    played = {who: _played(who) for who in actors}
    return found | {who: f"a simulated reviewer{of[1] or ''}, no person" for who, of in played.items() if of}


def _played(actor: str) -> re.Match[str] | None:
    """By ``swaypoint simulate``, with its number, if it has one."""
    return re.fullmatch(rf"{ACTOR}( [0-9]+)?", actor)


def reviewer_rows(items: Items, review: Review, names: Mapping[str, str]) -> list[ReviewerRow]:
    """Of everyone who gave a verdict, in the order in which they began."""
    rows = []
    for actor, name in names.items():
        given = [e for e in review.events if e.actor == actor and e.decision is not None]
        standing = {e.item: review.by(actor, e.item) for e in given if items.position(e.item) is not None}
        stands = [decision.verdict for decision in standing.values() if decision is not None]
        if given:
            wrong = sum(verdict in WRONG for verdict in stands)
            skipped = stands.count("skip")
            rows.append(ReviewerRow(name, len(stands), wrong, skipped, len(given), given[0].at, given[-1].at))
    return rows


def agreement_rows(review: Review, names: Mapping[str, str]) -> list[AgreementRow]:
    """Of all together, then of pairs, those with most points in common first."""

    def row(who: str, kappa: Kappa) -> AgreementRow:
        value = kappa.value
        return AgreementRow(who, kappa.items, kappa.observed, None if value != value else value)

    pairs = [
        row(f"{names[one]} and {names[other]}", cohen(review, one, other))
        for one, other in combinations(sorted(review.actors, key=list(names).index), 2)
    ]
    pairs = sorted((pair for pair in pairs if pair.items), key=lambda pair: -pair.items)[:_PAIRS]
    return [row("all", fleiss(review)), *pairs] if len(pairs) > 1 else pairs


def does_not_say(items: Items, found: Mapping[str, Any]) -> list[str]:
    """What must not be read from the count of wrong points."""
    data, share = items.manifest.data, f"{100 * CONFIDENCE:.0f} %"
    said = [
        f"It is about the {len(items):,} points of this audit as its fingerprint fixes them, and says nothing"
        " of data that came later or is used elsewhere.",
        "“Wrong” is what reviewers called mislabeled or bad. Boundary and under-represented count as right.",
        "It does not say that the reviewers knew the truth: where an expert cannot tell, or all err alike,"
        " neither can the count.",
        f"The {share} are of all reviews that are led like this one; each line of the table holds by itself,"
        " and of twenty lines one may fail.",
        "It counts labels. It does not say how good a model trained on this data is, whom it serves badly, or"
        " whether data is missing.",
        "That the ranking finds no more does not mean that the rest is right; only the random sample tells.",
    ]
    out = len(data.skipped) + data.left_out
    if out:
        said.insert(1, f"{out:,} records could not be read and are not among these points.")
    if data.of is not None:
        said.insert(1, f"The source has {data.of:,} records; the others were not audited.")
    if found["corrected"] is None:
        said.append(
            "No reviewer was tested on points whose label is known, so the count takes verdicts for right."
        )
    elif found["overlaps"]:
        said.append(
            "Points that several decided show only errors that each makes by themselves. What all take for"
            " right, as it is hard or one saw what another said, shows only where the label is known."
        )
    if found["draw"] is None and found["whole"]["unseen"]:
        said.append("No random sample was drawn: of what nobody has judged, any number may be wrong.")
    if items.manifest.flipped is not None:
        said.append(
            "Errors were planted in this audit on purpose, and are counted: it is a test of the ranking."
        )
    return said


def render(
    items: Items,
    review: Review,
    end: LogEnd | None,
    *,
    checks: Mapping[str, bool] | None = None,
    reviewers: bool = False,
) -> str:
    """The page as one string.

    Args:
        end: see :func:`log_end`.
        checks: by id of each point whose label is known, whether its given label is wrong.
        reviewers: with their names, else they are numbered. Notes are never on it.

    Raises:
        InputError: the audit is damaged, or its ranking is not the one that the sample was drawn from.
        MissingExtra: jinja2 is not installed.
    """
    found, names = described(items, review, checks), called(review, names=reviewers)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    everything = found_in(items.folder)
    changed = changes(items, review)
    return render_page(
        "handover",
        templates=_HERE,
        title=items.name,
        made=made,
        version=__version__,
        manifest=items.manifest,
        points=len(items),
        splits=[(split_name(name), count) for name, count in items.manifest.data.ranked.items()],
        accuracy=[(split_name(n), share) for n, share in items.manifest.model.accuracy.by_split().items()],
        in_words=in_words(items.manifest.data),
        hashes=hashes(items.folder.path),
        fitness=FITNESS[items.manifest.diagnostics.verdict],
        words=FITNESS,
        ranked_by=ranked_by(items.manifest),
        found=found,
        ways=[asdict(row) for row in way_rows(items, review)],
        columns=(*VERDICTS, CONFLICT),
        classes=[asdict(row) for row in class_rows(items, review)],
        changes=changed[:_CHANGES],
        more_changes=sum(count for *_, count in changed[_CHANGES:]),
        elsewhere=sum(items.position(item) is None for item in review.reviewed()),
        reviewers=reviewer_rows(items, review, names),
        agreement=agreement_rows(review, names),
        checked=_called(found["checked"], names),
        overlaps=_called(found["overlaps"], names),
        does_not_say=does_not_say(items, found),
        findings=everything.findings,
        folder=str(items.folder.path),  # remedies name it, and where it lies is nobody else's business
        notes=everything.notes,
        end=end,
        shown=[] if end is None else [(end.shown[how], SHOWN[how]) for how in SHOWN if end.shown[how]],
        anchor="" if end is None else f"{end.anchor.seq} {end.anchor.digest} {made}",
    )


def _called(rows: Sequence[dict[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """``rows`` of reviewers by how the page calls them; in their order, for one by name would tell of it."""
    by_name = {row["reviewer"]: row for row in rows}
    return [by_name[actor] | {"reviewer": name} for actor, name in names.items() if actor in by_name]


def hashes(path: Path) -> list[tuple[str, str]]:
    """SHA-256 of the files that say what was audited and in which order."""
    found = []
    for name in ("manifest.json", "scores.parquet"):
        with (path / name).open("rb") as file:
            found.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
    return found


def check_out(out: Path) -> None:
    """That a page can be written there, before it is made.

    Raises:
        InputError: another ending than .html or .pdf, no such folder, or no program that makes a PDF.
    """
    if out.suffix.lower() not in (".html", ".pdf"):
        raise InputError(f"{out}: a hand-over is a page; give it a name that ends in .html or .pdf")
    if not out.parent.is_dir() or out.is_dir():
        raise InputError(f"{out} cannot be written: give the name of a file in a folder that is there")
    if out.suffix.lower() == ".pdf":
        chromium()


def write(out: Path, page: str) -> None:
    """``page`` as HTML, or as PDF where ``out`` ends in .pdf: whole or not at all.

    Raises:
        InputError: as :func:`check_out`; Chromium does not print, or the disk is full.
    """
    check_out(out)
    (write_pdf if out.suffix.lower() == ".pdf" else write_text)(out, page)
