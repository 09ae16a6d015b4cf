"""Saved views: kept in the log, whose they are, and what of them others see."""

from __future__ import annotations

from uuid import uuid4

import pytest

from review_site import Site
from swaypoint.review.log.sessions import Session
from swaypoint.review.log.views import MOST_VIEWS, SavedView
from swaypoint.review.page import saved


def save(tab, name="doubtful", query="disagree=1&sort=-margin", status=200, **more):
    sent = {"id": str(uuid4()), "do": "save", "name": name, "page": "gallery", "query": query}
    answer = tab.post("/views", sent | more)
    assert answer.status_code == status, answer.text
    return answer.json()


def rows(page):
    return page.json("/views.json")["rows"]


def delete(page, view):
    return page.post("/views", {"id": str(uuid4()), "do": "delete", "view": view})


def test_a_view_is_a_link_that_everybody_has(site, folder):
    ada, bob = site.page("ada"), site.page("bob")
    save(ada)
    save(ada, "Zahlen", "label=7&status=open", page="item")
    listed = rows(bob)
    assert [(one["name"], one["by"], one["mine"]) for one in listed] == [
        ("doubtful", "ada", False),
        ("Zahlen", "ada", False),
    ]
    address = listed[0]["address"]
    assert address == "/gallery?sort=-margin&disagree=1"
    shown, meant = ada.json(address.replace("?", ".json?")), ada.json("/gallery.json?disagree=1&sort=-margin")
    assert [cell["id"] for cell in shown["cells"]] == [cell["id"] for cell in meant["cells"]]
    for where in ("/views", "/gallery", "/item", "/map"):
        assert "/gallery?sort=-margin&amp;disagree=1" in bob.get(where).text
    other = Site(folder)  # another server, started later
    assert rows(other.page("carl")) == listed
    other.store.close()


def test_the_same_name_again_changes_the_view_and_a_lost_answer_adds_none(site):
    ada, sent = site.page("ada"), {"id": str(uuid4())}
    save(ada, **sent)
    save(ada, **sent)
    save(ada, "Doubtful", "label=3")
    (row,) = rows(ada)
    assert (row["name"], row["address"]) == ("Doubtful", "/gallery?label=3")
    assert len(site.store.since(f"{site.items.run}:views")) == 2


def test_only_its_maker_or_the_owner_deletes_a_view(site):
    ada, bob, owner = site.page("ada"), site.page("bob"), site.page("eve", owner=True)
    for name in ("one", "two"):
        save(ada, name)
    one, two = (row["id"] for row in rows(ada))
    refused = delete(bob, one)
    assert refused.status_code == 403
    assert "ada's view" in refused.json()["error"]
    save(bob, "one", "label=1")  # his own, beside hers
    assert len(rows(ada)) == 3
    assert delete(ada, one).status_code == 200
    assert delete(owner, two).status_code == 200
    assert [row["by"] for row in rows(ada)] == ["bob"]
    assert delete(ada, one).status_code == 400
    assert "data-view-do" not in ada.get("/views").text
    assert site.page("").post("/views", {"id": str(uuid4()), "do": "save"}).status_code == 403


def test_views_are_in_the_chain_and_say_nothing_in_the_review(site):
    ada = site.page("ada")
    save(ada)
    ada.decide(site.items.ids[0])
    site.store.verify()
    assert [event.text for event in site.store.since(f"{site.items.run}:views")] == [
        '{"name": "doubtful", "page": "gallery", "query": "sort=-margin&disagree=1"}'
    ]
    assert len(site.log()) == 1


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"name": ""}, "a name of at least one letter"),
        ({"name": "\n\t"}, "a name of at least one letter"),
        ({"page": "progress"}, "a page and its filters"),
        ({"page": "javascript:alert(1)//"}, "a page and its filters"),
        ({"query": ["x"]}, "a page and its filters"),
        ({"query": "label=none"}, "there is no class"),
        ({"query": "where=x"}, "expected conditions"),
        ({"query": "sort=nothing"}, "sort is"),
        ({"query": "&".join("a=b" for _ in range(60))}, "at most 50 parameters"),
        ({"query": "text=" + "a" * 3500}, "too long"),
        ({"query": "text=\ud800"}, "of text"),
        ({"id": "1"}, "a UUID"),
        ({"id": None}, "a UUID"),
        ({"do": "steal"}, "expected save, delete, assign or release"),
    ],
)
def test_what_is_no_view_is_refused(site, sent, words):
    page = site.page()
    answer = page.post(
        "/views", {"id": str(uuid4()), "do": "save", "name": "x", "page": "item", "query": ""} | sent
    )
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert rows(page) == []


def test_there_is_an_end_to_them(site):
    for i in range(MOST_VIEWS):
        site.desk.views.save(SavedView(str(uuid4()), f"v{i}", "item", "", "ada"))
    ada = site.page("ada")
    assert "delete some" in save(ada, "one more", status=400)["error"]
    save(ada, "v3", "label=3")  # there already


def test_names_are_text(site):
    ada, name = site.page("ada"), '"><script>alert(1)</script>'
    save(ada, name)
    for where in ("/views", "/gallery"):
        text = ada.get(where).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text


def test_a_blind_reviewer_sees_their_own(blind):
    """What another looked for tells what they found; and nothing in it may ask for the model's opinion."""
    ada, bob = blind.page("ada"), blind.page("bob")
    save(ada, "odd ones", "label=7")
    assert [row["name"] for row in rows(ada)] == ["odd ones"]
    assert rows(bob) == []
    assert "odd ones" not in bob.get("/gallery").text
    assert "blind" in save(ada, "leak", "disagree=1", status=400)["error"]
    assert "blind" in save(ada, "leak", "sort=-margin", status=400)["error"]


def test_a_view_of_before_the_review_was_blind_is_not_shown(folder):
    site = Site(folder)
    save(site.page("ada"), "wrong ones")
    hidden = Site(folder, blind=True)
    assert saved.seen(hidden.desk, Session("s", "ada", owner=True)) == ()
    for one in (site, hidden):
        one.store.close()


def test_what_no_swaypoint_wrote_is_no_view(site):
    from swaypoint.review.log.verdicts import Event

    run = f"{site.items.run}:views"
    for text in ("", "[]", "{", '{"name": 1, "page": "item", "query": ""}', '{"name": "x"}'):
        site.store.append([Event(str(uuid4()), run, str(uuid4()), "eve", None, "saved", text=text)])
    bad = '{"name": "x", "page": "item", "query": "status=what"}'
    site.store.append([Event(str(uuid4()), run, "v", "eve", None, "saved", text=bad)])
    site.desk.views.follow()
    assert rows(site.page()) == []
