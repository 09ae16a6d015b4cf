"""The command line of the human step: ``swaypoint review``, ``export``, ``import``, ``compare``, …"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swaypoint.cli.commands import Family
from swaypoint.cli.terminal import (
    RUN,
    SERVER,
    Audit,
    Checks,
    Device,
    Source,
    StoreAt,
    Threads,
    fail,
    log_place,
    plain,
    progress,
    screen,
)
from swaypoint.errors import InputError, reading

if TYPE_CHECKING:
    from swaypoint.review.items import Items
    from swaypoint.review.log.stored import Stored

family = Family()
Act = Annotated[
    list[str] | None,
    typer.Option(
        "--act",
        help="Follow the remedy of this finding (see swaypoint findings): of copies all but one leave. May be"
        " given again.",
        show_default="none",
    ),
]
Unverified = Annotated[
    bool,
    typer.Option("--unverified", help="Go on with a log that does not verify; what is written says so."),
]


@family.command()
def review(  # long: an option a parameter
    folder: Audit,
    store: StoreAt = None,
    reviewer: Annotated[
        str, typer.Option(help="Your name.", show_default="the page asks", rich_help_panel=RUN)
    ] = "",
    blind: Annotated[
        bool,
        typer.Option(
            "--blind",
            help="Hide what others said, and what the model holds of any point.",
            rich_help_panel=RUN,
        ),
    ] = False,
    checks: Checks = None,
    guidelines: Annotated[
        Path | None,
        typer.Option(
            help="What you ask of reviewers, in Markdown.",
            show_default="guidelines.md in the audit, where it is there",
            rich_help_panel=RUN,
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page.", rich_help_panel=RUN)
    ] = True,
    port: Annotated[
        int,
        typer.Option(
            help="0: a free one, the same each time if it can be.", min=0, max=65535, rich_help_panel=SERVER
        ),
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            help="Where to listen; beyond this machine it takes a password.", rich_help_panel=SERVER
        ),
    ] = "127.0.0.1",
    password_file: Annotated[
        Path | None,
        typer.Option(
            help="Its first line is the password.",
            show_default="SWAYPOINT_PASSWORD, or a question",
            rich_help_panel=SERVER,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name by which the server is reached.", rich_help_panel=SERVER),
    ] = None,
    tls_proxy: Annotated[
        bool, typer.Option("--tls-proxy", help="A proxy in front speaks TLS.", rich_help_panel=SERVER)
    ] = False,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address of a proxy that is believed about who its client is: logins are limited by client.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    session_hours: Annotated[
        float, typer.Option(help="After so long a reviewer needs a new invitation.", rich_help_panel=SERVER)
    ] = 720.0,
) -> None:
    """Open the page on which a person works through the ranking: verdicts by one key, each saved at once.

    swaypoint review photos-audit

    swaypoint review photos-audit --store postgresql://me@db/reviews --blind
    """
    # One point's products are small: several threads wait for each other three times as long as one takes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.review.cleaning.checks import read_checks
    from swaypoint.review.items import Items
    from swaypoint.review.log.anchors import check_log
    from swaypoint.review.log.store import open_store
    from swaypoint.review.log.verdicts import StoreUnavailable
    from swaypoint.review.page.guidelines import FILE, rendered
    from swaypoint.review.page.serve import Serving, serve

    items = Items(AuditFolder(folder))
    password = _password(password_file, ask=host not in ("127.0.0.1", "localhost", "::1"))
    known = None if checks is None else read_checks(items, checks)
    if guidelines is None and (folder / FILE).is_file():
        guidelines = folder / FILE
    guide = "" if guidelines is None else rendered(guidelines)
    names, proxies = tuple(allow_host or ()), tuple(trusted_proxy or ())
    serving = Serving(
        host, port, reviewer, password, names, tls_proxy, blind, session_hours, proxies, known, guide
    )
    log = open_store(log_place(folder, store))
    console = screen()

    def tell(text: str) -> None:
        console.print(plain(text), soft_wrap=True, highlight=False)

    def closed() -> None:
        try:
            last = check_log(log)
            tell(f"closed: {last.seq:,} events; digest {last.digest or 'of none'}")
        except (InputError, StoreUnavailable) as error:
            tell(f"error: {error}")

    try:
        check_log(log)
        serve(items, log, serving, tell=tell, browser=browser, at_end=closed)
    finally:
        log.close()


def _password(file: Path | None, *, ask: bool) -> str | None:
    if file is not None:
        with reading(file, "a password in UTF-8", "write it into a file of text"):
            return file.read_text(encoding="utf-8").partition("\n")[0].strip()
    if (given := os.environ.get("SWAYPOINT_PASSWORD")) is not None:
        return given
    if not ask:
        return None
    return str(typer.prompt("Password for reviewers", hide_input=True, confirmation_prompt=True))


@family.command()
def export(  # long: an option a parameter
    folder: Audit,
    to: Annotated[
        str,
        typer.Option(
            help="parquet, csv, json, hf, imagefolder, textfolder, labelstudio, fiftyone or cleanlab; an"
            " unknown name lists all."
        ),
    ],
    out: Annotated[Path, typer.Option(help="File or folder to write; it must not be there yet.")],
    policy: Annotated[
        str,
        typer.Option(
            help="drop what is mislabeled or bad; relabel what has a known right label and drop the rest of"
            " it; flag: change nothing."
        ),
    ] = "flag",
    act: Act = None,
    store: StoreAt = None,
    split: Annotated[
        str, typer.Option(help="all, or one split: train, held_out, or one of the source's own.")
    ] = "all",
    columns: Annotated[
        bool, typer.Option(help="Add ranking and verdicts to the source's own columns.")
    ] = True,
    reviewers: Annotated[
        bool,
        typer.Option("--reviewers", help="With reviewers' names, notes and comments, else left out."),
    ] = False,
    link: Annotated[
        bool, typer.Option("--link", help="imagefolder: link the files instead of copying them.")
    ] = False,
    push: Annotated[
        str | None,
        typer.Option(
            help="hf: push it to the Hugging Face hub too, with a card; private.",
            metavar="OWNER/NAME",
            show_default="stays on this machine",
        ),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Everybody may see what is pushed.")] = False,
    unverified: Unverified = False,
    source: Source = None,
) -> None:
    """Write the audited dataset with the verdicts applied; the source stays as it is.

      swaypoint export photos-audit --to imagefolder --policy relabel --out photos-clean

      swaypoint export table-audit --to csv --out reviewed.csv

      swaypoint export photos-audit --to hf --out photos-clean --push me/photos-clean

    What each format and column holds: docs/interoperability.md
    """
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.review.cleaning.export import ExportOptions
    from swaypoint.review.cleaning.export import export as write
    from swaypoint.review.cleaning.pushed import FORMAT, card, check_destination
    from swaypoint.review.cleaning.pushed import push as upload
    from swaypoint.review.items import Items
    from swaypoint.review.log.threads import Threads

    items = Items(AuditFolder(folder))
    if push is not None and to != FORMAT:
        raise InputError(f"--push is for --to {FORMAT}; --to is {to}")
    if push is None and public:
        raise InputError("--public says who may see what is pushed; say where with --push OWNER/NAME")
    if push is not None:
        check_destination(push, public=public)
    with (
        stored_review(items, store, new=False, unverified=unverified) as (review, log, doubt),
        progress() as listener,
    ):
        said = Threads(log, items.run).in_words() if reviewers and log is not None else {}
        chosen = (policy, split, columns, link, source, reviewers, doubt, tuple(act or ()), said)
        options = ExportOptions(*chosen)  # type: ignore[arg-type]  # the policy is checked there
        written = write(items, review, out, to, options=options, on_progress=listener.records)
    console = screen()
    for note in written.notes:
        console.print(f"note: {plain(note)}", soft_wrap=True, highlight=False)
    counts = f"{written.records:,} records, {written.relabeled:,} relabeled, {written.dropped:,} left out"
    console.print(f"{plain(str(written.path))}: {counts}", soft_wrap=True, highlight=False)
    console.print(f"changes: {plain(str(written.changes))}", soft_wrap=True, highlight=False)
    if push is not None:
        address = upload(written, push, card(items, review, written, options), public=public)
        seen = "everybody" if public else "you and whom you let in"
        console.print(f"pushed: {plain(address)}, seen by {seen}", soft_wrap=True, highlight=False)


@family.command("import")
def import_verdicts(
    folder: Audit,
    file: Annotated[Path, typer.Argument(help="The file to read.", metavar="FILE")],
    kind: Annotated[
        str,
        typer.Option(
            "--from", help="csv, labelstudio or fiftyone: verdicts; cleanlab: a further ranking, as a column."
        ),
    ],
    reviewer: Annotated[
        str | None, typer.Option(help="Whose verdicts they are.", show_default="as the file says")
    ] = None,
    store: StoreAt = None,
) -> None:
    """Add verdicts made elsewhere to a review, all or none; importing a file again adds nothing.

    swaypoint import photos-audit project-1.json --from labelstudio

    swaypoint import photos-audit issues.csv --from cleanlab
    """
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.review.cleaning.cleanlab import add_ranking
    from swaypoint.review.cleaning.imported import read_verdicts
    from swaypoint.review.items import Items

    console = screen()
    if kind == "cleanlab":
        if reviewer is not None or store is not None:
            raise InputError("--reviewer and --store are for verdicts; cleanlab's scores become a column")
        count = add_ranking(AuditFolder(folder), file)
        console.print(f"{count:,} scores added as the column cleanlab, large = look first", highlight=False)
        return
    items = Items(AuditFolder(folder))
    with stored_review(items, store, new=True) as (review, log, _):
        found = read_verdicts(file, kind, items, review, reviewer)
        if log is not None and found.events:
            log.append(found.events)
    console.print(f"{len(found.events):,} verdicts added, {found.known:,} there already", highlight=False)


@family.command()
def compare(
    folder: Audit,
    policy: Annotated[str, typer.Option(help="relabel or drop what was found wrong.")] = "relabel",
    act: Act = None,
    seeds: Annotated[int, typer.Option(help="Models to train on each set.")] = 5,
    test: Annotated[
        str | None,
        typer.Option(
            help="Another dataset to measure on.", show_default="the points that the model was not trained on"
        ),
    ] = None,
    transform: Annotated[
        str | None,
        typer.Option(help="As the audit had it: your code, which the folder alone does not get run."),
    ] = None,
    store: StoreAt = None,
    unverified: Unverified = False,
    source: Source = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Retrain on the training set as given and as cleaned, and measure both on points that neither holds.

    These count as they were given; where the cleaning altered some of them, both are measured by the cleaned
    labels too. Prints accuracy, overall and by class, with intervals and a paired test, and writes
    AUDIT/compare.html. Interrupted, the same command goes on with the models that are trained already.
    """
    from swaypoint.data.hardware import using_threads
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.review.cleaning import comparison as pages
    from swaypoint.review.cleaning.retrained import RetrainOptions, retrain
    from swaypoint.review.items import Items

    items, console = Items(AuditFolder(folder)), screen()
    chosen = (policy, tuple(act or ()), seeds, test, transform, source, device)
    options = RetrainOptions(*chosen)  # type: ignore[arg-type]  # the policy is checked there
    with (
        stored_review(items, store, new=False, unverified=unverified) as stored,
        progress() as listener,
        using_threads(threads),
    ):
        result = retrain(items, stored, options, listener)
    pages.show(result, console, doubt=stored.doubt)
    console.print(f"page: {plain(str(folder / 'compare.html'))}", soft_wrap=True, highlight=False)


@contextmanager
def stored_review(
    items: Items, store: str | None, *, new: bool, unverified: bool = False
) -> Iterator[Stored]:
    """The review of an audit and its log; without one that is there, none is made unless it is ``new``. One
    that does not verify is refused, unless ``unverified`` says to go on."""
    from swaypoint.review.log import stored
    from swaypoint.review.log.verdicts import StoreUnavailable

    place = log_place(items.folder.path, store)
    try:
        with stored.stored_review(items, place, new=new, unverified=unverified) as found:
            yield found
    except StoreUnavailable as error:
        fail(str(error), 1)
