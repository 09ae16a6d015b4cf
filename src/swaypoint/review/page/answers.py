"""How the review's application answers: pages as HTML, values as JSON, and refusals."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, FileSystemLoader
from starlette.types import Receive, Scope, Send

from swaypoint.errors import InputError
from swaypoint.report.page import PARTS
from swaypoint.review.log.sessions import Session
from swaypoint.review.log.verdicts import VERDICTS
from swaypoint.review.page.asked import waiting
from swaypoint.review.page.assets import Assets
from swaypoint.review.page.desk import Desk
from swaypoint.review.page.glossary import SENTENCES
from swaypoint.review.page.names import shortened
from swaypoint.review.page.pictures import SLOTS
from swaypoint.review.page.query import quoted
from swaypoint.review.page.security import Gate, form_field, is_form
from swaypoint.review.page.trust import trust

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Door:
    """How reviewers come in.

    Attributes:
        gate: tokens, sessions, password.
        hosts: names that the server answers to.
        secure: cookies go over TLS only, which a proxy in front speaks.
    """

    gate: Gate
    hosts: frozenset[str]
    secure: bool = False


class Templates:
    """Pages as HTML: what they all share, and the refusals."""

    def __init__(self, desk: Desk, door: Door, guidelines: str) -> None:
        self.guidelines = guidelines
        self.desk, self.door, self.assets = desk, door, Assets(_HERE / "static", PARTS)
        self._environment = Environment(
            loader=FileSystemLoader([_HERE / "templates", PARTS]),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._short = {name: asdict(one) for name, one in shortened(desk.items.classes).items()}
        self._environment.filters |= {"quoted": quoted, "count": "{:,}".format}

    def html(self, request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        session: Session | None = request.state.session
        shared = {
            "items": self.desk.items,
            "blind": self.desk.blind,
            "session": session,
            "csrf": "" if session is None else self.door.gate.csrf(session),
            "takes_password": self.door.gate.takes_password,
            "verdicts": VERDICTS,
            "slots": SLOTS,
            "static": f"/static/{self.assets.digest}",
            "trouble": self.desk.trouble,
            "short": self._short,
            "glossary": SENTENCES,
            "guidelines": self.guidelines,
            "waiting": waiting(self.desk, session) if session and session.reviewer else 0,
            "trust": trust(self.desk.items.manifest.diagnostics),
        }
        return HTMLResponse(self._environment.get_template(f"{name}.html").render(shared | values), status)

    def problem(self, request: Request, status: int, reason: str) -> Response:
        if request.method != "GET" or request.url.path.endswith(".json"):
            return JSONResponse({"error": reason}, status)
        return self.html(request, "problem", status, page="problem", reason=reason)

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page of who has no session."""
        request = Request(scope, receive)
        if request.method == "GET" and not request.url.path.endswith((".json", ".bin")):
            response: Response = self.html(request, "refused", 403, page="refused")
        else:
            response = JSONResponse({"error": "This needs the address that `swaypoint review` printed."}, 403)
        await response(scope, receive, send)


def nameless() -> Response:
    return JSONResponse({"error": "Give your name first."}, 403)


def text_of(request: Request, body: bytes, name: str) -> str:
    """One field of a form, or of JSON."""
    value = form_field(body, name) if is_form(request.headers) else json_of(body).get(name)
    if not isinstance(value, str):
        raise InputError(f"{name} is missing")
    return value


def json_of(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise InputError("the request is no JSON") from None
    if not isinstance(value, dict):
        raise InputError("the request is no JSON object")
    return value


def _no_number(text: str) -> Any:
    raise InputError(f"the request is no JSON: {text} is no number there")


def number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 15:
        raise InputError(f"{name}={text!r} in the address makes no sense")
    return int(text)


def compact(content: Any) -> Response:
    """JSON without what is None."""
    text = json.dumps(plain(content), separators=(",", ":"), ensure_ascii=False)
    return Response(text, media_type="application/json")


def plain(value: Any) -> Any:
    """Values for JSON, without what is None; five times as fast as dataclasses.asdict."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(part) for name, part in vars(value).items() if part is not None}
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value
