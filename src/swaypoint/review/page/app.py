"""The review's web application: its addresses, and what each answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from swaypoint.errors import InputError
from swaypoint.findings.outliers import FOREIGN
from swaypoint.review.items import Items
from swaypoint.review.log.sessions import Session
from swaypoint.review.log.verdicts import Event, Review, StoreUnavailable
from swaypoint.review.page import asked, findings, overview, pages, saved, together
from swaypoint.review.page.actions import Action
from swaypoint.review.page.answers import (
    Door,
    Templates,
    compact,
    json_of,
    nameless,
    number,
    plain,
    text_of,
)
from swaypoint.review.page.desk import Desk, View
from swaypoint.review.page.pictures import Pictures, Sheets, Thumbnails
from swaypoint.review.page.query import BLIND_ORDERS, STATUSES, Query, sortable
from swaypoint.review.page.security import Guard, is_form, reviewer_name
from swaypoint.review.page.work import Work
from swaypoint.scoring.kinds import KINDS, REGRESSION_KINDS

_ACTIONS = 64
_VIEWS = ("gallery", "item", "map")
_WHOLE = ("progress", "classes", "findings", "views", "questions")
"""Pages of the review as a whole: they may look for long at how it is now."""


def create_app(desk: Desk, door: Door, guidelines: str = "", work: Work | None = None) -> ASGIApp:
    """The application, behind its guard; ``guidelines`` for its reviewers are HTML."""
    work = work or Work(desk.items, desk.store.address)
    app = FastAPI(title="swaypoint review", docs_url=None, redoc_url=None, openapi_url=None)
    templates = Templates(desk, door, guidelines)
    app.mount("/thumb", Thumbnails(desk.items))
    app.mount("/sheet", Sheets(desk.items))
    app.mount("/picture", Pictures(desk.items))
    app.mount("/static", templates.assets)
    _add_entrance(app, templates)
    _add_sessions(app, templates)
    _add_pages(app, templates)
    _add_writing(app, desk, work)
    _add_work(app, templates, work)

    @app.exception_handler(InputError)
    def bad_input(request: Request, error: InputError) -> Response:
        return templates.problem(request, 400, str(error))

    @app.exception_handler(saved.Forbidden)
    def forbidden(request: Request, error: saved.Forbidden) -> Response:
        return templates.problem(request, 403, str(error))

    @app.exception_handler(StoreUnavailable)
    def no_store(request: Request, error: StoreUnavailable) -> Response:
        return templates.problem(request, 503, str(error))

    @app.exception_handler(404)
    def not_found(request: Request, error: Exception) -> Response:
        return templates.problem(request, 404, "There is nothing at this address.")

    return Guard(app, gate=door.gate, hosts=door.hosts, refuse=templates.refuse)


# -- coming in --------------------------------------------------------------------------------------


def _add_entrance(app: FastAPI, templates: Templates) -> None:
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
        session = gate.login(text_of(request, await request.body(), "password"))
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
        reviewer = reviewer_name(text_of(request, await request.body(), "name"))
        if not reviewer:
            return stopped(request, "name", 400, "A name has at least one letter.")
        named = await run_in_threadpool(lambda: gate.name(session, reviewer, desk.reviewers()))
        if named is None:
            return stopped(request, "name", 409, f"{reviewer} is taken. Is it you? Ask for an invitation.")
        return entered(request, named)


def _add_sessions(app: FastAPI, templates: Templates) -> None:
    gate, desk = templates.door.gate, templates.desk

    @app.post("/invite")
    async def invite(request: Request) -> Response:
        session: Session = request.state.session
        if not session.reviewer:
            return nameless()
        said = reviewer_name(str(json_of(await request.body()).get("name", "")))
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


# -- pages ------------------------------------------------------------------------------------------

Handler = Callable[[Request, Query, Review, str], Any]


def _add_pages(  # long: a page after the other
    app: FastAPI, templates: Templates
) -> None:
    desk = templates.desk

    def page(path: str) -> Callable[[Handler], Handler]:
        """The handler's value at ``/path`` as HTML, and at ``/path.json`` as it is."""

        def add(handler: Handler) -> Handler:
            def value(request: Request, actor: str) -> tuple[Query, Any]:
                query = Query.parse(request.query_params)
                _prepare(desk, path, request, query, actor)
                if path in _WHOLE:
                    return query, handler(request, query, desk.snapshot(actor), actor)
                with desk.reading(actor) as review:
                    return query, handler(request, query, review, actor)

            def as_html(request: Request) -> Response:
                if not (actor := request.state.session.reviewer):
                    return RedirectResponse("/name", 303)
                query, content = value(request, actor)
                if isinstance(content, Response):
                    return content
                filters = _filters(desk, request) if path in _VIEWS else {}
                if path == "gallery":
                    filters["to"] = together.likeliest(desk, query, actor, content.seq)
                window = plain(content) if path == "gallery" else None
                axes = plain(content.axes) if path == "map" else None
                shown = {"content": content, "query": query, "window": window, "axes": axes}
                return templates.html(request, path, page=path, **shown, **filters)

            def as_json(request: Request) -> Response:
                if not (actor := request.state.session.reviewer):
                    return nameless()
                _, content = value(request, actor)
                return content if isinstance(content, Response) else compact(content)

            app.get(f"/{path}")(as_html)
            app.get(f"/{path}.json")(as_json)
            return handler

        return add

    @app.get("/")
    def start(request: Request) -> Response:
        return RedirectResponse(saved.start(desk, request.state.session), 303)

    @page("gallery")
    def gallery(request: Request, query: Query, review: Review, actor: str) -> Any:
        view = _view(desk, request, query, actor)
        return pages.gallery(desk, review, view, actor, number(request, "start") or 0)

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
                return pages.finished(desk, view, actor)
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

    @page("questions")
    def questions(request: Request, query: Query, review: Review, actor: str) -> Any:
        return asked.questions_page(desk, request.state.session)

    @app.get("/together.json")
    def set_together(request: Request) -> Response:
        if not (actor := request.state.session.reviewer):
            return nameless()
        query, label = Query.parse(request.query_params), request.query_params.get("to", "")
        desk.prepare(query, actor)
        with desk.reading(actor) as review:
            seq, count = number(request, "seq"), number(request, "count") or 0
            now = review.seq if seq is None else seq
            return compact(together.preview(desk, actor, query, now, count, label))

    @page("views")
    def views(request: Request, query: Query, review: Review, actor: str) -> Any:
        return saved.views_page(desk, request.state.session)

    @app.get("/point.json")
    def point(request: Request) -> Response:
        return compact(pages.point(desk, number(request, "position") or 0))

    @app.get("/map.bin")
    def map_points(request: Request) -> Response:
        if not (actor := request.state.session.reviewer):  # who may see everybody's verdicts
            return nameless()
        query = Query.parse(request.query_params)
        desk.prepare(query, actor)
        with desk.reading(actor) as review:
            view, said = _view(desk, request, query, actor), pages.verdicts(desk, review, actor)
        points = pages.map_points(desk, view, said)
        return Response(points, media_type="application/octet-stream")


def _prepare(desk: Desk, path: str, request: Request, query: Query, actor: str) -> None:
    """What takes long, before the lock, which is not held for so long then."""
    if (path == "findings" or query.finding) and not desk.blind:
        desk.items.found  # noqa: B018  of an audit that did not keep them
    if path in _VIEWS:
        desk.prepare(query, actor)
    if path == "item":
        desk.threads.catch_up()
        wanted = request.query_params.get("at")
        position = desk.items.position(wanted) if wanted else desk.deal(query, actor, number(request, "seq"))
        if position is not None:
            desk.related(position)


def _view(desk: Desk, request: Request, query: Query, actor: str) -> View:
    return desk.view(query, actor, number(request, "seq"))


def _filters(desk: Desk, request: Request) -> dict[str, Any]:
    """What the filter bar offers."""
    columns = [name for name in sortable(desk.items) if not (desk.blind and name not in BLIND_ORDERS)]
    names = [name for name in columns if name not in ("index", "rank", "label", "suggested_label")]
    sorts = [("rank", "most influential"), ("-rank", "least influential"), ("index", "dataset order")]
    for name in names:
        sorts += [(f"-{name}", f"{name}, high first"), (name, f"{name}, low first")]
    if "auto" in names:
        sorts.insert(1, ("-auto", "probably wrong first"))
        sorts.remove(("-auto", "auto, high first"))
    if FOREIGN in names:
        sorts[sorts.index((FOREIGN, f"{FOREIGN}, low first"))] = (FOREIGN, "unlike all others first")
    statuses = [status for status in STATUSES if status != "conflict" or not desk.blind]
    kinds = REGRESSION_KINDS if "studentised" in desk.items.scores else KINDS
    offered = {"columns": columns, "sorts": sorts, "statuses": statuses, "kinds": kinds}
    return offered | {"views": saved.seen(desk, request.state.session)}


# -- writing ----------------------------------------------------------------------------------------


def _add_writing(app: FastAPI, desk: Desk, work: Work) -> None:
    def perform(actor: str, body: bytes) -> Response:
        sent = json_of(body).get("actions")
        if not isinstance(sent, list) or len(sent) > _ACTIONS:
            raise InputError(f"expected a list of at most {_ACTIONS} actions")
        parsed = [_parsed(value) for value in sent]
        done = iter(desk.perform(actor, [action for action in parsed if isinstance(action, Action)]))
        results = [next(done) if isinstance(action, Action) else action for action in parsed]
        return JSONResponse({"results": [_result(result, desk.items) for result in results]})

    @app.post("/actions")
    async def actions(request: Request) -> Response:
        if not (actor := request.state.session.reviewer):
            return nameless()
        return await run_in_threadpool(perform, actor, await request.body())

    def takes(path: str, perform: Callable[[Desk, Session, dict[str, Any]], None]) -> None:
        async def taken(request: Request) -> Response:
            if not request.state.session.reviewer:
                return nameless()
            sent = json_of(await request.body())
            await run_in_threadpool(perform, desk, request.state.session, sent)
            return JSONResponse({"ok": True})

        app.post(path)(taken)

    takes("/views", saved.perform)
    takes("/remarks", asked.say)
    takes("/work", lambda desk, session, sent: work.perform(session, sent))


# -- exports and retrainings --------------------------------------------------------------------------


def _add_work(app: FastAPI, templates: Templates, work: Work) -> None:
    def owned(request: Request) -> None:
        if not request.state.session.owner:
            raise saved.Forbidden("Only who runs the review exports and retrains.")

    @app.get("/work")
    def work_page(request: Request) -> Response:
        owned(request)
        return templates.html(request, "work", page="work", content=work.page())

    @app.get("/work.json")
    def work_json(request: Request) -> Response:
        owned(request)
        return compact(work.page())

    @app.get("/work/{id}.zip")
    def download(request: Request, id: str) -> Response:
        owned(request)
        packed = work.zipped(id)
        name = f"{templates.desk.items.folder.path.resolve().name}-export.zip"
        remove = BackgroundTask(packed.unlink, missing_ok=True)
        return FileResponse(packed, media_type="application/zip", filename=name, background=remove)


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
