"""Runs the review page's server: where it listens, whom it answers, and what it says at the start."""

from __future__ import annotations

import errno
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_network
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from swaypoint.errors import InputError
from swaypoint.review.items import Items
from swaypoint.review.log.served import Servings
from swaypoint.review.log.sessions import Sessions
from swaypoint.review.log.verdicts import Store
from swaypoint.review.page.answers import Door
from swaypoint.review.page.app import create_app
from swaypoint.review.page.connections import BoundedConnection
from swaypoint.review.page.desk import Desk
from swaypoint.review.page.security import LOOPBACK, SESSION_HOURS, Gate, reviewer_name, session_secret
from swaypoint.review.page.work import Work

_DYNAMIC = 49_152  # first of the ports that nobody owns
_EVERYWHERE = ("0.0.0.0", "::")
_SHORTEST_PASSWORD = 8
_MOST_HOURS = 24 * 366
EXPOSED = (
    "Other machines can reach this page, and everything between them and this one can read the password and"
    " the data: there is no TLS. Put a proxy that speaks TLS in front (and say --tls-proxy), or leave --host"
    " out and let reviewers come through: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE"
)


@dataclass(frozen=True)
class Serving:
    """Where and for whom.

    Attributes:
        host, port: where to listen; port 0: always the same for an audit, as verdicts that a browser still
            keeps belong to an address, or any free one where that is taken.
        reviewer: name of who opens the printed address; empty: the page asks.
        password: lets in who has no address; must be there if ``host`` is not this machine alone.
        names: further names by which the server is reached.
        tls_proxy: a proxy in front speaks TLS.
        guidelines: HTML for the reviewers, see :func:`~swaypoint.review.page.guidelines.rendered`.
        blind, checks: see :class:`~swaypoint.review.page.desk.Desk`.
        hours: how long a session lasts.
        proxies: addresses, or networks, of proxies that are believed when they say who the client is.
    """

    host: str = "127.0.0.1"
    port: int = 0
    reviewer: str = ""
    password: str | None = None
    names: tuple[str, ...] = ()
    tls_proxy: bool = False
    blind: bool = False
    hours: float = SESSION_HOURS
    proxies: tuple[str, ...] = ()
    checks: Mapping[str, bool] | None = None
    guidelines: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.hours <= _MOST_HOURS:
            raise InputError(
                f"--session-hours is {self.hours:g}; expected more than 0, at most {_MOST_HOURS}"
            )
        for proxy in self.proxies:
            try:
                ip_network(proxy)
            except ValueError:
                raise InputError(
                    f"--trusted-proxy is {proxy!r}; expected an address such as 127.0.0.1, or 10.0.0.0/8"
                ) from None
        if self.host in LOOPBACK:
            return
        if self.password is None:
            raise InputError(
                f"--host {self.host} lets other machines in; give a password by --password-file or in"
                " SWAYPOINT_PASSWORD"
            )
        if len(self.password) < _SHORTEST_PASSWORD:
            raise InputError(f"the password is too short; expected {_SHORTEST_PASSWORD} characters or more")


def serve(
    items: Items,
    store: Store,
    serving: Serving,
    *,
    tell: Callable[[str], None],
    browser: bool = True,
    at_end: Callable[[], None] = lambda: None,
) -> None:
    """Serve until interrupted.

    Args:
        tell: takes the address and the warnings.
        browser: open the address.
        at_end: called once nobody is served any more, however it ends.
    """
    listening = _listen(serving, items.run)
    port = int(listening.getsockname()[1])
    beside = _beside(listening)
    gate = Gate(
        session_secret(items.folder.path / ".review.key"),
        run=items.run,
        sessions=Sessions(store, items.run),
        password=serving.password,
        hours=serving.hours,
    )
    door = Door(gate, _names(serving) | {gate.host}, secure=serving.tls_proxy)
    desk = Desk(items, store, blind=serving.blind, checks=serving.checks)
    Servings(store, items.run).begin(blind=serving.blind)
    work = Work(items, store.address)
    app = create_app(desk, door, serving.guidelines, work)
    token = gate.invite(reviewer_name(serving.reviewer), owner=True)
    address, plain = (
        f"http://{name}/open?token={token}" for name in _places(serving, gate, beside is not None, port)
    )
    if serving.host not in LOOPBACK and not serving.tls_proxy:
        tell(EXPOSED.format(port=port))
    tell(f"review: {address}")
    if plain != address:
        tell(f"Should the browser not find that name (Safari): {plain}")
    tell("The address lets one browser in, once. Ctrl+C stops; every verdict is saved as it is given.")
    first = int(items.order("rank")[0])
    threading.Thread(target=desk.related, args=(first,), daemon=True).start()  # the first one is slow
    if browser:
        threading.Thread(target=webbrowser.open, args=(_for_browser(address, plain),), daemon=True).start()
    sockets = [listening, *(beside or ())]
    with ExitStack() as stack:
        for one in sockets:
            stack.enter_context(one)
        stack.callback(work.stop)
        _Server(configured(app, serving), at_end).run(sockets=sockets)


class _Server(uvicorn.Server):
    """One that says when it has ended: after a signal, ``run`` sends itself the same again."""

    def __init__(self, config: uvicorn.Config, at_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._at_end = at_end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._at_end()


def configured(app: ASGIApp, serving: Serving) -> uvicorn.Config:
    """How the server runs the application."""
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        log_level="warning",
        access_log=False,  # it would show the token
        server_header=False,
        proxy_headers=bool(serving.proxies),
        forwarded_allow_ips=list(serving.proxies),
        lifespan="off",
        ws="none",
        timeout_keep_alive=60,
        timeout_graceful_shutdown=3,
    )


def _for_browser(address: str, plain: str) -> str:
    """Safari asks the system for names, which may not know those under localhost; others know themselves."""
    if sys.platform != "darwin":
        return address
    try:
        socket.getaddrinfo(urlsplit(address).hostname, None)
    except OSError:
        return plain
    return address


def _places(serving: Serving, gate: Gate, ours: bool, port: int) -> tuple[str, str]:
    """Host and port to open: by the name of its own where only this machine is listened to, and the port is
    ``ours`` alone; and without."""
    named = serving.host if serving.host not in _EVERYWHERE else "127.0.0.1"
    plain = f"[{named}]:{port}" if ":" in named else f"{named}:{port}"
    return (f"{gate.host}:{port}" if ours and serving.host in LOOPBACK else plain), plain


def _listen(serving: Serving, run: str) -> socket.socket:
    """A socket that listens there.

    Raises:
        InputError: the port is taken, or the host is not this machine's.
    """
    own = _DYNAMIC + int.from_bytes(run.encode()[:8], "big") % (65_536 - _DYNAMIC)
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    for port in (serving.port,) if serving.port else (own, 0):
        try:
            listening = socket.create_server((serving.host, port), family=family, backlog=256)
        except OSError as error:
            reason = error.strerror or str(error)
            continue
        # Connections inherit it. Without, each answer waits 40 ms for an acknowledgement between its
        # header and its body; asyncio sets it only where the socket names its protocol, as this does not.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    raise InputError(f"cannot listen on {serving.host} port {serving.port}: {reason}")


def _beside(listening: socket.socket) -> list[socket.socket] | None:
    """Where this machine is listened to, its other address, at the same port: a name under localhost means
    both, and a browser may try the other first. None: somebody else has it."""
    pairs = {"127.0.0.1": (socket.AF_INET6, "::1"), "::1": (socket.AF_INET, "127.0.0.1")}
    host, port = listening.getsockname()[:2]
    if host not in pairs:
        return []
    family, other = pairs[host]
    try:
        found = socket.create_server((other, port), family=family, backlog=256)
    except OSError as error:
        return None if error.errno == errno.EADDRINUSE else []  # as where there is no IPv6
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return [found]


def _names(serving: Serving) -> frozenset[str]:
    names = {*LOOPBACK, serving.host, *serving.names}
    if serving.host in _EVERYWHERE:
        own = socket.gethostname()
        names |= {own, socket.getfqdn()}
        with suppress(OSError):  # a machine may not know its own name
            names |= {str(found[4][0]) for found in socket.getaddrinfo(own, None)}
    return frozenset(name.lower() for name in names)
