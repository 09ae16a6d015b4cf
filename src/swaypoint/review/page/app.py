"""The review's web application: its addresses, and what each answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from swaypoint.errors import InputError
from swaypoint.report.page import PARTS
from swaypoint.review.items import Items
from swaypoint.review.log.sessions import Session
from swaypoint.review.log.verdicts import VERDICTS, Event, Review, StoreUnavailable
from swaypoint.review.page import findings, overview, pages
from swaypoint.review.page.assets import Assets
from swaypoint.review.page.desk import Action, Desk, View
from swaypoint.review.page.glossary import SENTENCES
from swaypoint.review.page.names import shortened
from swaypoint.review.page.pictures import SLOTS, Pictures, Sheets, Thumbnails
from swaypoint.review.page.query import BLIND_ORDERS, STATUSES, Query, quoted, sortable
from swaypoint.review.page.security import Gate, Guard, form_field, is_form, reviewer_name
from swaypoint.review.page.trust import trust
from swaypoint.scoring.kinds import KINDS, REGRESSION_KINDS

_HERE = Path(__file__).parent
_ACTIONS = 64


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


def create_app(desk: Desk, door: Door, guidelines: str = "") -> ASGIApp:
    """The application, behind its guard; ``guidelines`` for its reviewers are HTML."""
    app = FastAPI(title="swaypoint review", docs_url=None, redoc_url=None, openapi_url=None)
    templates = _Templates(desk, door, guidelines)
    app.mount("/thumb", Thumbnails(desk.items))
    app.mount("/sheet", Sheets(desk.items))
    app.mount("/picture", Pictures(desk.items))
    app.mount("/static", templates.assets)
    _add_entrance(app, templates)
    _add_sessions(app, templates)
    _add_pages(app, templates)
    _add_writing(app, desk)

    @app.exception_handler(InputError)
    def bad_input(request: Request, error: InputError) -> Response:
        return templates.problem(request, 400, str(error))

    @app.exception_handler(StoreUnavailable)
    def no_store(request: Request, error: StoreUnavailable) -> Response:
        return templates.problem(request, 503, str(error))

    @app.exception_handler(404)
    def not_found(request: Request, error: Exception) -> Response:
        return templates.problem(request, 404, "There is nothing at this address.")

    return Guard(app, gate=door.gate, hosts=door.hosts, refuse=templates.refuse)


class _Templates:
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


# -- coming in --------------------------------------------------------------------------------------


def _add_entrance(app: FastAPI, templates: _Templates) -> None:
    gate, desk = templates.door.gate, templates.desk

    def admit(request: Request, response: Response, session: Session) -> Response:
        host = request.headers["host"]
        response.set_cookie(
            gate.cookie(host),
            gate.seal(session, host),
            max_age=gate.seconds,
            httponly=True,
            samesite="strict",
            secure=templates.door.secure,
        )
        return response

    @app.get("/open")
    def open_(request: Request, token: str = "") -> Response:
        session = gate.admit(token)
        if session is None:
            if request.state.session is not None:  # the same address again, in the same browser
                return RedirectResponse("/", 303)
            return templates.html(request, "refused", 403, page="refused")
        # Not a redirect: from a link in a mail, the browser would not send the strict cookie along.
        return admit(request, templates.html(request, "opened", page="opened"), session)

    def entered(request: Request, session: Session) -> Response:
        answer = RedirectResponse("/", 303) if is_form(request.headers) else JSONResponse({"ok": True})
        return admit(request, answer, session)

    def stopped(request: Request, page: str, status: int, reason: str) -> Response:
        if is_form(request.headers):
            return templates.html(request, page, status, page=page, problem=reason)
        return JSONResponse({"error": reason}, status)

    @app.post("/login")
    async def login(request: Request) -> Response:
        session = gate.login(_text(request, await request.body(), "password"))
        if session is None:
            return stopped(request, "refused", 403, "That is not the password.")
        return entered(request, session)

    @app.get("/name")
    def name(request: Request) -> Response:
        session: Session = request.state.session
        bound = session.reviewer and not session.owner
        return RedirectResponse("/", 303) if bound else templates.html(request, "name", page="name")

    @app.post("/name")
    async def set_name(request: Request) -> Response:
        session: Session = request.state.session
        if session.reviewer and not session.owner:
            return stopped(request, "name", 403, f"You are here as {session.reviewer}, and stay so.")
        reviewer = reviewer_name(_text(request, await request.body(), "name"))
        if not reviewer:
            return stopped(request, "name", 400, "A name has at least one letter.")
        named = await run_in_threadpool(lambda: gate.name(session, reviewer, desk.reviewers()))
        if named is None:
            return stopped(request, "name", 409, f"{reviewer} is taken. Is it you? Ask for an invitation.")
        return entered(request, named)


def _add_sessions(app: FastAPI, templates: _Templates) -> None:
    gate, desk = templates.door.gate, templates.desk

    @app.post("/invite")
    async def invite(request: Request) -> Response:
        session: Session = request.state.session
        if not session.reviewer:
            return _nameless()
        said = reviewer_name(str(_json(await request.body()).get("name", "")))
        bound = said and not session.owner
        if bound and not await run_in_threadpool(lambda: gate.free(said, desk.reviewers())):
            return JSONResponse({"error": f"{said} is taken: only the owner can invite them again."}, 409)
        token = gate.invite(said, by=session.reviewer)
        return JSONResponse({"address": str(request.base_url) + f"open?token={token}"})

    @app.post("/logout")
    def logout(request: Request) -> Response:
        gate.close(request.state.session)
        response = JSONResponse({"ok": True})
        response.delete_cookie(gate.cookie(request.headers["host"]))
        return response


def _nameless() -> Response:
    return JSONResponse({"error": "Give your name first."}, 403)


def _text(request: Request, body: bytes, name: str) -> str:
    """One field of a form, or of JSON."""
    value = form_field(body, name) if is_form(request.headers) else _json(body).get(name)
    if not isinstance(value, str):
        raise InputError(f"{name} is missing")
    return value


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise InputError("the request is no JSON") from None
    if not isinstance(value, dict):
        raise InputError("the request is no JSON object")
    return value


def _no_number(text: str) -> Any:
    raise InputError(f"the request is no JSON: {text} is no number there")


# -- pages ------------------------------------------------------------------------------------------

Handler = Callable[[Request, Query, Review, str], Any]


def _add_pages(  # long: a page after the other
    app: FastAPI, templates: _Templates
) -> None:
    desk = templates.desk

    def page(path: str) -> Callable[[Handler], Handler]:
        """The handler's value at ``/path`` as HTML, and at ``/path.json`` as it is."""

        def add(handler: Handler) -> Handler:
            def value(request: Request, actor: str) -> tuple[Query, Any]:
                query = Query.parse(request.query_params)
                if path == "item" and (wanted := request.query_params.get("at")):
                    position = desk.items.position(wanted)
                    if position is not None:
                        desk.related(position)  # before the lock, which is not held for so long then
                if (path == "findings" or query.finding) and not desk.blind:
                    desk.items.found  # noqa: B018  likewise, of an audit that did not keep them
                with desk.reading(actor) as review:
                    return query, handler(request, query, review, actor)

            def as_html(request: Request) -> Response:
                if not (actor := request.state.session.reviewer):
                    return RedirectResponse("/name", 303)
                query, content = value(request, actor)
                if isinstance(content, Response):
                    return content
                filters = _filters(desk) if path in ("gallery", "item", "map") else {}
                window = _plain(content) if path == "gallery" else None
                axes = _plain(content.axes) if path == "map" else None
                shown = {"content": content, "query": query, "window": window, "axes": axes}
                return templates.html(request, path, page=path, **shown, **filters)

            def as_json(request: Request) -> Response:
                if not (actor := request.state.session.reviewer):
                    return _nameless()
                _, content = value(request, actor)
                return content if isinstance(content, Response) else _compact(content)

            app.get(f"/{path}")(as_html)
            app.get(f"/{path}.json")(as_json)
            return handler

        return add

    @app.get("/")
    def start() -> Response:
        return RedirectResponse("/item?status=open", 303)

    @page("gallery")
    def gallery(request: Request, query: Query, review: Review, actor: str) -> Any:
        view = _view(desk, request, query, actor)
        return pages.gallery(desk, review, view, actor, _number(request, "start") or 0)

    @page("item")
    def item(request: Request, query: Query, review: Review, actor: str) -> Any:
        view = _view(desk, request, query, actor)
        if wanted := request.query_params.get("at"):
            position = desk.items.position(wanted)
            if position is None:
                raise InputError(f"there is no point {wanted!r} in this audit")
        else:
            position = desk.first_waiting(view, actor)
            if position is None:  # all done, or nothing matches
                return pages.finished(view)
        shown = pages.item_page(desk, review, view, actor, position)
        desk.look((shown.id, shown.waiting), actor)
        return shown

    @page("map")
    def map_(request: Request, query: Query, review: Review, actor: str) -> Any:
        return pages.map_page(desk, _view(desk, request, query, actor))

    @page("progress")
    def progress(request: Request, query: Query, review: Review, actor: str) -> Any:
        return overview.progress_page(desk, review)

    @page("classes")
    def classes(request: Request, query: Query, review: Review, actor: str) -> Any:
        return overview.classes_page(desk, review)

    @page("findings")
    def findings_(request: Request, query: Query, review: Review, actor: str) -> Any:
        return findings.findings_page(desk, review, actor)

    @app.get("/point.json")
    def point(request: Request) -> Response:
        return _compact(pages.point(desk, _number(request, "position") or 0))

    @app.get("/map.bin")
    def map_points(request: Request) -> Response:
        if not (actor := request.state.session.reviewer):  # who may see everybody's verdicts
            return _nameless()
        query = Query.parse(request.query_params)
        with desk.reading(actor) as review:
            points = pages.map_points(desk, review, _view(desk, request, query, actor), actor)
        return Response(points, media_type="application/octet-stream")


def _view(desk: Desk, request: Request, query: Query, actor: str) -> View:
    return desk.view(query, actor, _number(request, "seq"))


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 15:
        raise InputError(f"{name}={text!r} in the address makes no sense")
    return int(text)


def _filters(desk: Desk) -> dict[str, Any]:
    """What the filter bar offers."""
    columns = [name for name in sortable(desk.items) if not (desk.blind and name not in BLIND_ORDERS)]
    names = [name for name in columns if name not in ("index", "rank", "label", "suggested_label")]
    sorts = [("rank", "most influential"), ("-rank", "least influential"), ("index", "dataset order")]
    for name in names:
        sorts += [(f"-{name}", f"{name}, high first"), (name, f"{name}, low first")]
    if "auto" in names:
        sorts.insert(1, ("-auto", "probably wrong first"))
        sorts.remove(("-auto", "auto, high first"))
    statuses = [status for status in STATUSES if status != "conflict" or not desk.blind]
    kinds = REGRESSION_KINDS if "studentised" in desk.items.scores else KINDS
    return {"columns": columns, "sorts": sorts, "statuses": statuses, "kinds": kinds}


def _compact(content: Any) -> Response:
    """JSON without what is None."""
    text = json.dumps(_plain(content), separators=(",", ":"), ensure_ascii=False)
    return Response(text, media_type="application/json")


def _plain(value: Any) -> Any:
    """Values for JSON, without what is None; five times as fast as dataclasses.asdict."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(part) for name, part in vars(value).items() if part is not None}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


# -- writing ----------------------------------------------------------------------------------------


def _add_writing(app: FastAPI, desk: Desk) -> None:
    def perform(actor: str, body: bytes) -> Response:
        sent = _json(body).get("actions")
        if not isinstance(sent, list) or len(sent) > _ACTIONS:
            raise InputError(f"expected a list of at most {_ACTIONS} actions")
        parsed = [_parsed(value) for value in sent]
        done = iter(desk.perform(actor, [action for action in parsed if isinstance(action, Action)]))
        results = [next(done) if isinstance(action, Action) else action for action in parsed]
        return JSONResponse({"results": [_result(result, desk.items) for result in results]})

    @app.post("/actions")
    async def actions(request: Request) -> Response:
        if not (actor := request.state.session.reviewer):
            return _nameless()
        return await run_in_threadpool(perform, actor, await request.body())


def _parsed(value: Any) -> Action | InputError:
    try:
        return Action.parse(value)
    except InputError as error:
        return error


def _result(result: list[Event] | InputError, items: Items) -> dict[str, Any]:
    """The points that changed (the first hundred), and what the reviewer said of them before and says now."""
    if isinstance(result, InputError):
        return {"error": str(result)}
    return {"count": len(result), "items": [_changed(event, items) for event in result[:100]]}


def _changed(event: Event, items: Items) -> dict[str, Any]:
    position = items.position(event.item)
    named = (
        {}
        if position is None
        else {"rank": int(items.scores["rank"][position]), "label": items.label(position)}
    )
    said = {
        name: None if one is None else asdict(one)
        for name, one in (("decision", event.decision), ("before", event.before))
    }
    return {"id": event.item, **named, **said}
