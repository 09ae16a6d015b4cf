"""The review's addresses with a session, whatever is asked of them or sent to them: refused in words, never a
crash. ``make fuzz`` asks far more."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path
from urllib.parse import quote, quote_from_bytes
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Mount

from mutations import HOSTILE, fuzz
from review_site import HOST, Page, Site
from swaypoint.review.cleaning.exporters import exporters
from swaypoint.review.cleaning.policy import POLICIES
from swaypoint.review.log.verdicts import VERDICTS, WAYS
from swaypoint.review.page.query import STATUSES, Query
from swaypoint.review.page.security import CSRF_HEADER, Allowance
from swaypoint.review.page.work import Work

PASSWORD = "correct horse"
NAMES = [*(field.name for field in fields(Query)), "at", "start", "seq", "position", "count", "to", "token"]
NAMES += ["nothing"]
TEXTS = ["", "0", "1", "-1", "1e400", "nan", "inf", "-inf", "9" * 30, "٣", "0x10", "1_0", "300,0", "1,-1"]
TEXTS += [",", ";", ",,;,", "1,2;3,4;5,6", "nan,1;2,inf;3,4", "1e308,1e308;-1e308,0;0,0"]
TEXTS += ["rank", "-rank", "-", "cook", "split", "id", "near", "true", *VERDICTS, *STATUSES]
TEXTS += ["\x00", "\ud800", "\U0010ffff", "é" * 300, "%", "%2C", "'", '"><script>', "{{ 7 * 7 }}", "a" * 5000]


@pytest.fixture(scope="module", params=["audited", "audited_rows", "blind"])
def page(request, tmp_path_factory) -> Page:
    """A reviewer's browser, without limits of speed; some verdicts are there, and a sample is drawn. With it
    come those of others: ``page.others``, of who runs the review and of one who has no name yet."""
    made = request.getfixturevalue("audited" if request.param == "blind" else request.param)
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("fuzz") / "audit"))
    site = Site(folder, blind=request.param == "blind", password=PASSWORD)
    site.app._requests = site.app._pictures = site.app._logins = Allowance(1e9, 10**9)
    found = site.page("Ada")
    found.site = site
    found.others = (site.page("Olga", owner=True), nameless(site))
    for i, verdict in enumerate(VERDICTS):
        found.decide(site.items.ids[i], verdict)
        found.others[0].decide(site.items.ids[i], "correct")
    view = {"id": str(uuid4()), "do": "save", "name": "mine", "page": "gallery", "query": "status=all"}
    assert found.post("/views", view).status_code == 200
    with pytest.MonkeyPatch.context() as patch:  # no process for each export that makes sense
        patch.setattr(Work, "_start", lambda work, job, asked: work._jobs.setdefault(job.id, job))
        yield found
    site.store.close()


def nameless(site: Site) -> Page:
    """Come in by the password."""
    found = site.page("nobody")
    found.client.cookies.clear()
    assert found.client.post("/login", json={"password": PASSWORD}).status_code == 200
    (cookie,) = found.client.cookies.jar
    found.csrf = site.gate.csrf(site.gate.session(cookie.value, HOST))
    return found


def addresses(site: Site, method: str) -> list[str]:
    """All that the application has: what is added is asked too."""
    routes = [route for route in site.app.app.routes if method in (getattr(route, "methods", None) or ())]
    return sorted({route.path for route in routes})


def files(site: Site) -> list[str]:
    return sorted(f"{route.path}/" for route in site.app.app.routes if isinstance(route, Mount))


def anyone(data: st.DataObject, page: Page) -> Page:
    return data.draw(st.sampled_from([page, *page.others]))


def plausible(site: Site) -> list[str]:
    """Values that some parameter takes."""
    items = site.items
    columns = [] if items.table is None else [*items.table.source[:2], f"{items.table.source[0]}=0..1"]
    return [*items.ids[:2], *items.classes[:2], *columns, *items.splits, "images"]


def values(site: Site) -> st.SearchStrategy[str]:
    return st.sampled_from([*TEXTS, *plausible(site)]) | st.text(max_size=20) | st.integers().map(str)


def encoded(text: str) -> str:
    """For an address, half a surrogate pair and all."""
    return quote_from_bytes(text.encode("utf-8", "surrogatepass"))


def fair(answer) -> None:
    """An answer that was thought of, and says why where it is none."""
    assert answer.status_code in (200, 206, 303, 304, 400, 403, 404, 405, 409, 413, 416, 422), answer.text[
        :500
    ]
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.text
        assert "Traceback" not in answer.text


def test_every_address_is_among_those_asked(page):
    """So that the lists are known not to be empty, whatever the framework calls its routes."""
    shown, sent = addresses(page.site, "GET"), addresses(page.site, "POST")
    both = ("item", "gallery", "map", "progress", "classes", "findings", "views", "questions", "work")
    assert {*(f"/{name}{kind}" for name in both for kind in ("", ".json")), "/map.bin", "/open"} <= {*shown}
    assert {"/actions", "/login", "/name", "/invite", "/logout", "/views", "/remarks", "/work"} == {*sent}
    assert files(page.site) == ["/picture/", "/sheet/", "/static/", "/thumb/"]
    for path in shown:
        owner = page.others[0].get(path.replace("{id}", "1"))
        assert owner.status_code in (200, 303, 400, 404), (path, "who runs the review may see all")


@fuzz(60)
@given(data=st.data())
def test_whatever_is_asked(page, data):
    asked = data.draw(st.dictionaries(st.sampled_from(NAMES), values(page.site), max_size=4))
    query = "&".join(f"{name}={encoded(value)}" for name, value in asked.items())
    path = data.draw(st.sampled_from(addresses(page.site, "GET")))
    if "{id}" in path:
        path = path.replace("{id}", quote(encoded(data.draw(values(page.site)))[:4000], safe="%"))
    fair(anyone(data, page).get(f"{path}?{query}"))


@fuzz(20)
@given(data=st.data())
def test_whatever_file_is_asked_for(page, data):
    name = ",".join(data.draw(st.lists(values(page.site), max_size=30)))
    path = data.draw(st.sampled_from(files(page.site)))
    fair(anyone(data, page).get(path + quote(encoded(name)[:4000], safe="%/")))


HEADERS = [
    "host",
    "origin",
    "sec-fetch-site",
    "cookie",
    "content-type",
    "content-length",
    "range",
    CSRF_HEADER,
]
HEADERS += [
    "accept",
    "if-none-match",
    "if-modified-since",
    "if-range",
    "x-forwarded-for",
    "x-forwarded-proto",
]
SPOKEN = [
    HOST,
    "http://[",
    f"http://{HOST}",
    "http://[::1",
    "null",
    "same-origin",
    "none",
    "[",
    "a@b:c",
    ":0",
]
SPOKEN += [
    "bytes=0-",
    "bytes=9-1",
    "bytes=0-0,2-3",
    "bytes=-1",
    "bytes=a-b",
    "items=1",
    "*",
    "9" * 5000,
    "-1",
]
SPOKEN += [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=",
    "=",
    ";;=",
]


@fuzz(30)
@given(data=st.data())
def test_whatever_headers_and_methods_a_request_has(page, data):
    one = anyone(data, page)
    odd = st.sampled_from(SPOKEN).map(str.encode) | st.text(
        st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30
    ).map(lambda text: text.encode("latin-1"))
    headers = {CSRF_HEADER: one.csrf} | data.draw(st.dictionaries(st.sampled_from(HEADERS), odd, max_size=3))
    method = data.draw(st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"]))
    known = addresses(page.site, "GET") + addresses(page.site, "POST") + files(page.site)
    path = data.draw(st.sampled_from([path for path in known if path != "/logout"]))
    body = data.draw(st.sampled_from([b"", b"{}", b"name=x", b'{"name": "x"}']))
    fair(one.client.request(method, path, headers=headers, content=body if method != "GET" else None))


@pytest.mark.parametrize(
    ("header", "status"), [({"origin": "http://["}, 403), ({"content-length": "9" * 5000}, 413)]
)
def test_headers_that_once_crashed(page, header, status):
    assert page.post("/actions", {"actions": []}, **header).status_code == status


def test_a_password_that_once_crashed(page):
    assert page.site.stranger().post("/login", content=b'{"password": "\\ud800"}').status_code == 403


def actions(site: Site) -> st.SearchStrategy:
    """Like those of the page, with one thing or another that is not."""
    odd, known = st.sampled_from(HOSTILE), [*site.items.ids[:5]]
    number = odd | st.integers(-2, 3000) | st.integers()
    plain = {
        "id": st.builds(lambda: str(uuid4())) | odd,
        "do": st.sampled_from(["decide", "decide-all", "undo", "redo"]) | odd,
        "item": st.sampled_from(known) | odd,
        "verdict": st.sampled_from(VERDICTS) | odd,
        "label": st.sampled_from([None, *site.items.classes[:2]]) | odd,
        "note": st.just("") | odd,
        "way": st.sampled_from(WAYS) | odd,
        "resolves": st.booleans() | odd,
        "suggested": st.booleans() | odd,
        "query": st.dictionaries(st.sampled_from(NAMES), values(site) | odd, max_size=3) | odd,
        "seq": number,
        "ranges": st.lists(st.tuples(number, number) | odd, max_size=3) | odd,
    }
    return st.fixed_dictionaries({}, optional=plain)


def beside(site: Site) -> dict[str, st.SearchStrategy]:
    """Fields of what is sent beside verdicts: views, remarks, exports."""
    odd, known = st.sampled_from(HOSTILE), [*site.items.ids[:5]]
    return {
        "id": st.builds(lambda: str(uuid4())) | odd,
        "do": st.sampled_from(["save", "delete", "assign", "release", "export", "retrain", "stop"]) | odd,
        "page": st.sampled_from(["gallery", "item"]) | odd,
        "query": st.sampled_from(TEXTS).map(lambda text: f"text={text}") | odd,
        "item": st.sampled_from(known) | odd,
        "kind": st.sampled_from(["comment", "question", "answer"]) | odd,
        "policy": st.sampled_from(POLICIES) | odd,
        "to": st.sampled_from(list(exporters)) | odd,
        "seeds": st.integers(0, 30) | odd,
        # The views change as they are asked for, and what is drawn must not: so a number first.
        "view": st.integers(0, 9).map(lambda i: view_of(site, i)) | odd,
        "reviewer": st.sampled_from(["Ada", "Olga", "ada", ""]) | odd,
        "text": st.just("why?") | odd,
    }


def view_of(site: Site, number: int) -> str:
    known = [view.id for view in site.desk.views.all()] or [""]
    return known[number % len(known)]


@fuzz(40)
@given(data=st.data())
def test_whatever_is_sent(page, data):
    paths, odd = addresses(page.site, "POST"), st.sampled_from(HOSTILE)
    path, one = data.draw(st.sampled_from([*paths, *["/actions"] * 4])), anyone(data, page)
    if path == "/logout":
        one = page.site.page("Eve", owner=data.draw(st.booleans()))
    if path == "/actions":
        whole = st.fixed_dictionaries({"actions": st.lists(actions(page.site) | odd, max_size=4) | odd})
    else:
        whole = st.fixed_dictionaries({}, optional={"name": odd, "password": odd} | beside(page.site))
    text = json.dumps(data.draw(whole | odd))
    damaged = st.sampled_from([text.encode("utf-16"), text[:-1].encode()]) | st.binary(max_size=50)
    body = data.draw(damaged) if data.draw(st.integers(0, 4)) == 0 else text.encode()
    fair(one.post(path, body))
    form = {"content-type": "application/x-www-form-urlencoded", CSRF_HEADER: one.csrf}
    fair(one.client.post(path, content=body, headers=form))
    for other in (page, page.others[0]):
        assert other.get("/item.json").status_code == 200  # and goes on
