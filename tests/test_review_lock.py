"""What many reviewers at once wait for: nothing slow is done while the others are held up."""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from review_points import BAD, FINE, SKIP
from review_site import Site
from swaypoint.review.items import Items
from swaypoint.review.log import dealing
from swaypoint.review.log.verdicts import Event, Review
from swaypoint.review.page import desk, evidence, overview
from swaypoint.review.page.standing import Standing

SAID = st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.sampled_from([BAD, FINE, SKIP, None]))


@given(st.lists(SAID, max_size=25), st.integers(0, 26))
def test_what_stood_at_any_event_is_what_a_review_of_those_before_says(said, upto):
    """Of a decision that is taken back (None) another's may stand."""
    events = [
        Event(f"{i}", "run", f"i{item}", actor, decision, f"{i}", seq=2 * i)
        for i, (actor, item, decision) in enumerate(said, start=1)
    ]
    review, standing = Review("run"), Standing(5)
    for event in events:
        review.apply(event)
        standing.set(int(event.item[1:]), bool(review.all_on(event.item)), event.seq)
    then = Review("run", [event for event in events if event.seq <= upto])
    expected = [f"i{i}" in set(then.reviewed()) for i in range(5)]
    assert standing.at(upto).tolist() == expected
    assert standing.at(10**6).tolist() == [f"i{i}" in set(review.reviewed()) for i in range(5)]


@pytest.fixture(params=[False, True], ids=["open", "blind"])
def site(folder, request):
    made = Site(folder, blind=request.param)
    yield made
    made.store.close()


@pytest.fixture
def slow(site, monkeypatch):
    """Passes over all points, each of which fails if it holds up the others; and which there were."""
    ran = []

    def watched(where, name):
        pass_ = getattr(where, name)

        def run(*args, **options):
            assert not site.desk._lock._is_owned(), f"{name} while others wait"
            ran.append(name)
            return pass_(*args, **options)

        monkeypatch.setattr(where, name, run)

    for name in ("neighbours", "influences", "examples", "distances", "matching"):
        watched(Items, name)
    for where, name in [(evidence, "reasons"), (desk, "matching"), (dealing, "_dealt"), (desk, "ranking")]:
        watched(where, name)
    for name in ("counts", "yield_curve", "confusion"):
        watched(overview, name)
    return ran


def test_nothing_slow_is_done_under_the_lock(site, slow):
    page = site.page()
    page.get("/")
    first = page.json("/item.json?status=open")
    page.decide(first["id"])
    page.json(f"/item.json?status=open&seq={first['seq']}&at={site.items.ids[5]}")
    page.json("/item.json?status=open")
    page.json("/gallery.json?text=1")
    page.get("/gallery?label=3")
    page.get(f"/gallery?label=3&seq=0&near={site.items.ids[3]}")
    assert page.get("/map.bin?label=3").status_code == 200
    page.json("/together.json?label=4&count=10&to=8")
    assert page.act("draw")["count"] == 1
    page.json("/item.json?sample=300")
    page.json("/gallery.json?sample=300")
    for path in ("progress", "classes", "findings", "views", "questions"):
        assert page.get(f"/{path}").status_code == 200
    assert {"distances", "neighbours", "influences", "reasons", "matching", "_dealt", "ranking"} <= {*slow}
    assert ("examples" in slow) != site.desk.blind  # which shows none
    assert {"counts", "confusion"} <= {*slow}


def test_nor_are_slices(folder, monkeypatch):
    site = Site(folder)
    eve = site.page("eve", owner=True)
    sent = {"id": str(uuid4()), "do": "save", "name": "x", "page": "item", "query": "text=1"}
    assert eve.post("/views", sent).status_code == 200
    view = eve.json("/views.json")["rows"][0]["id"]
    sent = {"id": str(uuid4()), "do": "assign", "view": view, "reviewer": "bob"}
    assert eve.post("/views", sent).status_code == 200
    site.store.close()
    fresh = Site(folder)
    pass_ = Items.matching

    def run(*args):
        assert not fresh.desk._lock._is_owned()
        return pass_(*args)

    monkeypatch.setattr(Items, "matching", run)
    for name in ("bob", "ada"):
        page = fresh.page(name)
        page.get("/")
        page.json("/item.json?status=open")
        assert page.get("/views").status_code == 200
    fresh.store.close()


def test_views_of_an_earlier_event_are_as_they_were(folder):
    site = Site(folder)
    page, other = site.page("ada"), site.page("bob")
    before = page.json("/gallery.json?status=open")
    for cell in before["cells"][:5]:
        other.decide(cell["id"])
    other.act("undo")
    now = page.json("/gallery.json?status=open")
    assert now["count"] == before["count"] - 4
    site.desk._views.clear()
    again = page.json(f"/gallery.json?status=open&seq={before['seq']}")
    assert [cell["id"] for cell in again["cells"]] == [cell["id"] for cell in before["cells"]]
    seen = page.json("/gallery.json?status=reviewed")
    assert {cell["id"] for cell in seen["cells"]} == {cell["id"] for cell in before["cells"][:4]}
    assert page.json(f"/gallery.json?status=reviewed&seq={before['seq']}")["count"] == 0
    site.store.close()


def test_one_search_is_shared_and_its_result_not_changed(folder):
    site = Site(folder)
    found = site.desk.view(desk.Query(), "ada").positions
    assert found is site.items.order("rank")
    site.page().decide(site.items.ids[int(found[0])])
    assert np.array_equal(found, np.argsort(site.items.scores["rank"], kind="stable"))
    site.store.close()
