"""A saved view that is assigned: its reviewer is dealt its points first, and others not in the queue."""

from __future__ import annotations

import shutil
from uuid import uuid4

import numpy as np
import pytest

from review_site import Site


def sent(tab, do, **more):
    return tab.post("/views", {"id": str(uuid4()), "do": do, **more})


def save(tab, query, name="slice"):
    assert sent(tab, "save", name=name, page="gallery", query=query).status_code == 200
    return tab.json("/views.json")["rows"][-1]["id"]


def assign(tab, view, reviewer="bob", status=200):
    answer = sent(tab, "assign", view=view, reviewer=reviewer)
    assert answer.status_code == status, answer.text
    return answer.json()


def dealt(tab):
    """The point that a reviewer goes on with, or why there is none."""
    return tab.json(tab.get("/").headers["location"].replace("?", ".json?"))


def nines(site):
    items = site.items
    found = np.flatnonzero(items.scores["label"] == 9)
    return [items.ids[p] for p in found[np.argsort(items.scores["rank"][found])]]


def test_a_slice_comes_first_and_then_the_queue(site):
    eve, bob = site.page("eve", owner=True), site.page("bob")
    assign(eve, save(eve, "label=9&where=rank < 200"))
    mine = [item for item in nines(site) if site.items.scores["rank"][site.items.position(item)] < 200]
    assert mine
    for item in mine:
        shown = dealt(bob)
        assert shown["id"] == item
        assert shown["query"] == "label=9&status=open&where=rank+%3C+200"
        bob.decide(item, way="queue")
    assert bob.get("/").headers["location"] == "/item?status=open"
    assert dealt(bob)["label"] != "9" or dealt(bob)["rank"] >= 200
    assert eve.json("/views.json")["rows"][0]["left"] == 0


def test_nobody_else_is_dealt_it_in_the_queue(site):
    eve, ada, carl = site.page("eve", owner=True), site.page("ada"), site.page("carl")
    everything, first = save(eve, "", "all"), site.items.ids[int(site.items.order("rank")[0])]
    assign(eve, everything)
    assert dealt(ada)["others"] == len(site.items)
    assert "are assigned to other reviewers" in ada.get("/item?status=open").text
    assert dealt(site.page("bob"))["id"] == first
    assign(eve, everything, "carl")
    assert dealt(carl)["id"] in site.items.ids
    assert sent(eve, "release", view=everything, reviewer="BOB").status_code == 200
    assert sent(eve, "release", view=everything, reviewer="carl").status_code == 200
    assert "id" in dealt(ada)
    assert eve.json("/views.json")["rows"][0]["reviewers"] == []
    assign(eve, everything)
    sent(eve, "delete", view=everything)
    assert "id" in dealt(ada)


def test_only_the_owner_assigns(site):
    eve, ada, bob = site.page("eve", owner=True), site.page("ada"), site.page("bob")
    view = save(ada, "label=9")
    for tab in (ada, bob):
        assert "runs the review" in assign(tab, view, "bob", 403)["error"]
        assert sent(tab, "release", view=view, reviewer="bob").status_code == 403
    assign(eve, view)
    assert "Assign" in eve.get("/views").text
    assert "Assign</button>" not in ada.get("/views").text
    assert ada.json("/views.json")["known"] == []


@pytest.mark.parametrize("query", ["verdict=boundary", "status=reviewed", "status=conflict"])
def test_what_is_judged_already_is_no_slice(site, query):
    eve = site.page("eve", owner=True)
    assert "to be judged" in assign(eve, save(eve, query), status=400)["error"]


def test_nonsense_is_refused(site):
    eve = site.page("eve", owner=True)
    view = save(eve, "label=9")
    assert "at least one letter" in assign(eve, view, " \n", 400)["error"]
    assert "not there any more" in assign(eve, "x", status=400)["error"]
    for i in range(50):
        assign(eve, view, f"r{i}")
    assert "at most 50" in assign(eve, view, "one more", 400)["error"]


def test_a_blind_reviewer_has_the_slices_given_to_them_and_sees_no_others(audited, tmp_path):
    site = Site(shutil.copytree(audited, tmp_path / "blind"), blind=True)
    eve, ada, bob = site.page("eve", owner=True), site.page("ada"), site.page("bob")
    assign(eve, save(eve, "label=9"))
    assign(eve, eve.json("/views.json")["rows"][0]["id"], "carl")
    (row,) = bob.json("/views.json")["rows"]
    assert (row["name"], row["reviewers"]) == ("slice", ["bob"])
    assert ada.json("/views.json")["rows"] == []
    assert "left" not in eve.json("/views.json")["rows"][0]  # which is what bob has judged
    assert dealt(bob)["label"] == "9"
    assert dealt(ada)["id"] == site.items.ids[int(site.items.order("rank")[0])]  # everyone reviews all
    bob.decide(dealt(bob)["id"], "boundary")
    before = ada.json("/views.json"), ada.get("/").headers["location"]
    assert before == ({"rows": [], "known": []}, "/item?status=open")
    site.store.close()
