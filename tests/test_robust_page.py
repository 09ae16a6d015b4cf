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

from mutations import HOSTILE, fuzz
from review_site import Page, Site
from swaypoint.review.log.verdicts import VERDICTS, WAYS
from swaypoint.review.page.query import STATUSES, Query
from swaypoint.review.page.security import CSRF_HEADER, Allowance

PAGES = ("item", "gallery", "map", "progress", "classes", "views", "questions", "work")
SHOWN = [*(f"/{page}{kind}" for page in PAGES for kind in ("", ".json"))]
SHOWN += ["/", "/map.bin", "/point.json", "/together.json", "/name", "/open"]
FILES = ("/thumb/", "/picture/", "/sheet/", "/static/")
SENT = ("/actions", "/name", "/invite", "/login", "/views", "/remarks", "/work")
NAMES = [*(field.name for field in fields(Query)), "at", "start", "seq", "position", "count", "to", "token"]
NAMES += ["nothing"]
TEXTS = ["", "0", "1", "-1", "1e400", "nan", "inf", "-inf", "9" * 30, "٣", "0x10", "1_0", "300,0", "1,-1"]
TEXTS += [",", ";", ",,;,", "1,2;3,4;5,6", "nan,1;2,inf;3,4", "1e308,1e308;-1e308,0;0,0"]
TEXTS += ["rank", "-rank", "-", "cook", "split", "id", "near", "true", *VERDICTS, *STATUSES]
TEXTS += ["\x00", "\ud800", "\U0010ffff", "é" * 300, "%", "%2C", "'", '"><script>', "{{ 7 * 7 }}", "a" * 5000]


@pytest.fixture(scope="module", params=["audited", "audited_rows", "blind"])
def page(request, tmp_path_factory) -> Page:
    """A reviewer's browser, without limits of speed; some verdicts are there."""
    made = request.getfixturevalue("audited" if request.param == "blind" else request.param)
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("fuzz") / "audit"))
    site = Site(folder, blind=request.param == "blind")
    site.app._requests = site.app._pictures = site.app._logins = Allowance(1e9, 10**9)
    found = site.page("Ada")
    found.site = site
    for i, verdict in enumerate(VERDICTS):
        found.decide(site.items.ids[i], verdict)
    yield found
    site.store.close()


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
    assert answer.status_code in (200, 303, 400, 403, 404, 405, 409, 413, 422), answer.text[:500]
    if answer.status_code >= 400:
        assert answer.text
        assert "Traceback" not in answer.text


@fuzz(60)
@given(data=st.data())
def test_whatever_is_asked(page, data):
    asked = data.draw(st.dictionaries(st.sampled_from(NAMES), values(page.site), max_size=4))
    query = "&".join(f"{name}={encoded(value)}" for name, value in asked.items())
    fair(page.get(f"{data.draw(st.sampled_from(SHOWN))}?{query}"))


@fuzz(20)
@given(data=st.data())
def test_whatever_file_is_asked_for(page, data):
    name = ",".join(data.draw(st.lists(values(page.site), max_size=30)))
    fair(page.get(data.draw(st.sampled_from(FILES)) + quote(encoded(name)[:4000], safe="%/")))


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
        "do": st.sampled_from(["save", "delete", "assign", "export", "retrain", "stop"]) | odd,
        "page": st.sampled_from(["gallery", "item"]) | odd,
        "query": st.sampled_from(TEXTS).map(lambda text: f"text={text}") | odd,
        "item": st.sampled_from(known) | odd,
        "kind": st.sampled_from(["comment", "question", "answer"]) | odd,
        **dict.fromkeys(("text", "view", "reviewer", "to", "policy", "seeds"), odd),
    }


@fuzz(60)
@given(data=st.data())
def test_whatever_is_sent(page, data):
    path, odd = data.draw(st.sampled_from([*SENT, *["/actions"] * 4])), st.sampled_from(HOSTILE)
    if path == "/actions":
        whole = st.fixed_dictionaries({"actions": st.lists(actions(page.site) | odd, max_size=4) | odd})
    else:
        whole = st.fixed_dictionaries({}, optional={"name": odd, "password": odd} | beside(page.site))
    text = json.dumps(data.draw(whole | odd))
    damaged = st.sampled_from([text.encode("utf-16"), text[:-1].encode()]) | st.binary(max_size=50)
    body = data.draw(damaged) if data.draw(st.integers(0, 4)) == 0 else text.encode()
    fair(page.post(path, body))
    form = {"content-type": "application/x-www-form-urlencoded", CSRF_HEADER: page.csrf}
    fair(page.client.post(path, content=body, headers=form))
    assert page.get("/item.json").status_code == 200  # and goes on
