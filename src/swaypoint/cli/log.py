"""The command line of a review's log: ``swaypoint verify`` and ``sessions``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swaypoint.cli.commands import Family
from swaypoint.cli.terminal import Audit, StoreAt, log_place, plain, screen
from swaypoint.errors import InputError

family = Family()


@family.command()
def verify(
    folder: Audit,
    store: StoreAt = None,
    anchor: Annotated[
        Path | None,
        typer.Option(
            help="A file, kept elsewhere, of where the log ended before: checked, and a line added.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Check that no verdict of a review was changed since it was given: the exit code is 1 if one was.

    Prints the number of events and the digest of all of them; whoever has it can tell later whether the log
    was cut off or written anew. Review, export and compare check the log themselves. How far it was is also
    kept with the key that seals it, in your own folder of settings (SWAYPOINT_KEYS).

    swaypoint verify photos-audit --anchor ../anchors/photos.txt
    """
    from swaypoint.review.log.anchors import check_log, read_anchors, write_anchors
    from swaypoint.review.log.store import open_store

    place = _place(folder, store)
    known = read_anchors(anchor) if anchor is not None and anchor.exists() else []
    log = open_store(place)
    try:
        last = check_log(log, known)
    finally:
        log.close()
    if anchor is not None:
        write_anchors(anchor, known, last)
    screen().print(
        f"{last.seq:,} events, as they were written; digest {last.digest or 'of none'}", soft_wrap=True
    )


@family.command()
def sessions(
    folder: Audit,
    store: StoreAt = None,
    revoke: Annotated[
        str | None,
        typer.Option(help="End this session, or all of this reviewer's.", metavar="ID|NAME"),
    ] = None,
) -> None:
    """Who came in to a review, by whose invitation, and when that ended; a running server follows.

    swaypoint sessions photos-audit

    swaypoint sessions photos-audit --revoke Bob
    """
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.review.log.sessions import REVOKED, Sessions
    from swaypoint.review.log.store import open_store

    log = open_store(_place(folder, store))
    try:
        known = Sessions(log, AuditFolder(folder).manifest().key)
        if revoke is not None:
            meant = [one for one in known.all() if not one.ended and revoke in (one.id, one.reviewer)]
            if not meant:
                raise InputError(f"there is no open session of {revoke!r}; swaypoint sessions lists them")
            for one in meant:
                known.end(one, REVOKED)
        console = screen()
        for one in known.all():
            invited = "owner" if one.owner else f"invited by {one.by}" if one.by else "by password or address"
            ended = f"{one.end} {one.ended}" if one.ended else "open"
            line = f"{one.id} {one.reviewer} ({invited}) since {one.opened}, {ended}"
            console.print(plain(line), soft_wrap=True, highlight=False)
    finally:
        log.close()


def _place(folder: Path, store: str | None) -> str | Path:
    """Where the log of a review is.

    Raises:
        InputError: there is none yet.
    """
    place = log_place(folder, store)
    if isinstance(place, Path) and not place.exists():
        raise InputError(f"{place} is not there: nobody has reviewed {folder} yet")
    return place
