"""Attacks on a review: audits that somebody sent, forged logs, borrowed names, and what they come to."""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn
from starlette.testclient import TestClient
from typer.testing import CliRunner

import swaypoint.review.page.security as security
from review_audit import Server
from review_site import BASE, HOST, Page, Site
from swaypoint.cli.main import app
from swaypoint.data.readers import read_dataset
from swaypoint.errors import InputError
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.items import Items
from swaypoint.review.log import beside
from swaypoint.review.log.anchors import check_log
from swaypoint.review.log.sessions import Session, Sessions
from swaypoint.review.log.store import open_store
from swaypoint.review.log.verdicts import Decision, Event
from swaypoint.review.page import connections
from swaypoint.review.page.security import Gate, session_secret
from swaypoint.review.page.serve import Serving, _beside, _places, configured

CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\ndef f(*_): return 0\n"


@pytest.fixture
def rows(audited_rows, tmp_path) -> Path:
    return Path(shutil.copytree(audited_rows, tmp_path / "wine"))


def command(*words):
    return CliRunner().invoke(app, [*map(str, words)])


# -- an audit that somebody sent ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        {"model": {"name": "sent_code:f"}},
        {"model": {"transform": "sent_code:f"}},
        {"model": {"layer": "sent_code:f"}},
        {"path": "sent_code:f"},
        {"path": "sent_code/f"},
    ],
)
def test_nothing_that_an_audit_names_is_imported(rows, tmp_path, monkeypatch, names):
    (tmp_path / "sent_code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # a path is no name to ask for
    manifest = json.loads((rows / "manifest.json").read_text())
    manifest["arguments"]["model"] |= names.get("model", {})
    if "path" in names:
        manifest["data"]["origin"]["path"] = names["path"]
    (rows / "manifest.json").write_text(json.dumps(manifest))
    site = Site(rows)
    page = site.page()
    for path in ("/item?status=open", "/gallery", "/map", "/progress", "/classes"):
        assert page.get(path).status_code == 200
    site.store.close()
    for words in (
        ("report", rows),
        ("export", rows, "--to", "csv", "--out", tmp_path / "out.csv"),
        ("compare", rows, "--seeds", "1"),
        ("simulate", rows, "--inspect", "0.01", "--truth", tmp_path / "none.csv"),
    ):
        done = command(*words)
        assert done.exception is None or isinstance(done.exception, (InputError, ImportError, SystemExit))
    assert "sent_code" not in sys.modules
    assert not (tmp_path / "ran").exists()


def test_the_transform_of_an_audit_is_run_only_where_it_is_said_again(rows):
    """Of an exported network that the audit's sender gives along, compare would call it."""
    manifest = json.loads((rows / "manifest.json").read_text())
    manifest["arguments"]["model"] |= {"name": "onnx:net.onnx", "transform": "sent_code:f"}
    (rows / "manifest.json").write_text(json.dumps(manifest))
    for words in ((), ("--transform", "other:f")):
        done = command("compare", rows, *words)
        assert "code that would run, is sent_code:f; say it again" in str(done.exception)
    assert "code that would run" not in str(command("compare", rows, "--transform", "sent_code:f").exception)


def bomb(file: Path, table: pa.Table) -> Path:
    pq.write_table(table, file, store_schema=False, compression="zstd")
    assert file.stat().st_size < 40_000
    return file


BOMBS = {
    "numbers": lambda: pa.array(np.zeros(5_000_000)),
    "one text repeated": lambda: pa.DictionaryArray.from_arrays(np.zeros(20_000, np.int32), ["x" * 10**5]),
    "one long text": lambda: pa.array(["x" * (30 << 20)]),
    "texts in lists": lambda: pa.ListArray.from_arrays(
        np.arange(0, 200_001, 10, np.int32),
        pa.DictionaryArray.from_arrays(np.zeros(200_000, np.int32), ["x" * 10**4]),
    ),
}
MOST = 200 << 20


@pytest.mark.parametrize("name", BOMBS)
def test_a_table_of_a_few_bytes_takes_no_memory(name, tmp_path):
    """34 kB took 2.2 GB."""
    file = bomb(tmp_path / "bomb.parquet", pa.table({"id": BOMBS[name]()}))
    script = (
        "import resource, sys, pathlib\n"
        "from swaypoint.folder.documents import read_parquet\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_parquet(pathlib.Path(sys.argv[1]), 'remedy')\n"
        "except ValueError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=True)
    words, taken = done.stdout.splitlines()
    assert "bytes unpack to more than 16 MiB, as no table of such a size does; remedy" in words
    assert int(taken) * 1024 < MOST


def test_a_bomb_in_an_audit_or_an_import_is_refused(rows, tmp_path):
    sent = bomb(tmp_path / "bomb.parquet", pa.table({"label_score": BOMBS["numbers"]()}))
    assert "unpack to more" in str(command("import", rows, sent, "--from", "cleanlab").exception)
    shutil.copy(sent, rows / "scores.parquet")
    assert "unpack to more" in str(command("review", rows, "--no-browser").exception)


def test_the_users_own_table_may_repeat_itself(tmp_path):
    zeros = BOMBS["numbers"]()[:3_000_000]
    file = bomb(tmp_path / "own.parquet", pa.table({"x": zeros, "label": zeros}))
    with pytest.raises(InputError, match="class"):  # read, and found to be of one class
        read_dataset(file)


# -- who is who ---------------------------------------------------------------------------------------


def invited(page, name=""):
    """Another browser, by the address that ``page`` makes."""
    answer = page.post("/invite", {"name": name})
    if answer.status_code != 200:
        return answer
    guest = Page.__new__(Page)
    guest.client = TestClient(page.client.app, base_url=BASE, follow_redirects=False)
    assert guest.client.get(answer.json()["address"]).status_code == 200
    shown = guest.get("/item" if name else "/name").text
    guest.csrf = re.search(r'name="csrf" content="(\w+)"', shown)[1]
    return guest


def test_an_invitation_binds_a_name(site):
    ada = site.page("Ada")
    bob = invited(ada, "Bob")
    bob.decide(site.items.ids[0], "bad")
    assert [event.actor for event in site.log()] == ["Bob"]
    for name in ("Ada", "Bob", "Carl"):
        assert bob.post("/name", {"name": name}).status_code == 403
    assert bob.get("/name").headers["location"] == "/"
    bob.decide(site.items.ids[1], "bad")
    assert {event.actor for event in site.log()} == {"Bob"}


@pytest.mark.parametrize("name", ["Ada", "ADA", "Ａｄａ", " ada\n", "Zoe", "eve"])
def test_no_name_is_taken_twice(site, name):
    """Neither of who is in, was invited, or has reviewed before."""
    ada = site.page("Ada")
    site.store.append([Event(str(uuid4()), site.items.run, site.items.ids[5], "Eve", Decision("bad"), "a")])
    ada.post("/invite", {"name": "Zoe"})
    guest = invited(ada)
    refused = guest.post("/name", {"name": name})
    assert (refused.status_code, "is taken" in refused.text) == (409, True)
    assert invited(ada, name).status_code == 409
    assert guest.post("/name", {"name": "Bob"}).status_code == 200
    guest.decide(site.items.ids[0])
    assert site.log()[-1].actor == "Bob"
    assert guest.act("undo")["count"] == 1
    assert guest.act("undo")["count"] == 0  # Eve's stands


def test_the_owner_takes_names_over(site):
    site.page("Ada").decide(site.items.ids[0])
    owner = site.page("", owner=True)
    assert owner.post("/name", {"name": "Ada"}).status_code == 200
    assert owner.act("undo")["count"] == 1
    assert invited(owner, "Ada").act("undo")["count"] == 0
    named = [(one.reviewer, one.owner) for one in Sessions(site.store, site.items.run).all()]
    assert named == [("Ada", False), ("Ada", True), ("Ada", False)]  # it is in the log that they did


def test_a_used_cookie_of_before_the_name_takes_no_second(site):
    guest = invited(site.page("Ada"))
    before = dict(guest.client.cookies)
    guest.post("/name", {"name": "Bob"})
    guest.client.cookies.clear()
    guest.client.cookies.update(before)
    assert guest.post("/name", {"name": "Carl"}).status_code == 403


def test_a_session_ends_where_one_logs_out(site):
    page = site.page("Ada")
    cookie = dict(page.client.cookies)
    assert page.client.post("/logout").status_code == 403  # not by another page
    assert page.post("/logout", {}).status_code == 200
    assert page.get("/gallery").status_code == 403
    page.client.cookies.update(cookie)  # which somebody kept
    assert page.get("/gallery").status_code == 403
    (session,) = Sessions(site.store, site.items.run).all()
    assert (session.reviewer, session.end) == ("Ada", "closed")


def test_sessions_are_in_the_chain(site):
    page = site.page("Ada")
    page.post("/logout", {})
    assert site.store.verify().seq == 2
    assert site.log() == []  # no verdicts


def test_a_session_revoked_elsewhere_ends_here(site, folder, monkeypatch):
    ada, bob = site.page("Ada"), site.page("Bob")
    told = command("sessions", folder)
    assert told.exit_code == 0
    (line,) = (line for line in told.stdout.splitlines() if " Bob " in line)
    assert command("sessions", folder, "--revoke", line.split()[0]).exit_code == 0
    monkeypatch.setattr(beside, "_RECENT_SECONDS", 0.0)
    assert bob.get("/gallery").status_code == 403
    assert ada.get("/gallery").status_code == 200
    assert "revoked" in command("sessions", folder).stdout
    assert command("sessions", folder, "--revoke", "Ada").exit_code == 0  # all of one reviewer's
    assert ada.get("/gallery").status_code == 403
    assert "no open session" in str(command("sessions", folder, "--revoke", "Ada").exception)
    site.page("Ada")  # invited anew by the owner


def test_a_session_lasts_as_long_as_is_said(site, monkeypatch):
    gate = Gate(b"s" * 32, run=site.items.run, sessions=Sessions(site.store, site.items.run), hours=0.5)
    sealed, now = gate.seal(Session("a", "ada"), HOST), time.time()
    assert gate.session(sealed, HOST) is not None
    monkeypatch.setattr(security.time, "time", lambda: now + 1801)
    assert gate.session(sealed, HOST) is None
    for hours in ("0", "-1", "nan", "1e9"):
        with pytest.raises(InputError, match="session-hours"):
            Serving(hours=float(hours))


def test_a_cookie_is_good_at_its_own_host_and_port_alone(site):
    page = site.page("Ada")
    (cookie,) = page.client.cookies.jar
    for host in ("127.0.0.1:8001", "127.0.0.1", "localhost:8000", "[::1]:8000"):
        for name in (cookie.name, site.gate.cookie(host)):
            sent = {"host": host, "cookie": f"{name}={cookie.value}"}
            assert site.stranger().get("/gallery", headers=sent).status_code == 403
    assert site.gate.cookie("127.0.0.1:8001") != cookie.name


def test_who_has_no_name_yet_sees_nothing_and_invites_nobody(folder):
    """In a blind review, the verdicts of all."""
    site = Site(folder, blind=True)
    site.page("Ada").decide(site.items.ids[0])
    guest = site.page("")
    for answer in (guest.get("/map.bin"), guest.get("/item.json"), guest.post("/invite", {"name": "Bob"})):
        assert (answer.status_code, answer.json()) == (403, {"error": "Give your name first."})
    site.store.close()


def test_the_sender_of_an_audit_cannot_come_in(tmp_path, monkeypatch):
    """They know the key that lies in its folder."""
    mine = session_secret(tmp_path / ".review.key")
    assert session_secret(tmp_path / ".review.key") == mine  # reviewers stay in
    monkeypatch.setenv("SWAYPOINT_KEYS", str(tmp_path / "senders"))
    assert session_secret(tmp_path / ".review.key") != mine
    monkeypatch.setenv("SWAYPOINT_KEYS", "/dev/null/keys")  # without a place for a key of one's own
    assert session_secret(tmp_path / ".review.key") != session_secret(tmp_path / ".review.key")


def test_the_name_of_its_own_leads_to_no_other_server():
    """It means both 127.0.0.1 and ::1; a browser tries one, and there another user may listen."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        (beside,) = _beside(listening)
        with beside, pytest.raises(OSError, match="in use"):
            socket.create_server(("::1", port), family=socket.AF_INET6)
        with socket.create_server(("::1", port), family=socket.AF_INET6):
            assert _beside(listening) is None
    gate = Gate(b"s" * 32, run="run", sessions=None)
    assert _places(Serving(), gate, True, 80)[0] == f"{gate.host}:80"
    assert _places(Serving(), gate, False, 80)[0] == "127.0.0.1:80"
    assert _places(Serving("0.0.0.0", password="correct horse"), gate, True, 80)[0] == "127.0.0.1:80"


# -- blind --------------------------------------------------------------------------------------------

KNOWN = {"index", "rank", "split", "label", "cook", "leverage"}  # all else is what the model holds of it
BLIND = [
    *("/item.json?status=open", "/item?status=open", "/item?status=open&sort=-leverage"),
    *("/gallery?sort=label", "/gallery.json?sort=-label", "/gallery.json?status=open&sort=index"),
    *("/gallery.json?verdict=bad", "/map", "/map.bin"),
    *("/progress", "/progress.json", "/classes", "/classes.json"),
]
LEAKS = [
    *("sort=suggested_label", "sort=-suggested_label", "sort=loss", "sort=-auto", "sort=margin"),
    *("suggested=3", "disagree=1", "kind=mislabeled", "like=3", "near={id}", "region=1"),
]


@pytest.fixture
def twins(audited, tmp_path):
    """Blind reviews of two audits that differ in what the model suggests, and nothing else."""
    made = []
    for name in ("one", "other"):
        folder = Path(shutil.copytree(audited, tmp_path / name))
        if made:
            table, generator = pq.read_table(folder / "scores.parquet"), np.random.default_rng(0)
            for place, column in enumerate(table.column_names):
                if column not in KNOWN:
                    shuffled = table[column].take(pa.array(generator.permutation(len(table))))
                    table = table.set_column(place, table.field(place), shuffled)
            pq.write_table(table, folder / "scores.parquet")
        made.append(Site(folder, blind=True))
    yield made
    for site in made:
        site.store.close()


def test_a_blind_view_does_not_depend_on_the_suggestion(twins):
    first = [site.page("Ada") for site in twins]
    ids = twins[0].items.ids
    assert (twins[0].items.scores["suggested_label"] != twins[1].items.scores["suggested_label"]).any()
    for page in first:
        page.decide(ids[3], "bad", way="queue")
        page.decide(ids[4], "mislabeled", label="7", way="queue")
    pages = [site.page("Bob") for site in twins]
    for page in pages:
        page.decide(ids[3], "boundary", way="queue")
        page.decide(ids[7], "bad", way="queue")
    for path in (*BLIND, *(f"/item.json?at={ids[i]}" for i in (3, 4, 5)), f"/item?at={ids[4]}"):
        one, other = (page.get(path) for page in pages)
        assert one.status_code == 200
        content = [
            answer.text.replace(page.csrf, "") for answer, page in zip((one, other), pages, strict=True)
        ]
        assert content[0] == content[1], path
    for site in twins:
        assert "suggested" not in {event.decision.label for event in site.log()}


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("view", ["gallery.json", "item.json", "map.bin", "gallery"])
def test_what_would_tell_the_suggestion_is_refused(twins, leak, view):
    page = twins[0].page()
    answer = page.get(f"/{view}?{leak.format(id=twins[0].items.ids[0])}")
    assert answer.status_code == 400
    assert "blind review" in answer.text


def test_a_blind_reviewer_cannot_take_over_what_is_hidden(twins):
    page = twins[0].page()
    sent = {"query": {}, "seq": 0, "ranges": [[0, 50]], "verdict": "mislabeled", "suggested": True}
    assert "blind review" in page.act("decide-all", **sent)["error"]
    assert "blind review" in page.act("decide-all", **sent | {"query": {"disagree": "1"}})["error"]
    assert twins[0].log() == []


# -- connections and clients --------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch):
    """The port of a server of an application that says "ok"; connections wait half a second for a request."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(connections, "most_connections", lambda: 20)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(configured(app, Serving()))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)


def asked(port, *parts, pause=0.0):
    """What comes back for the parts of a request; b"" where the server closes without an answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        for part in parts:
            try:
                client.sendall(part)
            except OSError:
                return b""
            time.sleep(pause)
        return answered(client)


def answered(client):
    """Up to the end of the application's one answer, or of the connection."""
    found = b""
    while not found.endswith(b"ok"):
        try:
            part = client.recv(1000)
        except ConnectionResetError:
            part = b""
        if not part:
            break
        found += part
    return found


REQUEST = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


def test_a_connection_that_asks_nothing_is_closed(served):
    started = time.monotonic()
    assert asked(served) == b""
    assert asked(served, b"GET / HTTP/1.1\r\n") == b""
    now_and_then = [b"GET / HTTP/1.1\r\n", *[b"a: b\r\n"] * 20]
    assert asked(served, *now_and_then, pause=0.1) == b""
    assert time.monotonic() - started < 10
    assert asked(served, REQUEST).endswith(b"ok")
    assert asked(served, REQUEST[:5], REQUEST[5:], pause=0.1).endswith(b"ok")


def test_a_connection_at_rest_between_requests_stays(served):
    with socket.create_connection(("127.0.0.1", served), timeout=10) as client:
        for _ in range(2):
            client.sendall(REQUEST)
            assert answered(client).endswith(b"ok")
            time.sleep(0.8)
        client.sendall(REQUEST[:20])
        assert answered(client) == b""  # a request that was begun does not


def test_many_silent_connections_keep_nobody_out(served, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 60.0)
    silent = [socket.create_connection(("127.0.0.1", served), timeout=10) for _ in range(100)]
    for _ in range(10):
        assert asked(served, REQUEST).endswith(b"ok")
    closed = 0
    for client in silent:
        client.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            closed += client.recv(1) == b""
        client.close()
    assert 80 <= closed < 100


def test_as_many_connections_as_files_allow(monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))
    assert connections.most_connections() == 128
    monkeypatch.setattr("resource.getrlimit", lambda _: (-1, -1))  # without limit
    assert connections.most_connections() == 512


@pytest.mark.parametrize(
    ("proxies", "shared"), [(("127.0.0.1",), False), (("127.0.0.0/8",), False), ((), True)]
)
def test_logins_are_limited_by_client_behind_a_proxy_too(folder, proxies, shared):
    site = Site(folder, password="correct horse")
    config = configured(site.app, Serving(proxies=proxies))
    config.load()
    proxy = TestClient(config.loaded_app, base_url=BASE, client=("127.0.0.1", 5000))

    def tried(client, forged=""):
        said = f"{forged}{client}"
        return proxy.post("/login", json={"password": "x"}, headers={"x-forwarded-for": said}).status_code

    assert [tried("203.0.113.5") for _ in range(12)][-1] == 429
    assert tried("203.0.113.5", forged="198.51.100.1, ") == 429  # what the client itself says is not believed
    assert tried("203.0.113.6") == (429 if shared else 403)
    site.store.close()


def test_who_is_no_trusted_proxy_says_nothing_of_its_client(folder):
    site = Site(folder, password="correct horse")
    config = configured(site.app, Serving(proxies=("10.0.0.1",)))
    config.load()
    client = TestClient(config.loaded_app, base_url=BASE, client=("192.0.2.1", 5000))
    said = [{"x-forwarded-for": f"203.0.113.{i}"} for i in range(12)]
    assert [client.post("/login", json={"password": "x"}, headers=h).status_code for h in said][-1] == 429
    with pytest.raises(InputError, match="trusted-proxy is 'proxy'"):
        Serving(proxies=("proxy",))
    site.store.close()


# -- forged logs --------------------------------------------------------------------------------------


def forge(folder: Path, *statements: str) -> None:
    """Past the guard of the table, as somebody who can write the file."""
    with contextlib.closing(sqlite3.connect(folder / "review.sqlite")) as connection, connection:
        for trigger in ("event_no_update", "event_no_delete", "event_no_replace"):
            connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            connection.execute(statement)


def chained_anew(folder: Path) -> None:
    """Every verdict is "correct", and the digests are as they should be."""
    with contextlib.closing(open_store(folder / "review.sqlite", sealed=False)) as log:
        found = log.since(AuditFolder(folder).manifest().key)
    (folder / "review.sqlite").unlink()
    with contextlib.closing(open_store(folder / "review.sqlite", sealed=False)) as log:
        log.append([replace(one, decision=Decision("correct")) for one in found])
        assert log.verify().seq == len(found)  # a chain as good as any


CUT = "DELETE FROM event WHERE seq > 2"
EDIT = "UPDATE event SET verdict = 'correct', label = NULL WHERE seq = 3"
UNSEALED = "UPDATE event SET seal = NULL WHERE seq > 2"
FALSE = "UPDATE event SET seal = (SELECT seal FROM event WHERE seq = 1) WHERE seq = 2"


@pytest.fixture
def reviewed(rows):
    """An audit with four verdicts, checked once."""
    with contextlib.closing(open_store(rows / "review.sqlite")) as log:
        items = Items(AuditFolder(rows))
        for i, verdict in enumerate(["bad", "correct", "bad", "boundary"]):
            log.append([Event(str(uuid4()), items.run, items.ids[i], "Ada", Decision(verdict), str(i))])
    assert command("verify", rows).exit_code == 0
    return rows


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (lambda folder: forge(folder, EDIT), "event 3 .* is not as it was written"),
        (lambda folder: forge(folder, CUT), "ends at event 2, and when it was anchored it had 4"),
        (lambda folder: forge(folder, FALSE), "event 2 .* has a false seal"),
        (lambda folder: forge(folder, UNSEALED), "event 3 .* has no seal"),
        (chained_anew, "at event 4 the log is not what it was when it was anchored.*; if you began it anew"),
    ],
)
def test_a_forgery_is_found_before_the_log_is_used(reviewed, attack, words, tmp_path, monkeypatch):
    attack(reviewed)
    monkeypatch.setattr("swaypoint.review.page.serve.serve", lambda *_, **__: pytest.fail("served"))
    export = ("export", "--to", "csv", "--out", tmp_path / "out.csv")
    for name, *options in (("verify",), ("review", "--no-browser"), ("compare",), export):
        done = command(name, reviewed, *options)
        assert re.search(words, str(done.exception)), (name, done.exception)
    assert not (tmp_path / "out.csv").exists()


def test_a_forgery_without_the_key_is_found_without_any_anchor(reviewed, monkeypatch):
    """An auditor who is given the key, on another machine."""
    kept = Path(os.environ["SWAYPOINT_KEYS"])
    auditor = kept.with_name("auditor")
    auditor.mkdir()
    shutil.copy(kept / "own.key", auditor / "reviewers.key")
    monkeypatch.setenv("SWAYPOINT_KEYS", str(auditor))
    assert command("verify", reviewed).exit_code == 0
    with contextlib.closing(open_store(reviewed / "review.sqlite", sealed=False)) as log:
        items = Items(AuditFolder(reviewed))
        log.append([Event(str(uuid4()), items.run, items.ids[9], "Ada", Decision("bad"), "x")])
    assert "has no seal: somebody without your key added it" in str(command("verify", reviewed).exception)


def test_who_has_no_part_in_a_log_can_still_open_it(reviewed, monkeypatch):
    monkeypatch.setenv("SWAYPOINT_KEYS", str(Path(os.environ["SWAYPOINT_KEYS"]).with_name("stranger")))
    assert command("verify", reviewed).exit_code == 0
    assert command("export", reviewed, "--to", "csv", "--out", reviewed / "out.csv").exit_code == 0


def test_a_colleagues_events_take_their_key(reviewed, monkeypatch):
    mine = Path(os.environ["SWAYPOINT_KEYS"])
    theirs = mine.with_name("colleague")
    monkeypatch.setenv("SWAYPOINT_KEYS", str(theirs))
    with contextlib.closing(open_store(reviewed / "review.sqlite")) as log:
        items = Items(AuditFolder(reviewed))
        log.append([Event(str(uuid4()), items.run, items.ids[9], "Bob", Decision("bad"), "x")])
    assert command("verify", reviewed).exit_code == 0
    monkeypatch.setenv("SWAYPOINT_KEYS", str(mine))
    assert "event 5" in str(command("verify", reviewed).exception)
    assert "the seal of a key that is not here" in str(command("verify", reviewed).exception)
    shutil.copy(theirs / "own.key", mine / "bob.key")
    assert command("verify", reviewed).exit_code == 0


def test_the_key_is_its_owners_and_outside_of_the_audit(reviewed):
    (key,) = Path(os.environ["SWAYPOINT_KEYS"]).glob("*.key")
    assert key.stat().st_mode & 0o777 == 0o600
    secret = key.read_bytes()
    assert len(secret) == 32
    assert not [file for file in reviewed.rglob("*") if file.is_file() and secret in file.read_bytes()]
    log = sqlite3.connect(reviewed / "review.sqlite")
    for digest, seal in log.execute("SELECT digest, seal FROM event"):
        assert seal.split(":")[1] == hmac.new(secret, digest.encode(), "sha256").hexdigest()
    log.close()


def test_without_a_place_for_keys_there_are_no_seals(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SWAYPOINT_KEYS", str(tmp_path / "file" / "keys"))
    with contextlib.closing(open_store(tmp_path / "review.sqlite")) as log:
        log.append([Event("e", "run", "i", "Ada", Decision("bad"), "a")])
        assert check_log(log).seq == 1


def test_a_log_of_before_there_were_seals_goes_on_with_them(rows):
    items = Items(AuditFolder(rows))
    events = [Event(str(uuid4()), items.run, items.ids[i], "Ada", Decision("bad"), str(i)) for i in range(4)]
    with contextlib.closing(open_store(rows / "review.sqlite", sealed=False)) as log:
        log.append(events[:2])
    assert command("verify", rows).exit_code == 0
    with contextlib.closing(open_store(rows / "review.sqlite")) as log:
        log.append(events[2:])
    assert command("verify", rows).exit_code == 0
    forge(rows, "UPDATE event SET note = 'x' WHERE seq = 1")  # sealed with all that follows it
    assert "event 1" in str(command("verify", rows).exception)


def test_told_to_go_on_what_is_written_says_so(reviewed, tmp_path):
    forge(reviewed, CUT)
    told = command("export", reviewed, "--to", "csv", "--out", tmp_path / "out.csv", "--unverified")
    assert told.exit_code == 0
    assert "note: the log did not verify:" in told.stdout
    first = (tmp_path / "out.changes.csv").read_text().splitlines()[1]
    assert "the log did not verify" in first
    assert "its end was cut off" in first
    told = command("compare", reviewed, "--unverified", "--seeds", "1")
    assert told.exit_code == 0, told.exception
    assert "its end was cut off" in told.stdout
    assert "its end was cut off" in json.loads((reviewed / "compare.json").read_text())["unverified"]
    assert "did not verify" in (reviewed / "compare.html").read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_digest_is_said_at_the_close(rows, how):
    with Server(rows, ("--reviewer", "Ada")) as server:
        urllib.request.urlopen(server.plain).read()  # Ada comes in, which is an event
        server.process.send_signal(how)
        said = server.process.stdout.read()
        server.process.wait(30)
    with contextlib.closing(open_store(rows / "review.sqlite")) as log:
        last = log.verify()
    assert last.seq == 2  # the server's start, too
    assert f"closed: 2 events; digest {last.digest}\n" in said
    forge(rows, "DELETE FROM event")
    assert "when it was anchored it had 2" in str(command("verify", rows).exception)
