"""A real PostgreSQL for tests: that of DATABASE_URL, or a throw-away cluster on loopback."""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest


class Cluster:
    """A PostgreSQL of our own: running when made, gone with the end of Python."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="swaypoint-postgres-"))
        self._process: subprocess.Popen | None = None
        self._user: dict = {}
        atexit.register(self._remove)
        secret = self._folder / "password"
        secret.write_text(secrets.token_hex(8))
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            known = {user.pw_name: user for user in pwd.getpwall()}
            user = known.get("postgres") or known["nobody"]
            self._user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in (self._folder, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
        options = ("-U", "swaypoint", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync")
        subprocess.run(
            [binaries / "initdb", "-D", self._folder / "data", "-E", "UTF8", "--locale=C.UTF-8", *options],
            **self._user,
            cwd=self._folder,
            check=True,
            capture_output=True,
        )
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        self.url = f"postgresql://swaypoint:{secret.read_text()}@127.0.0.1:{port}/postgres"
        self._port = port
        self.start()

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "port": self._port, "fsync": "off"}
        settings |= {"unix_socket_directories": self._folder, "max_connections": 60}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._folder / "data"]
                + [word for name, value in settings.items() for word in ("-c", f"{name}={value}")],
                **self._user,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                time.sleep(0.05)
        raise AssertionError((self._folder / "log").read_text())

    def stop(self) -> None:
        """At once, as after a crash: open connections are cut."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def _remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@functools.cache  # one for all modules that import the fixtures below
def _own() -> Cluster | None:
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    binaries = next((path for path in found if (path / "postgres").exists()), None)
    return Cluster(binaries) if binaries else None


def _absent(reason: str) -> None:
    if "postgresql" in os.environ.get("SWAYPOINT_REQUIRE", ""):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster():
    """A :class:`Cluster` that a test may stop and start."""
    return _own() or _absent("no PostgreSQL to start: install Debian's postgresql")


@pytest.fixture(scope="session")
def server_url():
    """Address of a PostgreSQL."""
    if url := os.environ.get("DATABASE_URL"):
        return "postgresql://" + url.split("://", 1)[1]  # SQLAlchemy's names of drivers are not psycopg's
    own = _own() or _absent("no PostgreSQL: set DATABASE_URL, or install Debian's postgresql")
    return own.url


@pytest.fixture
def database(server_url):
    """Address of an empty schema in it, dropped afterwards."""
    name = f"swaypoint_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    yield in_schema(server_url, name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {name} CASCADE")


def in_schema(url: str, name: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"
