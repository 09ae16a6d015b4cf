"""The command line of what an audit says: ``swaypoint show``, ``fitness``, ``report``, ``findings``, …"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from swaypoint.cli.commands import Family
from swaypoint.cli.terminal import Audit, Json, plain, save_report, screen
from swaypoint.errors import InputError, MissingExtra

family = Family()


@family.command()
def show(
    folder: Audit,
    top: Annotated[int, typer.Option(help="How many points.")] = 20,
    csv: Annotated[
        Path | None, typer.Option(help="Write all points here instead, the first first.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the top of a ranking: rank, file, label, suggested label, kind and scores.

    swaypoint show photos-audit --csv ranking.csv
    """
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.report import terminal

    if csv is not None:
        from pyarrow import csv as arrow

        from swaypoint.folder.writing import replace_file

        points = terminal.ranked(AuditFolder(folder))
        replace_file(csv, lambda path: arrow.write_csv(points, path))
    if as_json:
        typer.echo(json.dumps(terminal.described(AuditFolder(folder), top=top), indent=1))
    elif csv is None:
        terminal.show(AuditFolder(folder), top=top, console=screen())
    else:
        screen().print(f"written: {plain(str(csv))}", soft_wrap=True, highlight=False)


@family.command()
def fitness(folder: Audit, as_json: Json = False) -> None:
    """Is the audited model fit for influence? Every measure, its verdict, and the remedy.

    The theory needs a head at its optimum, an invertible Hessian, and a loss that still tells points
    apart; docs/fitness.md says which measure foretells a bad ranking.
    """
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.report.terminal import described_fitness, show_fitness

    if as_json:
        typer.echo(json.dumps(described_fitness(AuditFolder(folder)), indent=1))
    else:
        show_fitness(AuditFolder(folder), console=screen())


@family.command()
def report(
    folder: Audit,
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="AUDIT/report.html")] = None,
) -> None:
    """Write the report: one HTML file that needs nothing else."""
    save_report(folder, out, screen())


@family.command()
def findings(
    folder: Audit,
    as_json: Annotated[
        bool, typer.Option("--json", help="All of it as JSON, with the positions of the records.")
    ] = False,
) -> None:
    """What holds of the dataset as a whole: how severe, on how many records, and what to do.

    high: see to it before the next training; medium: worth a look at the records; low: to know.

    swaypoint findings table-audit --json
    """
    from swaypoint.findings import found as found_in
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.report.findings import cost, nothing

    found, console = found_in(AuditFolder(folder)), screen()
    for note in found.notes:
        screen(stderr=True).print(f"note: {plain(note)}", soft_wrap=True, highlight=False)
    if as_json:
        typer.echo(json.dumps([finding.described() for finding in found.findings], indent=1))
        return
    if not found.findings:
        console.print(plain(nothing(found)), soft_wrap=True, highlight=False)
    for finding in found.findings:
        count = len(finding.index)
        head = f"{finding.name}: {finding.severity}, {count:,} {'record' if count == 1 else 'records'}"
        console.print(plain(head), soft_wrap=True, highlight=False)
        for line in filter(None, (finding.sentence, cost(finding), finding.remedy)):
            console.print(plain(f"  {line}"), soft_wrap=True, highlight=False)


@family.command()
def regions(
    folder: Audit,
    top: Annotated[float, typer.Option(help="Share of the influence whose points are grouped.")] = 0.5,
    propose: Annotated[
        int, typer.Option(help="New inputs to propose for each region that needs data.", metavar="K")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="CSV of the proposals.", show_default="AUDIT/proposals.csv")
    ] = None,
    x: Annotated[str | None, typer.Option(help="With --y: draw a cut along two columns.")] = None,
    y: Annotated[str | None, typer.Option(help="Writes AUDIT/cut.svg.")] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(help="Only points of this range in the cut.", metavar="COLUMN:LOW:HIGH"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the proposals.")] = 0,
) -> None:
    """Where the model depends on few points: regions, examples of each, what to do there, and new inputs.

    regions.html has the records that lie in the middle of each region, and its most influential ones. Of
    pictures and texts regions lie in the features of the model; proposals and cuts are for tables.

    swaypoint regions photos-audit

    swaypoint regions table-audit --propose 10

    swaypoint regions table-audit --x alcohol --y proline --within ash:2:3
    """
    from swaypoint.findings.regions import Range, explore, write_proposals, write_regions
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.folder.writing import write_text
    from swaypoint.report import regions as pages

    if (x is None) != (y is None):
        raise InputError("a cut is along two columns; give both --x and --y")
    if x is None and within:
        raise InputError("--within is for a cut; give --x and --y as well")
    if propose < 0:
        raise InputError(f"propose is {propose}; expected a number of inputs, 0 or more")
    audit, console = AuditFolder(folder), screen()
    found, written = explore(audit, top=top), [folder / "regions.json"]
    if x is not None and y is not None:
        ranges = [Range.parse(text) for text in within or ()]
        picture = pages.cut(found.points, found.table, x, y, within=ranges, found=found.regions)
        write_text(folder / "cut.svg", pages.standalone(picture))
        written.append(folder / "cut.svg")
    if propose:
        path = folder / "proposals.csv" if out is None else out
        count = write_proposals(found, path, k=propose, seed=seed)
        console.print(f"{count:,} new inputs proposed", highlight=False)
        written.append(path)
    write_regions(audit, found)
    try:
        pages.write_page(audit, found, folder / "regions.html")
        written.append(folder / "regions.html")
    except MissingExtra as missing:
        console.print(f"no page: {plain(str(missing))}", soft_wrap=True, highlight=False)
    pages.show(found, console=console)
    for path in written:
        console.print(f"written: {plain(str(path))}", soft_wrap=True, highlight=False)
