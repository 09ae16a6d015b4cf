"""The log of verdicts on a real SQLite file and a real PostgreSQL: one product of tests over both."""

from __future__ import annotations

import contextlib
import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from typer.testing import CliRunner

from postgres import cluster, database, in_schema, server_url  # noqa: F401
from swaypoint.cli.main import app
from swaypoint.errors import InputError, MissingExtra
from swaypoint.review.log import databases
from swaypoint.review.log.databases import PostgreSql, Sqlite
from swaypoint.review.log.migrations import VERSION_TABLE
from swaypoint.review.log.store import EVENTS, open_store
from swaypoint.review.log.verdicts import Decision, Event, Review, StoreUnavailable

BAD, CAT = Decision("bad"), Decision("mislabeled", "cat", "ears")
WRITERS, EACH = 20, 10


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    """Of a database with nothing in it."""
    if request.param == "sqlite":
        return str(tmp_path / "review.sqlite")
    return request.getfixturevalue("database")


@pytest.fixture
def store(address):
    store = open_store(address)
    yield store
    store.close()


def event(item="i", decision=BAD, *, actor="ann", run="run", **more):
    return Event(str(uuid4()), run, item, actor, decision, more.pop("action", str(uuid4())), **more)


def raw(address, *statements):
    """Past the store: as an administrator, or a vandal."""
    connection = psycopg.connect(address) if "://" in address else sqlite3.connect(address)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def by_dialect(address, sqlite, postgresql):
    return postgresql if "://" in address else sqlite


# -- what append gives and returns --------------------------------------------------------------------


def test_append_returns_what_since_reads(store):
    given = [event("i"), event("j", CAT, resolves=True), event("i", None, undoes="x"), event("i", CAT)]
    stored = store.append(given[:1]) + store.append(given[1:])
    assert store.since("run") == stored
    assert [replace(e, seq=0, at="", before=None, digest="") for e in stored] == given
    assert [e.seq for e in stored] == [1, 2, 3, 4]
    assert [e.before for e in stored] == [None, None, BAD, None]
    assert all(len(e.at) == len("2026-11-25T08:00:00.000+00:00") and e.at.endswith("+00:00") for e in stored)
    assert store.since("run", 2) == stored[2:]
    assert store.since("other") == store.since("run", 4) == []
    assert store.append([]) == []


def test_before_is_of_the_same_run_actor_and_item(store):
    store.append([event("i", BAD), event("i", CAT, actor="bob"), event("i", CAT, run="other")])
    (again,) = store.append([event("i", Decision("skip"))])
    assert again.before == BAD
    assert [e.before for e in store.append([event("j", BAD), event("j", CAT)])] == [None, BAD]


def test_many_events_at_once(store):
    count = 1201  # beyond two IN lists
    given = [event(f"i{i}", action="bulk") for i in range(count)]
    stored = store.append(given)
    assert store.append(given) == stored == store.since("run")
    again = store.append([event(f"i{i}", CAT) for i in range(count)])
    assert [e.before for e in again] == [BAD] * count
    assert [e.seq for e in again] == list(range(count + 1, 2 * count + 1))
    assert store.verify().seq == 2 * count


def test_a_review_folds_the_log(store):
    store.append([event("i"), event("i", CAT, actor="bob"), event("j")])
    review = Review("run", store.since("run"))
    (last,) = review.undoable("bob")
    store.append([event("i", last.before, actor="bob", undoes=last.action)])
    for e in store.since("run", review.seq):
        review.apply(e)
    assert review.all_on("i") == {"ann": BAD}


def test_the_digest_is_of_the_one_before_and_the_event_as_json(store):
    first, second = store.append([event("i", CAT), event("i", None, undoes="é")])
    decision = '{"label":"cat","note":"ears","verdict":"mislabeled"}'

    def digest(e, previous, decision, before, undoes):
        text = (
            f'{{"action":"{e.action}","actor":"ann","at":"{e.at}","before":{before},"decision":{decision},'
            f'"id":"{e.id}","item":"i","resolves":false,"run":"run","seq":{e.seq},"undoes":{undoes}}}'
        )
        return hashlib.sha256((previous + text).encode()).hexdigest()

    assert first.digest == digest(first, "", decision, "null", "null")
    assert second.digest == digest(second, first.digest, "null", decision, '"\\u00e9"')


def test_the_way_is_of_the_digest(store):
    (before, after) = store.append([event("i", way="sample"), event("j")])
    assert [one.way for one in store.since("run")] == ["sample", ""]
    text = (
        f'{{"action":"{before.action}","actor":"ann","at":"{before.at}","before":null,'
        f'"decision":{{"label":null,"note":"","verdict":"bad"}},"id":"{before.id}","item":"i","resolves":false,'
        f'"run":"run","seq":1,"undoes":null,"way":"sample"}}'
    )
    assert before.digest == hashlib.sha256(text.encode()).hexdigest()
    assert store.verify().digest == after.digest
    with pytest.raises(InputError, match="way is 'by chance'; expected one of queue, sample, gallery, bulk"):
        store.append([event("k", way="by chance")])


# -- sent twice ---------------------------------------------------------------------------------------


def test_a_retry_adds_nothing(store):
    one, two = event("i"), event("j")
    (stored,) = store.append([one])
    store.append([event("i", CAT)])
    assert store.append([one]) == [stored]
    assert store.append([stored]) == [stored], "what the store gave is no other content"
    both = store.append([one, two, two])
    assert both[0] == stored
    assert both[1] == both[2]
    assert store.verify().seq == 3


CHANGES = [
    {"decision": CAT},
    {"decision": None},
    {"decision": Decision("bad", note="n")},
    {"item": "j"},
    {"actor": "bob"},
    {"run": "other"},
    {"action": "other"},
    {"undoes": "other"},
    {"resolves": True},
]


def test_an_id_with_other_content_is_refused_and_nothing_of_the_call_is_kept(store):
    one = event("i")
    store.append([one])
    for change in CHANGES:
        for call in ([event("k"), replace(one, **change)], [two := event("l"), replace(two, **change)]):
            with pytest.raises(InputError, match=f"event {call[1].id} is kept already, with another content"):
                store.append(call)
    assert store.verify().seq == 1


# -- text ---------------------------------------------------------------------------------------------

TEXTS = [
    "'; DROP TABLE event; --",
    'x" OR 1=1 /* % _ \\ */ :id $1 %s ?',
    "Ünïcödé 漢字 🦆 \u202e rtl \u0301",
    "tab\t newline\n \x01 \x7f",
    " spaces ",
]


def test_any_text_survives(store):
    for text in TEXTS:
        one = Event(text, text, text, text, Decision("mislabeled", text, text), text, undoes=text)
        (stored,) = store.append([one])
        assert store.append([one]) == store.since(text) == [stored]
        (other,) = store.append([replace(one, id=f"other {text}", decision=BAD)])
        assert other.before == one.decision
    assert store.verify().seq == 2 * len(TEXTS)


REFUSED = [
    (event("i", Decision("bad", note="a\0b")), "note has a NUL or half a surrogate pair"),
    (event("i", Decision("mislabeled", "\ud800")), "label has a NUL or half a surrogate pair"),
    (event("i\0"), "item has a NUL"),
    (event("i", actor=""), "actor has 0 characters; expected 1 to 200"),
    (event("i", actor="é" * 201), "actor has 201 characters"),
]


def test_what_one_of_the_databases_could_not_keep_is_refused_by_both(store):
    for wrong, words in REFUSED:
        with pytest.raises(InputError, match=words):
            store.append([event("k"), wrong])
    assert store.verify().seq == 0


def test_the_longest_names_fit(store):
    store.append([event("𝕚" * 200, actor="𝕒" * 200, run="𝕣" * 200, action="𝕩" * 200)])
    assert store.verify().seq == 1


# -- the database guards the log ----------------------------------------------------------------------


def test_the_database_refuses_change(address, store):
    stored = store.append([event("i"), event("j")])
    copy = "SELECT 2, id, run, item, actor, verdict, label, note, action, undoes, resolves, at"
    copy += ", before_verdict, before_label, before_note, digest, way, seal, text FROM event WHERE seq = 1"
    statements = ["UPDATE event SET note = 'x'", "DELETE FROM event", "DELETE FROM event WHERE seq = 1"]
    statements += by_dialect(
        address,
        [f"INSERT OR REPLACE INTO event {copy}", "REPLACE INTO event SELECT * FROM event"],
        ["TRUNCATE event"],
    )
    for statement in statements:
        with pytest.raises((sqlite3.IntegrityError, psycopg.Error), match="event is append-only"):
            raw(address, statement)
    assert store.since("run") == stored


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE event SET note = 'x' WHERE seq = 2", 2),
        ("UPDATE event SET at = '' WHERE seq = 3", 3),
        ("UPDATE event SET verdict = 'worse' WHERE seq = 4", 4),
        ("UPDATE event SET before_verdict = NULL WHERE seq = 3", 3),
        ("DELETE FROM event WHERE seq = 1", 2),
        ("UPDATE event SET way = 'queue' WHERE seq = 3", 3),
        ("UPDATE event SET digest = (SELECT digest FROM event WHERE seq = 1) WHERE seq = 4", 4),
    ],
)
def test_verify_names_what_was_changed_past_the_guard(address, store, change, named):
    stored = store.append([event("i"), event("j"), event("i"), event("j")])
    assert store.verify().seq == 4
    raw(
        address,
        *by_dialect(
            address,
            ["DROP TRIGGER event_no_update", "DROP TRIGGER event_no_delete"],
            ["DROP TRIGGER event_append_only ON event"],
        ),
        change,
    )
    with pytest.raises(InputError, match=rf"event {named} \(id {stored[named - 1].id}\) is not as it was"):
        store.verify()


@pytest.mark.parametrize("value", ["X'80'", "CAST(X'80' AS TEXT)", "'worse'"])
def test_an_event_that_is_none_is_named(tmp_path, value):
    """By whoever reads the log, not only by who verifies it."""
    file = tmp_path / "review.sqlite"
    with contextlib.closing(open_store(file)) as store:
        store.append([event("i"), event("j"), event("k")])
        raw(str(file), "DROP TRIGGER event_no_update", f"UPDATE event SET verdict = {value} WHERE seq = 2")
        for use in (store.verify, lambda: store.since("run")):
            with pytest.raises(InputError, match=r"review\.sqlite: event 2 .*restore the log from a copy"):
                use()


def test_the_log_is_its_owners(tmp_path):
    """Names and notes are in it: other users of the machine cannot read them."""
    with contextlib.closing(open_store(tmp_path / "review.sqlite")) as store:
        store.append([event("i")])
        found = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert found == dict.fromkeys(["review.sqlite", "review.sqlite-wal", "review.sqlite-shm"], 0o600)


def test_commits_reach_the_disk(tmp_path, server_url):  # noqa: F811
    with Sqlite(tmp_path / "review.sqlite").engine().connect() as connection:
        pragmas = {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 15_000}
        for name, value in pragmas.items():
            assert connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() == value
    lazy = sa.make_url(server_url).set(drivername="postgresql+psycopg")
    server = PostgreSql(lazy.update_query_dict({"options": "-c synchronous_commit=off"}))
    with server.engine().begin() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off"
        server.lock(connection)
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"


# -- many writers, killed writers ---------------------------------------------------------------------


def check_all_there(address, ids):
    store = open_store(address)
    events = store.since("run")
    assert {e.id for e in events} == set(ids)
    assert [e.seq for e in events] == list(range(1, len(ids) + 1))
    assert store.verify().seq == len(ids)
    last: dict = {}
    for e in events:
        assert e.before == last.get((e.actor, e.item))
        last[e.actor, e.item] = e.decision
    store.close()


def test_twenty_threads_lose_nothing(address):
    store = open_store(address)
    start = threading.Barrier(WRITERS)

    def write(writer):
        start.wait()
        given = [event(f"i{i % 3}", BAD if i % 2 else CAT, actor=f"w{writer % 4}") for i in range(EACH)]
        for i, e in enumerate(given):
            store.append([e])
            if i % 5 == 0:
                store.since("run", i)
        return [e.id for e in given]

    with ThreadPoolExecutor(WRITERS) as pool:
        ids = [key for written in pool.map(write, range(WRITERS)) for key in written]
    store.close()
    assert len(ids) == WRITERS * EACH
    check_all_there(address, ids)


PROCESSES = """
import os, sys
import psycopg, sqlalchemy.dialects.postgresql.psycopg  # before the forks
from swaypoint.review.log.store import open_store
from swaypoint.review.log.verdicts import Decision, Event
address, writers, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
open_store(sys.argv[4]).close()
children = []
for writer in range(writers):
    child = os.fork()
    if child == 0:
        store = open_store(address)  # all at once, of an empty database
        for i in range(each):
            store.append([Event(f"{writer}-{i}", "run", f"i{i % 3}", f"w{writer % 4}", Decision("bad"), "a")])
        os._exit(0)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""


def test_twenty_processes_lose_nothing_and_make_the_tables_once(address, tmp_path):
    arguments = [sys.executable, "-c", PROCESSES, address, str(WRITERS), str(EACH), tmp_path / "x"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    check_all_there(address, [f"{writer}-{i}" for writer in range(WRITERS) for i in range(EACH)])


def test_a_file_that_another_is_writing_to_is_waited_for(tmp_path):
    """SQLite refuses a switch to WAL at once where another has a lock, whatever the busy timeout."""
    address = str(tmp_path / "review.sqlite")
    other = sqlite3.connect(address, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.rollback)
    release.start()
    store = open_store(address)
    store.append([event()])
    store.close()
    release.join()
    other.close()


BURST = """
import sys, threading, uuid
from swaypoint.review.log.store import open_store
from swaypoint.review.log.verdicts import Decision, Event
store, printing = open_store(sys.argv[1]), threading.Lock()
def write():
    while True:
        action = str(uuid.uuid4())
        events = [Event(str(uuid.uuid4()), "run", f"i{i}", "ann", Decision("bad"), action) for i in range(3)]
        store.append(events)
        with printing:
            print(*(e.id for e in events), flush=True)
for _ in range(4):
    threading.Thread(target=write).start()
"""


def test_a_killed_writer_loses_nothing_that_append_returned(address):
    acknowledged, delays = [], random.Random(4)
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", BURST, address], stdout=subprocess.PIPE, text=True
        ) as writer:
            lines = [writer.stdout.readline()]
            killer = threading.Timer(delays.uniform(0.0, 0.25), writer.send_signal, [signal.SIGKILL])
            killer.start()
            lines += writer.stdout
            killer.join()
        assert writer.returncode == -signal.SIGKILL
        acknowledged += [key for line in lines if line.endswith("\n") for key in line.split()]
        store = open_store(address)
        events = store.since("run")
        assert set(acknowledged) <= {e.id for e in events}
        assert store.verify().seq == len(events)
        actions = [e.action for e in events]
        assert actions[::3] == actions[1::3] == actions[2::3], "a call's events are kept all or none"
        store.append([event("after", action=a) for a in ["again"] * 3])
        store.close()
    assert len(acknowledged) > 12


# -- the database cannot be written now ---------------------------------------------------------------


def test_a_new_file_locked_by_another_program(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE", 0.2)
    address = str(tmp_path / "review.sqlite")
    other = sqlite3.connect(address, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"has kept .*review\.sqlite locked for 0\.2 s; try"):
        open_store(address)
    other.close()


def test_locked_by_another_program(address, monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE", 1)
    store = open_store(address)
    if "://" in address:
        other = psycopg.connect(address)
        other.execute("SELECT pg_advisory_xact_lock(hashtext('swaypoint.event'))")
        words = "has been locked by others for too long"
    else:
        other = sqlite3.connect(address, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        words = r"another program has kept .*review\.sqlite locked for 1 s; try again"
    one = event("i")
    with pytest.raises(StoreUnavailable, match=words) as caught:
        store.append([one])
    assert "\n" not in str(caught.value)
    assert store.since("run") == [], "reading goes on"
    other.rollback()
    store.append([one])
    other.close()
    store.close()


def test_a_full_disk_is_said_and_writing_goes_on_when_there_is_space(disk_of):
    small_disk = disk_of("1m")
    store = open_store(small_disk / "review.sqlite")
    one, two = event("i"), [event(f"i{i}", Decision("bad", note="n" * 2000)) for i in range(20)]
    store.append([one])
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    for _ in range(2):
        with pytest.raises(
            StoreUnavailable, match=r"no space left on the disk of .*review\.sqlite"
        ) as caught:
            store.append(two)
        assert "\n" not in str(caught.value)
    with pytest.raises(StoreUnavailable, match="no space left"):
        open_store(small_disk / "another.sqlite")
    assert [e.id for e in store.since("run")] == [one.id], "reading goes on, nothing is half kept"
    filler.unlink()
    store.append(two)
    assert store.verify().seq == 21
    store.close()


def test_a_server_that_stops_and_starts(cluster):  # noqa: F811
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA stopped")
    store = open_store(in_schema(cluster.url, "stopped"))
    given, failures = [event(f"i{i}") for i in range(150)], []
    started = threading.Event()

    def write():
        for e in given:
            while True:
                try:
                    store.append([e])
                    break
                except StoreUnavailable as error:
                    failures.append(str(error))
                    time.sleep(0.02)
            if e is given[20]:
                started.set()

    writer = threading.Thread(target=write)
    writer.start()
    started.wait()
    cluster.stop()
    for failing in (lambda: store.append([event("x")]), lambda: store.since("run"), store.verify):
        with pytest.raises(
            StoreUnavailable, match=r"database 'postgres' on 127\.0\.0\.1.* cannot be reached"
        ):
            failing()
    with pytest.raises(StoreUnavailable, match="cannot be reached just now"):
        open_store(cluster.url)
    cluster.start()
    writer.join()
    assert [e.id for e in store.since("run")] == [e.id for e in given]
    cluster.stop()
    cluster.start()
    store.append([event("after a restart that nobody saw")])
    assert store.verify().seq == len(given) + 1
    assert failures
    assert not any("\n" in failure for failure in failures)
    store.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_deleted_is_not_written_to(tmp_path, replaced):
    file = tmp_path / "review.sqlite"
    store = open_store(file)
    store.append([event("i")])
    file.rename(tmp_path / "elsewhere")
    if replaced:
        open_store(file).close()
    with pytest.raises(StoreUnavailable, match="moved, deleted or replaced while in use"):
        store.append([event("j")])
    store.close()


# -- opening ------------------------------------------------------------------------------------------


def test_opening_again_keeps_the_events(address):
    for count in range(1, 4):
        store = open_store(address)
        store.append([event("i")])
        assert store.verify().seq == count
        store.close()


def test_the_migrations_make_the_tables_of_the_code(address):
    store = open_store(address)
    kind = Sqlite(address) if "://" not in address else None
    url = (
        sa.make_url(address).set(drivername="postgresql+psycopg") if kind is None else f"sqlite:///{address}"
    )
    with sa.create_engine(url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, EVENTS.metadata) == []
    store.close()


def test_a_log_of_before_there_were_ways_is_as_it_was(address):
    """Its table gets the columns, also those of seals and texts; its events and their digests stay."""
    with contextlib.closing(open_store(address)) as store:
        stored = store.append([event("i"), event("j", CAT)])
    drop = [f"ALTER TABLE event DROP COLUMN {name}" for name in ("way", "seal", "text")]
    raw(address, *drop, f"UPDATE {VERSION_TABLE} SET version_num = '0001'")
    with contextlib.closing(open_store(address)) as store:
        assert store.since("run") == stored
        assert store.verify().digest == stored[-1].digest
        store.append([event("k", way="queue")])
        assert store.verify().seq == 3


def test_a_log_of_a_newer_version_is_refused_untouched(address):
    open_store(address).close()
    raw(address, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(InputError, match="has version 9999, of a newer swaypoint; this one knows 0004"):
        open_store(address)
    raw(address, f"UPDATE {VERSION_TABLE} SET version_num = '0004'")
    open_store(address).close()


def test_tables_of_something_else_are_refused_untouched(address):
    raw(address, "CREATE TABLE event (name text)")
    with pytest.raises(InputError, match="something else"):
        open_store(address)
    raw(address, "INSERT INTO event VALUES ('x')")


def _events(address) -> list[Event]:
    with contextlib.closing(open_store(address)) as store:
        return store.since("run")


def test_an_empty_file_becomes_a_log_and_other_tables_of_a_server_do_not_disturb(tmp_path, database):  # noqa: F811
    file = tmp_path / "100%.sqlite"
    file.touch()
    raw(database, "CREATE TABLE other (name text)", "INSERT INTO other VALUES ('theirs')")
    for address in (file, f"sqlite:///{file}", database):
        with contextlib.closing(open_store(address)) as store:
            store.append([event("i")])
    assert [e.item for e in _events(file)] == ["i", "i"]  # by its path and by its address: one log
    assert [e.item for e in _events(database)] == ["i"]
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT name FROM other").fetchall() == [("theirs",)]


def test_a_file_that_is_no_database(tmp_path):
    file = tmp_path / "review.sqlite"
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match=r"review\.sqlite is damaged, or no SQLite database"):
        open_store(file)


def test_a_damaged_file(tmp_path):
    file = tmp_path / "review.sqlite"
    store = open_store(file)
    store.append([event(f"i{i}") for i in range(500)])
    store.close()
    content = bytearray(file.read_bytes())
    content[4096 * 8 :] = b"\xa5" * (len(content) - 4096 * 8)
    file.write_bytes(content)
    store = open_store(file)
    with pytest.raises(InputError, match="is damaged"):
        store.verify()
    store.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path / "none" / "review.sqlite", "there is no folder .*none; make it first"),
        (lambda path: path, "is a folder; expected a file such as"),
        (lambda path: "mysql://u:secret@h/d", "the address starts with mysql://; expected a file, or"),
        (lambda path: "sqlite://", "the address starts with sqlite://; expected a file"),
        (lambda path: "postgresql://u:secret@h:port/d", "address postgresql://… cannot be read; expected"),
        (lambda path: "postgresql://u:secret@127.0.0.1/d?foo=1", "'d' on .* refuses: .*foo"),
    ],
)
def test_where_no_log_can_be(tmp_path, make, words):
    with pytest.raises(InputError, match=words) as caught:
        open_store(make(tmp_path))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("swaypoint:", "swaypoint:wrong", "password authentication failed"),
        ("/postgres", "/none", 'database "none" does not exist'),
    ],
)
def test_a_server_that_refuses(cluster, old, new, words):  # noqa: F811
    url = cluster.url.replace(old, new)
    with pytest.raises(InputError, match=words) as caught:
        open_store(url)
    assert url.split(":")[2].split("@")[0] not in str(caught.value), "the password is not shown"


def test_missing_extras_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"pip install 'swaypoint\[postgres\]'"):
        open_store("postgresql://u@h/d")


# -- anchors ------------------------------------------------------------------------------------------


def verified(audit, *words):
    return CliRunner().invoke(app, ["verify", str(audit), *map(str, words)])


def test_a_log_cut_off_or_written_anew_is_not_what_was_anchored(address, store):
    store.append([event("i"), event("j"), event("k")])
    early = store.verify()
    store.append([event("i")])
    late = store.verify()
    assert (early.seq, late.seq) == (3, 4)
    assert store.verify([early, late]) == late
    raw(
        address,
        *by_dialect(
            address,
            ["DROP TRIGGER event_no_update", "DROP TRIGGER event_no_delete"],
            ["DROP TRIGGER event_append_only ON event"],
        ),
        "DELETE FROM event WHERE seq = 4",
    )
    assert store.verify() == early  # a chain is whole without its end
    with pytest.raises(
        InputError, match="ends at event 3, and when it was anchored it had 4: its end was cut off"
    ):
        store.verify([early, late])
    raw(address, "DELETE FROM event")
    store.append([event("x"), event("j"), event("k"), event("i")])  # all anew, a chain as good as any
    assert store.verify().seq == 4
    with pytest.raises(InputError, match="at event 3 the log is not what it was when it was anchored"):
        store.verify([early, late])


def test_the_command_checks_a_log_against_its_anchors(tmp_path):
    """The exit code of a script that watches a review."""
    anchors = tmp_path / "elsewhere" / "anchors.txt"
    anchors.parent.mkdir()
    (tmp_path / "manifest.json").write_text("{}")  # what an audit folder is known by
    with pytest.raises(InputError, match="nobody has reviewed"):
        raise verified(tmp_path).exception
    with contextlib.closing(open_store(tmp_path / "review.sqlite")) as log:
        log.append([event("i"), event("j")])
        digest = log.verify().digest
        told = verified(tmp_path, "--anchor", anchors)
        assert (told.exit_code, told.stdout) == (0, f"2 events, as they were written; digest {digest}\n")
        log.append([event("k")])
    assert verified(tmp_path, "--anchor", anchors).exit_code == 0
    assert verified(tmp_path, "--anchor", anchors).exit_code == 0
    lines = anchors.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["2", "3"]
    assert lines[0].split()[1] == digest
    (tmp_path / "review.sqlite").unlink()
    with contextlib.closing(open_store(tmp_path / "review.sqlite")) as log:
        log.append([event("i"), event("j")])
    found = verified(tmp_path, "--anchor", anchors)
    assert isinstance(found.exception, InputError)  # of which the command line makes one sentence
    assert "event 2" in str(found.exception)
    assert anchors.read_text().splitlines() == lines
    anchors.write_text("2 yes\n")
    assert "line 1: no anchor" in str(verified(tmp_path, "--anchor", anchors).exception)


# -- what is said beside the verdicts -------------------------------------------------------------------


def test_a_text_is_of_the_digest(address, store):
    (said,) = store.append([event("i", None, text="who is this?\n猫")])
    assert store.since("run") == [said]
    text = (
        f'{{"action":"{said.action}","actor":"ann","at":"{said.at}","before":null,"decision":null,'
        f'"id":"{said.id}","item":"i","resolves":false,"run":"run","seq":1,'
        f'"text":"who is this?\\n\\u732b","undoes":null}}'
    )
    assert said.digest == hashlib.sha256(text.encode()).hexdigest()
    trigger = by_dialect(address, "event_no_update", "event_append_only ON event")
    raw(address, f"DROP TRIGGER {trigger}", "UPDATE event SET text = 'who was this?' WHERE seq = 1")
    with pytest.raises(InputError, match=r"event 1 .*is not as it was"):
        store.verify()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"decision": None, "text": "x" * 4001}, "at most 4,000"),
        ({"decision": None, "text": "\0"}, "text has a NUL"),
        ({"decision": BAD, "text": "x"}, "no text of its own"),
    ],
)
def test_a_text_that_cannot_be_kept(store, more, words):
    with pytest.raises(InputError, match=words):
        store.append([event("i", **more)])
    assert store.since("run") == []


def test_its_address_opens_it_again(store):
    """For another process, also where there is a password."""
    stored = store.append([event("i")])
    with contextlib.closing(open_store(store.address)) as other:
        assert other.since("run") == stored
