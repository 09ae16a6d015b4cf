"""The command line of how far a review is: ``progress``, ``handover``, and ``simulate`` for studies of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from swaypoint.cli.commands import Family
from swaypoint.cli.review import stored_review
from swaypoint.cli.terminal import (
    Audit,
    Checks,
    Device,
    Json,
    Source,
    StoreAt,
    Threads,
    plain,
    progress,
    screen,
)
from swaypoint.errors import InputError

family = Family()


@family.command("progress")
def show_progress(
    folder: Audit,
    store: StoreAt = None,
    checks: Checks = None,
    as_json: Json = False,
) -> None:
    """How far a review is, how many points are wrong in all, judged or not, and whether one may stop.

    From the verdicts, and from a random sample once one was drawn on the page of the review; says how it is
    known, by split, and by class where the sample allows.

    swaypoint progress photos-audit

    swaypoint progress photos-audit --json > progress.json
    """
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.review.cleaning.checks import read_checks
    from swaypoint.review.items import Items
    from swaypoint.review.log.statement import described

    items = Items(AuditFolder(folder))
    known = None if checks is None else read_checks(items, checks)
    with stored_review(items, store, new=False) as (review, *_):
        found = described(items, review, known)
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    console = screen()
    lines = [f"{found['reviewed']:,} of {found['points']:,} points reviewed, {found['wrong']:,} wrong"]
    lines += [*found["explained"], found["advice"]]
    for line in lines:
        console.print(plain(line), soft_wrap=True, highlight=False)
    if parts := [found["whole"], *found["splits"], *found["classes"]][1:]:
        from rich.table import Table

        table = Table("", "points", "judged", "found wrong", "wrong in all")
        names = [
            *(one["part"].replace("_", " ") for one in found["splits"]),
            *(one["part"] for one in found["classes"]),
        ]
        for name, part in zip(names, parts, strict=True):
            low, high = part["low"], part["high"]
            span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
            numbers = (f"{part[of]:,}" for of in ("points", "judged", "wrong"))
            table.add_row(plain(name), *numbers, span)
        console.print(table)
    _print_reviewers(found["checked"], "known labels")
    _print_reviewers(found["overlaps"], "what most others say")


def _print_reviewers(reviewers: list[dict[str, Any]], against: str) -> None:
    if not reviewers:
        return
    from rich.table import Table

    table = Table("reviewer", "right, taken for wrong", "wrong, taken for right", title=f"By {against}")
    for one in reviewers:
        cells = []
        for errors, of, rate in (("alarms", "right", "alarm_rate"), ("misses", "wrong", "miss_rate")):
            about = f", about {100 * one[rate]:.2g} %" if rate in one else ""
            cells.append(f"{one[errors]:,} of {one[of]:,}{about}")
        table.add_row(plain(one["reviewer"]), *cells)
    screen().print(table)


@family.command()
def handover(
    folder: Audit,
    store: StoreAt = None,
    checks: Checks = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; one that ends in .pdf takes a Chromium.",
            metavar="FILE",
            show_default="AUDIT/handover.html",
        ),
    ] = None,
    reviewers: Annotated[
        bool, typer.Option("--reviewers", help="With the reviewers' names, else they are numbered.")
    ] = False,
) -> None:
    """Write the page that an auditor is given: what was audited, looked at and found, and how to check it.

    Data, model and their hashes, fitness, verdicts by class, agreement, how many are wrong with its interval
    and what that does not say, findings, and the digest of the log. A log that does not verify is refused.

    swaypoint handover photos-audit

    swaypoint handover photos-audit --out photos.pdf
    """
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.review.cleaning.checks import read_checks
    from swaypoint.review.cleaning.handover import check_out, log_end, render, write
    from swaypoint.review.items import Items

    path = folder / "handover.html" if out is None else out
    check_out(path)
    items = Items(AuditFolder(folder))
    known = None if checks is None else read_checks(items, checks)
    with stored_review(items, store, new=False) as (review, log, _):
        end = log_end(review, log)
        page = render(items, review, end, checks=known, reviewers=reviewers)
    write(path, page)
    console = screen()
    if end is None:
        console.print("nobody has judged a point of this audit, and the page says so", soft_wrap=True)
    else:
        told = f"{end.events:,} events, as they were written; digest {end.anchor.digest}"
        console.print(told, soft_wrap=True, highlight=False)
    console.print(f"page: {plain(str(path))}", soft_wrap=True, highlight=False)


@family.command()
def simulate(  # long: an option a parameter
    folder: Audit,
    inspect: Annotated[
        float, typer.Option(help="Share of the ranking that the reviewer works through.")
    ] = 0.05,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="CSV or parquet with the columns index and label: what is right.",
            show_default="the labels before the audit planted wrong ones",
        ),
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(help="Also train after these shares: 0,0.01,0.05 (writes AUDIT/cost.html)."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Models to train at each share of the curve.")] = 3,
    sample: Annotated[
        int, typer.Option(help="Then draw the random sample, and judge so many of it.", min=0)
    ] = 0,
    misses: Annotated[
        float, typer.Option(help="Share of the wrong labels that the reviewer takes for right.")
    ] = 0.0,
    false_alarms: Annotated[
        float, typer.Option(help="Share of the right labels that the reviewer takes for wrong.")
    ] = 0.0,
    reviewers: Annotated[
        int, typer.Option(help="So many of them, each of whom judges all these points.", min=1)
    ] = 1,
    store: StoreAt = None,
    source: Source = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """For studies: a reviewer who knows the truth works down the ranking; what does it find, and cost?

    With --sample it then judges random points of the rest, so that `swaypoint progress` says how many are
    wrong in all; with --misses and --false-alarms it errs, and several --reviewers do each by themselves.

    swaypoint audit sklearn:digits --flip 0.02 --out digits

    swaypoint simulate digits --inspect 0.05

    swaypoint compare digits
    """
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.review.cleaning.checks import differs
    from swaypoint.review.cleaning.records import label_name
    from swaypoint.review.cleaning.simulated import ACTOR, Erring, judged, read_truth, replay
    from swaypoint.review.cleaning.source import read_source
    from swaypoint.review.items import Items
    from swaypoint.review.log.dealing import dealt, draw
    from swaypoint.review.log.verdicts import Review

    if not 0.0 <= inspect <= 1.0:
        raise InputError(f"inspect is {inspect}; expected a share, 0 <= share <= 1")
    items, console = Items(AuditFolder(folder)), screen()
    found = read_source(items, source) if truth is None or curve is not None else None
    if truth is not None:
        right = read_truth(items, truth)
    else:
        assert found is not None
        if not found.planted:
            raise InputError(f"{folder} has no planted labels; give the true ones with --truth")
        right = [label_name(items, label) for label in found.given[found.ranked]]
    erring, count = Erring(misses, false_alarms), round(inspect * len(items))
    actors = [ACTOR, *(f"{ACTOR} {number}" for number in range(2, reviewers + 1))]
    events = [event for who in actors for event in replay(items, right, count, actor=who, erring=erring)]
    with stored_review(items, store, new=True) as (_, log, _):
        assert log is not None
        log.append(events)
        if sample:
            log.append([draw(items, ACTOR, f"{ACTOR}:{items.run}"[:200])])
            order = dealt(items, Review(items.run, log.since(items.run)))[:sample]
            for who in actors:
                log.append(judged(items, right, order, actor=who, erring=erring, way="sample"))
    wrong = {items.ids[p] for p, label in enumerate(right) if differs(items, p, label)}
    said = {e.item for e in events if e.decision is not None and e.decision.verdict == "mislabeled"}
    every = len(wrong)
    console.print(
        f"{count:,} of {len(items):,} points inspected: {len(said & wrong)} of {every} wrong labels"
        f" found" + (f", and {len(said - wrong)} right ones taken for wrong" if false_alarms else ""),
        soft_wrap=True,
    )
    if curve is None or found is None:
        return
    from swaypoint.data.hardware import using_threads
    from swaypoint.folder.writing import write_json, write_text
    from swaypoint.review.cleaning import compare as comparing
    from swaypoint.review.cleaning import comparison as pages

    counts = [round(share * len(items)) for share in _shares(curve)]
    with progress() as listener, using_threads(threads):
        trial = comparing.trial(items, found, device=device, listener=listener)
        costs = comparing.cost_curve(trial, items, replay(items, right, len(items)), counts, seeds=seeds)
    write_json(folder / "cost.json", [asdict(cost) for cost in costs])
    write_text(folder / "cost.html", pages.render_cost(costs, len(items), every, items.name))
    console.print(f"page: {plain(str(folder / 'cost.html'))}", soft_wrap=True, highlight=False)


def _shares(text: str) -> list[float]:
    try:
        shares = sorted({float(part) for part in text.split(",")})
    except ValueError:
        shares = [-1.0]
    if not all(0.0 <= share <= 1.0 for share in shares):
        raise InputError(
            f"curve is {text!r}; expected shares between 0 and 1 with commas, such as 0,0.01,0.05"
        )
    return shares
