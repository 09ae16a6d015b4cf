"""The log of verdicts in a database: SQLite for one machine, PostgreSQL for a team."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swaypoint.errors import InputError, require, shortened
from swaypoint.review.log.databases import PATIENCE, Database, database
from swaypoint.review.log.keys import Keys, user_keys
from swaypoint.review.log.migrations import VERSION_TABLE, upgrade
from swaypoint.review.log.verdicts import Anchor, Decision, Event, Store, StoreUnavailable, check_event

if TYPE_CHECKING:
    import sqlalchemy as sa
else:
    sa = require("sqlalchemy", "review")

_CHUNK = 500  # of an IN list: older SQLites take 999 parameters

EVENTS = sa.Table(
    "event",
    sa.MetaData(),
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("item", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text),
    sa.Column("label", sa.Text),
    sa.Column("note", sa.Text),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("undoes", sa.Text),
    sa.Column("resolves", sa.Boolean, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("before_verdict", sa.Text),
    sa.Column("before_label", sa.Text),
    sa.Column("before_note", sa.Text),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("way", sa.Text),
    sa.Column("seal", sa.Text),
    sa.Column("text", sa.Text),
    sa.PrimaryKeyConstraint("seq", name="event_seq"),
    sa.Index("event_id", "id", unique=True),
    sa.Index("event_run", "run", "seq"),
    sa.Index("event_before", "run", "actor", "item", "seq"),
)

_LATER = ("way", "text")
"""Columns that events of before did not have: empty they are none of the digest."""


def open_store(url_or_path: str | Path, *, sealed: bool = True) -> SqlStore:
    """The log there: made if there is none, its tables brought to this version.

    Args:
        url_or_path: an SQLite file, or ``postgresql://USER:PASSWORD@HOST/DATABASE``.
        sealed: events are sealed with the user's key, and seals checked.

    Raises:
        InputError: another kind of address, one that the server refuses, a file that is damaged, is
            something else's or cannot be written, or a log of a newer swaypoint.
        StoreUnavailable: the database cannot be reached, is locked, or has no space.
        MissingExtra: sqlalchemy and alembic, or psycopg for PostgreSQL, are not installed.
    """
    return SqlStore(database(url_or_path), user_keys() if sealed else None)


class SqlStore(Store):
    """A log in one table; see :class:`~swaypoint.review.log.verdicts.Store`.

    The table refuses UPDATE and DELETE. Each event's digest is SHA-256 over the digest before it and the
    event as canonical JSON: a change that gets past the table is seen by :meth:`verify`. With ``keys`` each
    has a seal, a digest by key, so that all of it cannot be written anew without the key; that the end was
    cut off is seen with an anchor.

    Raises:
        InputError, StoreUnavailable, MissingExtra: as :func:`open_store`.
    """

    def __init__(self, database: Database, keys: Keys | None = None) -> None:
        self._database, self.keys = database, keys
        self._engine = database.engine()
        self._turn = threading.Lock()  # fairer than the database's lock, which SQLite's writers poll
        try:
            with self._writing() as connection:
                tables = sa.inspect(connection).get_table_names()
                if VERSION_TABLE not in tables:
                    database.check(connection, tables)
                upgrade(connection, database.name)
        except BaseException:
            self.close()
            raise

    def append(self, events: Sequence[Event]) -> list[Event]:
        """See :meth:`Store.append`. Where the connection breaks during the commit, an event may have been
        kept though StoreUnavailable is raised; sending it again is safe.

        Raises:
            InputError: an id is there with another content; a name (id, run, item, actor, action) is empty
                or beyond 200 characters; a text has a NUL or half a surrogate pair.
            StoreUnavailable: as the contract says.
        """
        for event in events:
            check_event(event)
        if not events:
            return []
        with self._writing() as connection:
            stored = _stored(connection, [event.id for event in events])
            fresh: dict[str, Event] = {}
            for event in events:
                there = stored.get(event.id) or fresh.setdefault(event.id, event)
                if _given(there) != _given(event):
                    raise InputError(
                        f"event {event.id} is kept already, with another content; give a new one a new id"
                    )
            added = list(_chained(connection, fresh.values()))
            if added:
                connection.execute(sa.insert(EVENTS), [self._row(event) for event in added])
        stored.update((event.id, event) for event in added)
        return [stored[event.id] for event in events]

    def since(self, run: str, seq: int = 0) -> list[Event]:
        """See :meth:`Store.since`.

        Raises:
            InputError: the file is damaged.
            StoreUnavailable: the database cannot be reached.
        """
        query = sa.select(EVENTS).where(EVENTS.c.run == run, EVENTS.c.seq > seq)
        with self._explained(), self._engine.connect() as connection:
            rows = self._rows(connection, query)
            return [self._read(row) for row in rows]

    def verify(self, anchors: Sequence[Anchor] = ()) -> Anchor:
        """See :meth:`Store.verify`.

        Raises:
            InputError: an event was changed, or one is missing before it; or it is not what an anchor says.
            StoreUnavailable: the database cannot be reached.
        """
        count, digest, known = 0, "", {anchor.seq: anchor.digest for anchor in anchors}
        sealed = False  # by a key that is here: from there on all must be
        with self._explained(), self._engine.connect() as connection:
            for row in self._rows(connection.execution_options(yield_per=1000), sa.select(EVENTS)):
                count, digest = count + 1, _redone(digest, row)
                if (row.seq, row.digest) != (count, digest):
                    raise InputError(
                        f"{self._database.name}: event {row.seq} (id {row.id}) is not as it was written,"
                        " or one before it is missing; restore the log from a copy"
                    )
                sealed = self._check_seal(row, sealed)
                if known.pop(count, digest) != digest:
                    raise InputError(
                        f"{self._database.name}: at event {count} the log is not what it was when it was"
                        " anchored: it was written anew; restore it from a copy"
                    )
        if lost := [seq for seq in known if seq > 0]:
            raise InputError(
                f"{self._database.name}: the log ends at event {count}, and when it was anchored it had"
                f" {max(lost)}: its end was cut off; restore it from a copy"
            )
        return Anchor(count, digest)

    def _check_seal(self, row: sa.Row[Any], sealed: bool) -> bool:
        right = None if self.keys is None or row.seal is None else self.keys.right(str(row.seal), row.digest)
        if right is False:
            raise InputError(
                f"{self.name}: event {row.seq} (id {row.id}) has a false seal: who wrote it does not have the"
                " key; restore the log from a copy"
            )
        if sealed and right is None:
            found = "no seal" if row.seal is None else "the seal of a key that is not here"
            assert self.keys is not None
            raise InputError(
                f"{self.name}: event {row.seq} (id {row.id}) has {found}: somebody without your key added it;"
                f" if that was in order, put their key into {self.keys.folder}"
            )
        return right is not None

    @property
    def name(self) -> str:
        """Of its database, for messages."""
        return self._database.name

    @property
    def address(self) -> str:
        """As :func:`open_store` takes it, with the password."""
        return self._database.address

    def _rows(self, connection: sa.Connection, query: sa.Select[Any]) -> Iterator[sa.Row[Any]]:
        """Those that ``query`` asks for, in order; one that cannot even be read is named."""
        try:
            yield from connection.execute(query.order_by(EVENTS.c.seq))
        except (sa.exc.OperationalError, sa.exc.DataError, TypeError, ValueError) as error:
            found = _unreadable(connection, query)
            if found is None:
                raise
            raise self._corrupt(found, error) from error

    def _row(self, event: Event) -> dict[str, Any]:
        row = {column.name: getattr(event, column.name, None) for column in EVENTS.columns}
        row |= {name: getattr(event, name) or None for name in _LATER}
        row["seal"] = self.keys and self.keys.seal(event.digest)
        for prefix, decision in (("", event.decision), ("before_", event.before)):
            for name in ("verdict", "label", "note"):
                row[prefix + name] = getattr(decision, name, None)
        return row

    def _read(self, row: Sequence[Any]) -> Event:
        try:
            return _event(row)
        except InputError as error:
            raise self._corrupt(row[0], error) from error

    def _corrupt(self, seq: Any, error: Exception) -> InputError:
        detail = shortened(str(getattr(error, "orig", error)))
        return InputError(
            f"{self._database.name}: event {seq} is corrupt ({detail}); restore the log from a copy"
        )

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction that is alone in writing; committed at the end, rolled back on an error."""
        if not self._turn.acquire(timeout=PATIENCE):
            raise StoreUnavailable(f"{self._database.name} is busy with other writes; try again")
        try:
            with (
                self._explained(),
                self._engine.connect() as connection,
                connection.execution_options(writes=True).begin(),
            ):
                self._database.lock(connection)
                yield connection
        finally:
            self._turn.release()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._database.explain(error) from error
        except sa.exc.TimeoutError as error:
            raise StoreUnavailable(f"{self._database.name} is busy; try again") from error


def _unreadable(connection: sa.Connection, query: sa.Select[Any]) -> Any:
    """The number of the first event whose row the driver cannot turn into values; None where none is such."""
    numbers = connection.execute(query.with_only_columns(EVENTS.c.seq).order_by(EVENTS.c.seq)).scalars().all()
    for seq in numbers:
        try:
            connection.execute(sa.select(EVENTS).where(EVENTS.c.seq == seq)).all()
        except (sa.exc.OperationalError, sa.exc.DataError, TypeError, ValueError):
            return seq
    return None


def _stored(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Event]:
    found = {}
    for start in range(0, len(ids), _CHUNK):
        query = sa.select(EVENTS).where(EVENTS.c.id.in_(ids[start : start + _CHUNK]))
        found.update({event.id: event for event in map(_event, connection.execute(query))})
    return found


def _chained(connection: sa.Connection, events: Iterable[Event]) -> Iterator[Event]:
    """``events`` with what the store gives them, in a transaction that is alone in writing."""
    events = list(events)
    last = connection.execute(
        sa.select(EVENTS.c.seq, EVENTS.c.digest).order_by(EVENTS.c.seq.desc()).limit(1)
    ).first()
    seq, digest = last or (0, "")
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    standing = _standing(connection, events)
    for event in events:
        seq, key = seq + 1, (event.run, event.actor, event.item)
        stored = replace(event, seq=seq, at=at, before=standing.get(key), digest="")
        digest = _digest(digest, stored)
        standing[key] = event.decision
        yield replace(stored, digest=digest)


def _standing(
    connection: sa.Connection, events: Sequence[Event]
) -> dict[tuple[str, str, str], Decision | None]:
    """By run, actor and item of ``events``: the actor's last word."""
    wanted: dict[tuple[str, str], dict[str, None]] = {}
    for event in events:
        wanted.setdefault((event.run, event.actor), {})[event.item] = None
    found = {}
    columns = EVENTS.c
    for (run, actor), unique in wanted.items():
        items = list(unique)
        for start in range(0, len(items), _CHUNK):
            within = columns.item.in_(items[start : start + _CHUNK])
            last = sa.select(sa.func.max(columns.seq)).where(
                columns.run == run, columns.actor == actor, within
            )
            query = sa.select(columns.item, columns.verdict, columns.label, columns.note).where(
                columns.seq.in_(last.group_by(columns.item))
            )
            for item, *decision in connection.execute(query):
                found[run, actor, item] = _decision(*decision)
    return found


def _given(event: Event) -> Event:
    """What the maker of an event says, without what the store gives."""
    return replace(event, seq=0, at="", before=None, digest="")


def _digest(previous: str, event: Event) -> str:
    """SHA-256 in hex over ``previous`` and the event but its digest: JSON, keys sorted, ASCII, no spaces."""
    content = {name: value for name, value in vars(event).items() if name != "digest"}
    for name in _LATER:
        if not content[name]:  # as events were before there was any
            del content[name]
    for name in ("decision", "before"):
        content[name] = None if content[name] is None else vars(content[name])
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256((previous + text).encode()).hexdigest()


def _redone(previous: str, row: Sequence[Any]) -> str:
    """The digest that ``row`` should have; "" where it is no event at all."""
    try:
        return _digest(previous, _event(row))
    except InputError:  # such as a verdict that there is none of
        return ""


@lru_cache(maxsize=4096)  # most are alike; a long log is read in half the time
def _decision(verdict: Any, label: str | None, note: str | None) -> Decision | None:
    return None if verdict is None else Decision(verdict, label, note or "")


def _event(row: Sequence[Any]) -> Event:
    *given, digest, way, _, text = row  # the seal is not of the event
    seq, key, run, item, actor, verdict, label, note, action, undoes, resolves, at, *before = given
    texts = (key, run, item, actor, verdict, label, note, action, undoes, at, *before, digest, way, text)
    if not (isinstance(seq, int) and all(value is None or isinstance(value, str) for value in texts)):
        raise InputError("a value of it is no text")  # SQLite keeps anything in any column
    return Event(
        id=key,
        run=run,
        item=item,
        actor=actor,
        decision=_decision(verdict, label, note),
        action=action,
        undoes=undoes,
        resolves=resolves,
        way=way or "",
        text=text or "",
        seq=seq,
        at=at,
        before=_decision(*before),
        digest=digest,
    )
