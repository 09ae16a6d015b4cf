"""One label for the first so many points of a view: what is shown before is what is done."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import uuid4

import numpy as np
import pytest

from review_site import Site


def preview(page, count, to, query="label=3", **more):
    return page.json(f"/together.json?{query}&{urlencode({'count': count, 'to': to} | more)}")


def set_(page, count, to, seq, query=None, **more):
    sent = {"query": query or {"label": "3"}, "seq": seq, "ranges": [[0, count]], "verdict": "mislabeled"}
    return page.act("decide-all", label=to, spare=True, **sent, **more)


def test_what_is_shown_is_what_is_set_and_undone_as_one(site):
    page, ids = site.page(), site.items.ids
    view = page.json("/gallery.json?sort=index")
    first = [cell["id"] for cell in view["cells"][:60]]
    kept = [first[2], first[5]]
    for item in kept:
        page.decide(item)
    seq = page.json("/gallery.json?sort=index")["seq"]
    told = preview(page, 60, "8", "sort=index", seq=seq)
    eights = [item for item in first if site.items.label(ids.index(item)) == "8"]
    assert eights
    assert (told["count"], told["same"], told["judged"]) == (60, len(eights), len(set(kept) - set(eights)))
    assert told["set"] == 60 - told["same"] - told["judged"]
    assert sum(n for _, n in told["given"]) == told["set"]
    done = set_(page, 60, "8", seq, {"sort": "index"})
    assert done["count"] == told["set"]
    said = [event for event in site.log() if event.way == "bulk"]
    assert [event.item for event in said] == [one["id"] for one in told["shown"]]
    assert {(e.decision.verdict, e.decision.label) for e in said} == {("mislabeled", "8")}
    assert len({event.action for event in said}) == 1
    assert page.act("undo")["count"] == told["set"]
    assert {one.actor: one.decision for one in site.log() if one.item == kept[0]}["ada"].verdict == "correct"
    assert preview(page, 60, "8", "sort=index", seq=seq) == told


def test_it_only_shows(site):
    page = site.page()
    preview(page, 10, "8")
    assert site.log() == []


def test_what_another_judged_meanwhile_stays(site):
    ada, bob = site.page("ada"), site.page("bob")
    told = preview(ada, 10, "8")
    seq = ada.json("/gallery.json?label=3")["seq"]
    bob.decide(told["shown"][0]["id"], "boundary")
    assert set_(ada, 10, "8", seq)["count"] == told["set"] - 1
    assert preview(bob, 10, "8")["judged"] == 10


def test_a_blind_reviewer_learns_nothing_of_others(folder):
    site = Site(folder, blind=True)
    ada, bob = site.page("ada"), site.page("bob")
    told = preview(ada, 10, "8")
    bob.decide(told["shown"][0]["id"], "boundary")
    assert preview(ada, 10, "8") == told
    assert "blind" in ada.json("/together.json?label=3&disagree=1&count=3&to=8", 400)["error"]
    assert 'value="8" selected' not in ada.get("/gallery?label=3").text.partition('id="together-to"')[2]
    site.store.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("count=3&to=ten", "no class"),
        ("count=3", "no class"),
        ("count=-1&to=8", "makes no sense"),
        ("count=1e9&to=8", "makes no sense"),
        ("count=3&to=8&sort=x", "sort is"),
    ],
)
def test_nonsense_is_refused(site, address, words):
    assert words in site.page().json(f"/together.json?{address}", 400)["error"]


def test_who_has_no_name_or_session_sees_nothing(site):
    assert site.page("").get("/together.json?count=1&to=8").status_code == 403
    assert site.stranger().get("/together.json?count=1&to=8").status_code == 403


def test_the_class_that_they_look_like_is_chosen_first(site):
    page, scores = site.page(), site.items.scores
    assert 'value="5" selected' in page.get("/gallery?like=5").text.partition('id="together-to"')[2]
    differ = scores["label"] != scores["likely"]
    pairs = scores["label"][differ] * 10 + scores["likely"][differ]
    label = int(np.bincount(pairs.astype(int)).argmax()) // 10
    queue = np.flatnonzero(scores["label"] == label)
    first = queue[np.argsort(scores["rank"][queue])][:40]
    counts = np.bincount(scores["likely"][first].astype(int), minlength=10)
    counts[label] = 0
    text = page.get(f"/gallery?label={label}").text.partition('id="together-to"')[2]
    assert f'value="{counts.argmax()}" selected' in text


def test_a_retry_sets_nothing_twice(site):
    page, id = site.page(), str(uuid4())
    seq = page.json("/gallery.json?label=3")["seq"]
    sent = {"id": id, "do": "decide-all", "query": {"label": "3"}, "seq": seq, "ranges": [[0, 5]]}
    sent |= {"verdict": "mislabeled", "label": "8", "spare": True}
    first, again = (page.post("/actions", {"actions": [sent]}).json()["results"][0] for _ in range(2))
    assert first["count"] == again["count"] == 5
    assert len(site.log()) == 5
