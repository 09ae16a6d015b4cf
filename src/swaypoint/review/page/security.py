"""Who may enter the review page, and what a request may be: checked before any handler runs.

The page runs on the reviewer's own machine, where every other page in the same browser, and every other
user, can send requests to it. Hence: a one-time token in the printed address becomes a signed cookie
that scripts cannot read and other sites cannot send, and that goes to no other port; the Host must be a known
one (DNS rebinding); a write must come from this page (Origin, Sec-Fetch-Site) and carry a token that only
this page has, in a header or in a field of its form.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from swaypoint.review.log.keys import kept, user_keys
from swaypoint.review.log.sessions import CLOSED, Session, Sessions, same_name

CSRF_HEADER = "x-swaypoint-csrf"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
BODY_LIMIT = 256 * 1024
SESSION_HOURS = 30 * 24
_BODY_SECONDS, _DIGITS = 20, 20
_NAME_LENGTH = 60
_TOKENS = 100
_OPEN_PATHS = ("/open", "/login", "/static/")
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def reviewer_name(text: str) -> str:
    """``text`` as a name: one line of at most 60 printable characters; empty if nothing is left.

    >>> reviewer_name("  Ada\\n Lovelace ")
    'Ada Lovelace'
    """
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:_NAME_LENGTH].strip()


def kept_secret(path: Path) -> bytes:
    """The key that signs sessions, kept in a file that only its owner reads, so that reviewers stay in
    when the server starts again; where it cannot be kept, a new one."""
    try:
        secret, own = kept(path), path.stat().st_mode & 0o077 == 0
    except OSError:
        return secrets.token_bytes(32)
    return secret if own and len(secret) == 32 else secrets.token_bytes(32)


def session_secret(path: Path) -> bytes:
    """What signs sessions: by the key in ``path``, see :func:`kept_secret`, and by the user's own, which is
    not in the folder, as who gave the folder away must not come in. Without one of the user's, a new one."""
    keys = user_keys()
    if keys is None:
        return secrets.token_bytes(32)
    return hmac.digest(keys.secrets[keys.own], kept_secret(path), "sha256")


class Gate:
    """Invitations, sessions and the password.

    A session holds for the host and port at which it was opened, and only there. The cookie itself does not
    know of ports: every server of this machine would be sent it. So the page has a name of its own,
    :attr:`host`, which nobody can guess, and the cookie goes to no other.

    Args:
        secret: signs sessions, 32 bytes.
        run: key of the audit.
        sessions: in the log.
        password: lets in without an invitation; None: invitations only.
        hours: how long a session lasts.

    Attributes:
        host: a name of this machine's own, under ``localhost``.
    """

    def __init__(
        self,
        secret: bytes,
        *,
        run: str,
        sessions: Sessions,
        password: str | None = None,
        hours: float = SESSION_HOURS,
    ) -> None:
        self._secret = hmac.digest(secret, run.encode(), "sha256")
        self.host = f"swaypoint-{self._sign('host', '')[:24]}.localhost"
        self.seconds = round(3600 * hours)
        self._run, self._sessions = run[:12], sessions
        self._password = None if password is None else _digest(password)
        self._invited: OrderedDict[str, Session] = OrderedDict()
        self._lock, self._naming = threading.Lock(), threading.Lock()

    @property
    def takes_password(self) -> bool:
        return self._password is not None

    def cookie(self, host: str) -> str:
        """The cookie's name at ``host``: one machine may show several audits, or one twice."""
        port = host.rpartition(":")[2]
        return f"swaypoint-{port if port.isdecimal() else ''}-{self._run}"

    def invite(self, reviewer: str = "", *, owner: bool = False, by: str = "") -> str:
        """A token that lets one browser in, once, under the name ``reviewer``; empty: it gives a free one."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._invited[token] = Session(secrets.token_hex(16), reviewer, owner, by)
            while len(self._invited) > _TOKENS:
                self._invited.popitem(last=False)
        return token

    def admit(self, token: str) -> Session | None:
        """The session that ``token`` opens; it is used up.

        Raises:
            StoreUnavailable: the log does not take it.
        """
        with self._lock:
            # Every token is compared, in constant time each, whichever it is.
            found = [known for known in self._invited if hmac.compare_digest(known.encode(), token.encode())]
            if not found:
                return None
            session = self._invited[found[0]]
            if session.reviewer:
                self._sessions.open(session)
            return self._invited.pop(found[0])

    def login(self, password: str) -> Session | None:
        right = self._password is not None and hmac.compare_digest(self._password, _digest(password))
        return Session(secrets.token_hex(16)) if right else None

    def free(self, name: str, reviewers: Iterable[str]) -> bool:
        """Nobody has come in, was invited or has reviewed under the name, or one that looks like it.

        Args:
            reviewers: those in the log.
        """
        with self._lock:
            invited = [session.reviewer for session in self._invited.values()]
        like = same_name(name)
        return not self._sessions.named(name) and like not in map(same_name, (*invited, *reviewers))

    def name(self, session: Session, reviewer: str, reviewers: Iterable[str]) -> Session | None:
        """The session under that name, from now on and in the log; None: it is not :meth:`free`, and the
        session not the owner's."""
        named = replace(session, reviewer=reviewer)
        with self._naming:  # two cannot take it at once
            if not session.owner and not self.free(reviewer, reviewers):
                return None
            self._sessions.open(named)
        return named

    def close(self, session: Session) -> None:
        """The reviewer leaves."""
        if session.reviewer:
            self._sessions.end(session, CLOSED, session.reviewer)

    def seal(self, session: Session, host: str) -> str:
        """The cookie's value, for that host and port."""
        record = json.dumps([session.id, session.owner, session.by, host.lower(), int(time.time())]).encode()
        body = base64.urlsafe_b64encode(record).decode().rstrip("=")  # which a cookie would have to quote
        return f"{body}.{self._sign('session at a host', body)}"

    def session(self, value: str, host: str) -> Session | None:
        """Of a cookie's value; None unless this gate sealed it for this host and port, not too long ago, and
        it has not ended."""
        body, _, signature = value.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("session at a host", body).encode()):
            return None
        identity, owner, by, sealed, at = json.loads(base64.urlsafe_b64decode(f"{body}=="))
        if sealed != host.lower() or time.time() - at >= self.seconds:
            return None
        found = self._sessions.find(identity) or Session(identity, "", owner, by)
        return None if found.ended else found

    @property
    def stale(self) -> bool:
        """What others ended is not known for a second or more."""
        return self._sessions.stale

    def follow(self) -> None:
        """Learn which sessions have ended; where the log cannot be read just now, those known stay."""
        self._sessions.catch_up()

    def csrf(self, session: Session) -> str:
        """What a write of this session carries in its header."""
        return self._sign("csrf", session.id)

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.digest(self._secret, f"{purpose}:{text}".encode(), "sha256").hex()


def _digest(password: str) -> bytes:
    # JSON can hold half a surrogate pair.
    return hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()


class Allowance:
    """A token bucket a key: ``rate`` a second, ``burst`` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Seconds until the next is allowed; 0.0: this one is, and it is counted."""
        now = monotonic()
        left, at = self._left.pop(key, (float(self.burst), now))
        left = min(self.burst, left + (now - at) * self.rate)
        allowed = left >= 1.0
        self._left[key] = (left - 1.0 if allowed else left, now)
        while len(self._left) > 10_000:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self.rate


class Guard:
    """ASGI middleware: every check of the module's text, then ``app`` with ``scope["state"]["session"]``.

    Args:
        hosts: names that the Host header may have, without port.
        refuse: makes the page for who has no session.
    """

    def __init__(self, app: ASGIApp, *, gate: Gate, hosts: Iterable[str], refuse: ASGIApp) -> None:
        self.app, self.gate, self.hosts, self.refuse = app, gate, frozenset(hosts), refuse
        self._requests, self._pictures = Allowance(50, 200), Allowance(2000, 5000)
        self._logins = Allowance(0.2, 10)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":  # nothing here speaks over websockets
            await self._checked(scope, receive, _with_headers(scope["path"], send))

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if _host_name(headers.get("host", "")) not in self.hosts:
            await _refusal(403, "This server does not answer to that host name.")(scope, receive, send)
            return
        if self.gate.stale:
            await run_in_threadpool(self.gate.follow)
        session = self._session(headers.get("cookie", ""), headers.get("host", ""))
        scope.setdefault("state", {})["session"] = session
        if wait := self._wait(scope, session):
            slower = _refusal(429, "Too many requests; wait a moment.")
            slower.headers["retry-after"] = str(max(1, round(wait)))
            await slower(scope, receive, send)
            return
        is_open = scope["path"].startswith(_OPEN_PATHS)
        if session is None and not is_open:
            await self.refuse(scope, receive, send)
            return
        if scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        foreign = _refusal(403, "A write must come from this page; reload it.")
        by_form = is_form(headers)
        known = session is None or by_form or self._has_csrf(headers.get(CSRF_HEADER, ""), session)
        if not _same_origin(headers) or not known:
            await foreign(scope, receive, send)
            return
        body = await _body(headers, receive)
        if isinstance(body, Response):
            await body(scope, receive, send)
            return
        if by_form and session is not None and not self._has_csrf(form_field(body, "csrf") or "", session):
            await foreign(scope, receive, send)
            return
        await self.app(scope, _replay(body, receive), send)

    def _session(self, cookies: str, host: str) -> Session | None:
        try:
            morsel = SimpleCookie(cookies).get(self.gate.cookie(host))
        except CookieError:
            return None
        return None if morsel is None else self.gate.session(morsel.value, host)

    def _wait(self, scope: Scope, session: Session | None) -> float:
        path, client = scope["path"], (scope.get("client") or ("",))[0]
        if path in ("/login", "/open"):
            return self._logins.wait(client)
        if path.startswith(("/sheet/", "/thumb/", "/picture/", "/static/")):
            return self._pictures.wait(session.id if session else client)
        return self._requests.wait(session.id if session else client)

    def _has_csrf(self, sent: str, session: Session) -> bool:
        return hmac.compare_digest(sent.encode(), self.gate.csrf(session).encode())


def is_form(headers: Headers) -> bool:
    """Whether a request is a form's, of a page without scripts or before they ran."""
    return headers.get("content-type", "").partition(";")[0].strip() == "application/x-www-form-urlencoded"


def form_field(body: bytes, name: str) -> str | None:
    """A field of a form; None where there is none, or no form."""
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=20)).get(name)
    except ValueError:
        return None


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same_origin(headers: Headers) -> bool:
    """The browser says so; a client that says nothing is no browser, and cannot be made to write.

    Compared without the scheme: a proxy may speak TLS for this server.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site not in (None, "same-origin"):
        return False
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == headers.get("host")
    except ValueError:  # a bracket without its other
        return False


def _refusal(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status)


async def _body(headers: Headers, receive: Receive) -> bytes | Response:
    """The whole of it, or the answer to one that is too large or too slow."""
    too_large = _refusal(413, f"A request has at most {BODY_LIMIT // 1024} kB.")
    length = headers.get("content-length", "0")
    # Python reads no number of more than 4,300 digits.
    if not length.isdecimal() or len(length) > _DIGITS or int(length) > BODY_LIMIT:
        return too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > BODY_LIMIT:
                    return too_large
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        return _refusal(408, "The request did not arrive in time.")


def _replay(body: bytes, receive: Receive) -> Receive:
    """``receive`` with what was read already in front."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


def _with_headers(path: str, send: Send) -> Send:
    # The address of a static file holds a digest of it.
    kept = "public, max-age=31536000, immutable" if path.startswith("/static/") else "no-store"

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", kept if message["status"] == 200 else "no-store")
        await send(message)

    return sent
