"""Where a log can be kept: an SQLite file, or a PostgreSQL server; what is different between the two."""

from __future__ import annotations

import os
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swaypoint.errors import InputError, require
from swaypoint.review.log.verdicts import StoreUnavailable

if TYPE_CHECKING:
    import sqlalchemy as sa
else:
    sa = require("sqlalchemy", "review")

PATIENCE = 15  # seconds to wait for a lock, a connection or an answer
_REFUSED = ("authentication failed", "no password", "pg_hba.conf", "does not exist", "not permitted")


def database(url_or_path: str | Path) -> Database:
    """The one meant.

    Raises:
        InputError: an address of another kind, or one that cannot be read.
        MissingExtra: psycopg is not installed.
    """
    text = str(url_or_path)
    if isinstance(url_or_path, Path) or "://" not in text:
        return Sqlite(Path(url_or_path).absolute())
    scheme = text.split("://")[0]
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:  # the text may hold a password
        raise InputError(
            f"the address {scheme}://… cannot be read; expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
            " with %-escapes in the password"
        ) from error
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        require("psycopg", "postgres")
        return PostgreSql(url.set(drivername="postgresql+psycopg"))
    if scheme == "sqlite" and url.database and url.database != ":memory:":
        return Sqlite(Path(url.database).absolute())
    raise InputError(f"the address starts with {scheme}://; expected a file, or postgresql://…")


class Database(ABC):
    """What is different between SQLite and PostgreSQL."""

    @property
    @abstractmethod
    def name(self) -> str:
        """For messages: no password in it."""

    @property
    @abstractmethod
    def address(self) -> str:
        """For another process that is to open it: with the password."""

    @abstractmethod
    def engine(self) -> sa.Engine:
        """Every connection of it waits at most :data:`PATIENCE`, and commits to the disk.

        Raises:
            InputError: it cannot be there.
        """

    @abstractmethod
    def lock(self, connection: sa.Connection) -> None:
        """Only this transaction writes until its end, and it reads what those before it wrote.

        Raises:
            StoreUnavailable: it is no longer the database that was opened.
        """

    @abstractmethod
    def check(self, connection: sa.Connection, tables: Sequence[str]) -> None:
        """It can become a log: ``tables`` are there, but none of ours.

        Raises:
            InputError: it cannot.
        """

    @abstractmethod
    def explain(self, error: sa.exc.DBAPIError) -> InputError | StoreUnavailable:
        """The error in words for a reviewer, on one line."""


@dataclass(frozen=True)
class Sqlite(Database):
    """A file, in WAL mode with ``synchronous=FULL``: a commit is on the disk when it returns."""

    file: Path

    @property
    def name(self) -> str:
        return str(self.file)

    @property
    def address(self) -> str:
        return str(self.file)

    def engine(self) -> sa.Engine:
        folder = self.file.parent
        if not folder.is_dir():
            raise InputError(
                f"cannot keep verdicts in {self.file}: there is no folder {folder}; make it first"
            )
        if self.file.is_dir():
            raise InputError(
                f"{self.file} is a folder; expected a file such as {self.file / 'review.sqlite'}"
            )
        for path in (folder, self.file):
            if path.exists() and not os.access(path, os.W_OK):
                raise InputError(f"{path} cannot be written; allow it, or keep the verdicts elsewhere")
        self._make()
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(self.file)),
            connect_args={"timeout": PATIENCE},
            pool_timeout=PATIENCE,
        )
        sa.event.listen(engine, "connect", self._configure)
        sa.event.listen(engine, "begin", self._begin)
        return engine

    def _make(self) -> None:
        """An empty file that its owner alone reads, unless there is one; what SQLite puts beside it takes
        its mode."""
        try:
            os.close(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreUnavailable(f"{self.file} cannot be made: {error.strerror or error}") from error

    def _configure(self, connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes late and is never IMMEDIATE
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "fullfsync=ON"):
            _patiently(connection, f"PRAGMA {pragma}")
        record.info["inode"] = self._inode()

    def _begin(self, connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    def _inode(self) -> int | None:
        return self.file.stat().st_ino if self.file.exists() else None

    def lock(self, connection: sa.Connection) -> None:
        """``BEGIN IMMEDIATE`` has locked it. SQLite would go on writing to a file that was deleted."""
        if connection.info["inode"] != self._inode():
            raise StoreUnavailable(
                f"{self.file} was moved, deleted or replaced while in use; start the review again"
            )

    def check(self, connection: sa.Connection, tables: Sequence[str]) -> None:
        if tables:
            raise InputError(
                f"{self.file} is a database of something else (it has the table {tables[0]!r});"
                " expected a file of swaypoint, or none"
            )

    def explain(self, error: sa.exc.DBAPIError) -> InputError | StoreUnavailable:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the primary one of an extended code
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return InputError(
                f"{self.file} is damaged, or no SQLite database ({error.orig}); restore it from a copy,"
                " or move it away to start anew"
            )
        reasons = {
            sqlite3.SQLITE_FULL: f"no space left on the disk of {self.file}; free some and try again",
            sqlite3.SQLITE_IOERR: f"the disk of {self.file} fails to read or write; see if it is full",
            sqlite3.SQLITE_BUSY: f"another program has kept {self.file} locked for {PATIENCE} s; try again",
            sqlite3.SQLITE_READONLY: f"{self.file} cannot be written; see its permissions and its disk",
            sqlite3.SQLITE_CANTOPEN: f"{self.file} cannot be opened; see its permissions and its disk",
        }
        if code in reasons:
            return StoreUnavailable(reasons[code])
        return InputError(f"{self.file} refuses: {_one_line(error.orig)}")


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """As SQLite waits for a lock, also where it does not: it holds a read lock when it switches to WAL, and
    refuses at once, lest two wait for each other. Refused, it has let go of all locks, and can ask again."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.01)


@dataclass(frozen=True)
class PostgreSql(Database):
    """A database on a server, through psycopg 3. Writers queue at an advisory lock."""

    url: sa.URL

    @property
    def name(self) -> str:
        host = self.url.host or self.url.query.get("host", "this machine")
        return f"the database {self.url.database or ''!r} on {host}:{self.url.port or 5432}"

    @property
    def address(self) -> str:
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def engine(self) -> sa.Engine:
        waits = {"connect_timeout": PATIENCE, "tcp_user_timeout": 1000 * PATIENCE}
        return sa.create_engine(
            self.url,
            connect_args={name: value for name, value in waits.items() if name not in self.url.query},
            isolation_level="READ COMMITTED",  # after the lock, see what the writer before committed
            pool_pre_ping=True,
            pool_timeout=PATIENCE,
        )

    def lock(self, connection: sa.Connection) -> None:
        """Held to the end of the commit, so that events become visible in the order of their ``seq``."""
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{PATIENCE}s'")
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(hashtext('swaypoint.event')),"
            " CASE current_setting('synchronous_commit')"
            " WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END"
        )

    def check(self, connection: sa.Connection, tables: Sequence[str]) -> None:
        if "event" in tables:
            raise InputError(
                f"{self.name} has a table 'event' of something else; make a database for swaypoint"
            )
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise InputError(
                f"{self.name} has the encoding {encoding}; expected UTF8: CREATE DATABASE … ENCODING 'UTF8'"
            )

    def explain(self, error: sa.exc.DBAPIError) -> InputError | StoreUnavailable:
        state, text = getattr(error.orig, "sqlstate", None) or "", _one_line(error.orig)
        if state == "53100":
            return StoreUnavailable(f"no space left on the server of {self.name}; free some and try again")
        if state in ("55P03", "57014", "40001", "40P01"):
            return StoreUnavailable(f"{self.name} has been locked by others for too long; try again")
        if state == "25006":
            return StoreUnavailable(f"{self.name} can only be read just now; try again")
        refused = any(words in text for words in _REFUSED)  # when connecting, there is no sqlstate
        if state[:2] in ("", "08", "53", "57", "58") and not refused and _operational(error):
            return StoreUnavailable(f"{self.name} cannot be reached just now: {text}")
        return InputError(f"{self.name} refuses: {text}")


def _operational(error: sa.exc.DBAPIError) -> bool:
    return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.InternalError)


def _one_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0][:300]  # the rest is hints and the statement
