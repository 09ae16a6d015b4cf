"""The review's server by HTTP: who comes in, what is shown and written, and attacks on it."""

from __future__ import annotations

import html
import io
import re
import shutil
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import swaypoint.review.page.security as security
from review_audit import HOSTILE
from review_site import BASE, HOST, Site
from swaypoint.errors import InputError
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.writing import write_arrow
from swaypoint.review.items import Items
from swaypoint.review.log.sessions import Session, Sessions
from swaypoint.review.log.verdicts import VERDICTS, StoreUnavailable
from swaypoint.review.page.pictures import SLOTS, decoded, encoded, placeholder, sheet
from swaypoint.review.page.security import (
    BODY_LIMIT,
    CSRF_HEADER,
    Allowance,
    Gate,
    kept_secret,
    reviewer_name,
)
from swaypoint.review.page.serve import Serving


def broken(store, reason="the disk is full"):
    """``store``, as long as it cannot be used."""

    class Broken:
        def __getattr__(self, name):
            def fail(*_):
                raise StoreUnavailable(reason)

            return fail

    return Broken()


# -- coming in --------------------------------------------------------------------------------------

PATHS = ["/", "/item", "/gallery", "/gallery.json", "/map", "/map.bin", "/progress", "/classes", "/findings",
         "/name", "/point.json?position=0", "/picture/{id}", "/thumb/{id}", "/sheet/{id}"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cookie", [None, "", "x", "W10=.abc", "{body}.{signature}"])
def test_without_a_session_there_is_nothing(site, path, cookie):
    stranger = site.stranger()
    if cookie is not None:
        body, _, signature = site.gate.seal(Session("a", "ada"), HOST).partition(".")
        value = cookie.format(body=body, signature=signature[::-1])
        stranger.cookies.set(site.gate.cookie(HOST), value)
    answer = stranger.get(path.format(id=site.items.ids[0]))
    assert answer.status_code == 403
    assert site.items.ids[0] not in answer.text


def test_a_token_opens_one_browser_once(site):
    token = site.gate.invite("ada")
    first, second = site.stranger(), site.stranger()
    opened = first.get("/open", params={"token": token})
    assert opened.status_code == 200
    assert 'content="0;url=/"' in opened.text
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert token not in opened.text
    assert first.get("/").status_code == 303
    assert second.get("/open", params={"token": token}).status_code == 403
    assert second.get("/").status_code == 403
    assert first.get("/open", params={"token": token}).headers["location"] == "/"  # again, by its owner


@pytest.mark.parametrize("token", ["", "x", "'; DROP TABLE event; --", "é" * 50, "\x00"])
def test_a_wrong_token_opens_nothing(site, token):
    site.gate.invite()
    answer = site.stranger().get("/open", params={"token": token})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_guessing_is_slowed_down(site):
    stranger = site.stranger()
    answers = [stranger.get("/open", params={"token": str(i)}).status_code for i in range(30)]
    assert answers.count(403) <= 12
    assert answers[-1] == 429


def test_an_old_session_has_ended(site, monkeypatch):
    page = site.page()
    monkeypatch.setattr(security.time, "time", lambda: 4e9)
    assert page.get("/gallery").status_code == 403


def test_another_audits_session_is_none(site):
    other = Gate(b"s" * 32, run="another", sessions=Sessions(site.store, "another"))
    assert other.session(other.seal(Session("a", "ada"), HOST), HOST) is not None
    assert site.gate.session(other.seal(Session("a", "ada"), HOST), HOST) is None


def test_a_reviewer_gives_a_name_first(site):
    page = site.page("")
    assert page.get("/item?status=open").headers["location"] == "/name"
    assert page.json("/gallery.json", 403)["error"]
    assert page.post("/actions", {"actions": []}).status_code == 403
    assert page.post("/name", {"name": " \n "}).status_code == 400
    assert page.post("/name", {"name": "  Grace\n Hopper "}).status_code == 200
    assert page.get("/item").status_code == 200
    page.decide(site.items.ids[0])
    assert site.log()[0].actor == "Grace Hopper"


def test_a_form_without_scripts_gives_a_name(site):
    page = site.page("")
    sent = {"csrf": page.csrf, "name": "Grace"}
    for wrong in ({"name": "Grace"}, sent | {"csrf": "0" * 64}):
        assert page.client.post("/name", data=wrong).status_code == 403
    for foreign in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert page.client.post("/name", data=sent, headers=foreign).status_code == 403
    assert page.client.post("/actions", data=sent).status_code == 403  # no name yet
    nameless = page.client.post("/name", data=sent | {"name": " "})
    assert (nameless.status_code, "at least one letter" in nameless.text) == (400, True)
    named = page.client.post("/name", data=sent, headers={"origin": BASE})
    assert (named.status_code, named.headers["location"]) == (303, "/")
    assert page.get("/item").status_code == 200


def test_a_form_without_scripts_takes_the_password(folder):
    stranger = Site(folder, password="correct horse").stranger()
    wrong = stranger.post("/login", data={"password": "wrong"})
    assert (wrong.status_code, "That is not the password." in wrong.text) == (403, True)
    right = stranger.post("/login", data={"password": "correct horse"})
    assert (right.status_code, right.headers["location"]) == (303, "/")
    assert stranger.get("/item").headers["location"] == "/name"


def test_names_are_one_short_line():
    assert reviewer_name("a\u202eb\x00c") == "a b c"
    assert len(reviewer_name("x" * 500)) == 60


def test_an_invited_reviewer_comes_in(site):
    address = site.page().post("/invite", {}).json()["address"]
    assert address.startswith(f"{BASE}/open?token=")
    invited = site.stranger()
    assert invited.get(address).status_code == 200
    assert invited.get("/item").headers["location"] == "/name"


def test_the_password_lets_in(folder):
    site = Site(folder, password="correct horse")
    stranger = site.stranger()
    assert "Password" in stranger.get("/gallery").text
    assert stranger.post("/login", json={"password": "wrong"}).status_code == 403
    assert stranger.post("/login", json={"password": None}).status_code == 400
    assert stranger.post("/login", json={"password": "correct horse"}).status_code == 200
    assert stranger.get("/gallery").headers["location"] == "/name"
    assert [stranger.post("/login", json={"password": str(i)}).status_code for i in range(20)][-1] == 429


def test_without_a_password_none_lets_in(site):
    assert site.stranger().post("/login", json={"password": ""}).status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::"])
def test_other_machines_take_a_password(host):
    with pytest.raises(InputError, match="password"):
        Serving(host)
    with pytest.raises(InputError, match="too short"):
        Serving(host, password="1234")
    assert Serving(host, password="correct horse").host == host


def test_the_signing_key_is_its_owners(tmp_path):
    key = tmp_path / ".review.key"
    secret = kept_secret(key)
    assert kept_secret(key) == secret
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)  # somebody may have read it
    assert kept_secret(key) != secret
    assert len(kept_secret(tmp_path / "missing" / "key")) == 32


# -- what is shown ----------------------------------------------------------------------------------


def test_the_queue_starts_at_the_most_influential_point_that_waits(site):
    page, top = site.page(), np.argsort(site.items.scores["rank"])
    first = page.json("/item.json?status=open")
    assert first["id"] == site.items.ids[top[0]]
    assert first["waiting"] == site.items.ids[top[1]]
    page.decide(first["id"])
    assert page.json("/item.json?status=open")["id"] == site.items.ids[top[1]]


def test_an_item_has_its_reasons_choices_and_relations(site):
    page = site.page()
    item = page.json("/item.json?status=open")
    position = site.items.position(item["id"])
    assert [reason["name"] for reason in item["reasons"]][:2] == ["influence", "label"]
    assert item["label"] not in [choice["label"] for choice in item["choices"]]
    assert [choice["key"] for choice in item["choices"]] == list("123456789")
    assert item["choices"][0]["label"] == site.items.suggested(position) != item["label"]
    assert [t["id"] for t in item["neighbours"]] == [
        site.items.ids[p] for p in site.items.neighbours(position, 12).positions
    ]
    assert all(tile["value"] > 0 for tile in item["proponents"])
    assert all(tile["value"] < 0 for tile in item["opponents"])
    text = html.unescape(page.get(f"/item?at={item['id']}").text)
    assert all(reason["words"] in text for reason in item["reasons"])


def test_a_window_is_a_part_of_the_view(site):
    page, order = site.page(), np.argsort(site.items.scores["rank"])
    for start in (0, 200, 1400, 5000):
        window = page.json(f"/gallery.json?start={start}")
        assert window["count"] == len(site.items)
        assert [cell["id"] for cell in window["cells"]] == [
            site.items.ids[p] for p in order[start : start + 200]
        ]


def test_a_view_stays_as_it_was_while_one_decides(site):
    page = site.page()
    before = page.json("/gallery.json?status=open")
    page.decide(before["cells"][0]["id"])
    same = page.json(f"/gallery.json?status=open&seq={before['seq']}")
    assert [c["id"] for c in same["cells"]] == [c["id"] for c in before["cells"]]
    assert same["cells"][0]["own"]["verdict"] == "correct"
    assert page.json("/gallery.json?status=open")["count"] == before["count"] - 1


def test_the_same_view_from_a_server_that_started_later(site, folder):
    page = site.page()
    before = page.json("/gallery.json?status=open")
    for cell in before["cells"][:5]:
        page.decide(cell["id"])
    again = Site(folder)
    same = again.page().json(f"/gallery.json?status=open&seq={before['seq']}")
    assert [c["id"] for c in same["cells"]] == [c["id"] for c in before["cells"]]


def test_rows_are_shown_as_values(audited_rows, tmp_path):
    site = Site(Path(shutil.copytree(audited_rows, tmp_path / "wine")))
    page = site.page()
    cell = page.json("/gallery.json")["cells"][0]
    assert not cell["picture"]
    assert cell["values"][0][0] == "alcohol"
    assert "alcohol" in page.get(f"/item?at={cell['id']}").text
    assert page.get(f"/thumb/{cell['id']}").status_code == 404


def test_the_way_by_which_a_point_came_is_kept_and_the_yield_is_the_queues(site):
    page, ids = site.page(), site.items.ids
    page.decide(ids[0], "bad", way="queue")
    page.decide(ids[1], "correct", way="sample")
    page.decide(ids[2], "bad", way="gallery")
    page.act("decide-all", query={}, seq=0, ranges=[[10, 14]], verdict="correct")
    ways = [event.way for event in site.store.since(site.items.run)]
    assert ways == ["queue", "sample", "gallery", *["bulk"] * 4]
    assert page.json("/progress.json")["decided"] == 1
    assert page.json("/progress.json")["last_50"] == 1.0
    chance = {"id": str(uuid4()), "do": "decide", "item": ids[3], "verdict": "bad", "way": "by chance"}
    refused = page.post("/actions", {"actions": [chance]})
    assert refused.status_code == 400
    assert "way is 'by chance'" in refused.text


def test_the_map_has_each_point_once(site):
    page, n = site.page(), len(site.items)
    page.decide(site.items.ids[3], "boundary")
    data = page.get("/map.bin?label=3").content
    assert len(data) == n * (8 + 2 + 4 + 1 + 1)
    places = np.frombuffer(data, "<f4", 2 * n).reshape(n, 2)
    np.testing.assert_array_equal(places, site.items.places)
    label = np.frombuffer(data, "<u2", n, 8 * n)
    rank = np.frombuffer(data, "<u4", n, 10 * n)
    verdict, shown = np.frombuffer(data, "u1", n, 14 * n), np.frombuffer(data, "u1", n, 15 * n)
    np.testing.assert_array_equal(label, site.items.scores["label"])
    np.testing.assert_array_equal(rank, site.items.scores["rank"])
    np.testing.assert_array_equal(np.flatnonzero(verdict), [3])
    assert VERDICTS[verdict[3] - 1] == "boundary"
    np.testing.assert_array_equal(shown.astype(bool), site.items.scores["label"] == 3)
    assert page.json("/point.json?position=3")["id"] == site.items.ids[3]
    assert page.json(f"/point.json?position={n}", 400)["error"]


def test_progress_and_classes_count_what_was_said(site):
    page = site.page()
    cells = page.json("/gallery.json?disagree=1")["cells"][:4]
    for cell in cells:
        page.decide(cell["id"], "mislabeled", label=cell["suggested"])
    page.decide(site.items.ids[0], "skip")
    progress = page.json("/progress.json")
    assert progress["counts"]["reviewed"] >= 4
    assert progress["wrong"] == 4
    assert progress["last_50"] == 1.0
    assert "svg" in page.get("/progress").text
    classes = page.json("/classes.json")
    assert np.trace(classes["validated"]) == 0
    assert np.sum(classes["validated"]) == 4
    assert np.sum(classes["suggested"]) == len(site.items)


def test_a_random_sample_is_drawn_once_and_dealt_to_all(site):
    page, bob = site.page(), site.page("bob")
    page.decide(site.items.ids[5])
    before = page.json("/progress.json")
    assert "sampled" not in before
    assert "no random sample was drawn" in page.json(f"/item.json?{before['sample']}", 400)["error"]
    assert "error" in page.decide(site.items.ids[6], way="draw")
    assert page.act("draw") == bob.act("draw"), "the first one's"
    drawn = [event for event in site.log() if event.way == "draw"]
    assert [event.actor for event in drawn] == ["ada"]
    sample = page.json(f"/item.json?{before['sample']}")
    assert sample["count"] == 300
    page.decide(sample["id"], "bad", way="sample")
    seen = bob.json("/progress.json")
    assert seen["sampled"] == [300, 1]
    whole = seen["number"]["whole"]
    assert (whole["drawn"], whole["seen"], whole["seen_wrong"]) == (len(site.items) - 1, 1, 1)
    said = page.get("/progress").text
    assert f"Between 1 and {whole['high']:,} of the {len(site.items):,} points are wrong" in said
    assert [line["part"] for line in seen["number"]["splits"]] == list(site.items.splits)


def test_a_blind_reviewer_is_dealt_what_they_have_not_judged(audited, tmp_path):
    site = Site(Path(shutil.copytree(audited, tmp_path / "digits")), blind=True)
    ada, bob = site.page("ada"), site.page("bob")
    for item in site.items.ids[:3]:
        ada.decide(item)
    ada.act("draw")
    for page, left in ((ada, 3), (bob, 0)):
        whole = page.json("/progress.json")["number"]["whole"]
        assert (whole["drawn"], whole["judged"]) == (len(site.items) - left, left)
        assert page.json("/item.json?sample=100000")["count"] == len(site.items) - left


def test_a_link_that_makes_no_sense_says_so(site):
    page = site.page()
    for path in ("/gallery?sort=nothing", "/item?at=nowhere", "/gallery.json?seq=-1", "/map?lasso=1,2,3"):
        assert page.get(path).status_code == 400
    assert page.get("/nowhere").status_code == 404
    assert "no class" in html.unescape(page.get("/gallery?label=ten").text)


# -- what is written --------------------------------------------------------------------------------


def test_a_verdict_is_in_the_log_when_it_is_answered(site):
    page, item = site.page(), site.items.ids[5]
    result = page.decide(item, "mislabeled", label="8", note="looks like one")
    decision = {"verdict": "mislabeled", "label": "8", "note": "looks like one"}
    of = {"rank": int(site.items.scores["rank"][5]), "label": site.items.label(5)}
    assert result == {"count": 1, "items": [{"id": item, **of, "decision": decision, "before": None}]}
    (event,) = site.log()
    assert (event.actor, event.item, event.decision.label) == ("ada", item, "8")


def test_sending_twice_adds_once(site):
    page = site.page()
    actions = [
        {"id": str(uuid4()), "do": "decide", "item": site.items.ids[i], "verdict": "bad"} for i in range(3)
    ]
    actions.append({"id": str(uuid4()), "do": "undo"})
    answers = [page.post("/actions", {"actions": actions}).json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(site.log()) == 4


def test_undo_and_redo(site):
    page, (a, b) = site.page(), site.items.ids[:2]
    assert page.act("undo")["count"] == 0
    page.decide(a, "bad")
    page.decide(a, "boundary")
    page.decide(b)
    (undone,) = page.act("undo")["items"]
    assert (undone["id"], undone["decision"], undone["before"]["verdict"]) == (b, None, "correct")
    assert page.act("undo")["items"][0]["decision"]["verdict"] == "bad"
    assert page.act("redo")["items"][0]["decision"]["verdict"] == "boundary"
    assert site.page("bob").act("undo")["count"] == 0  # not another's


def test_one_verdict_for_all_that_match_is_undone_together(site):
    page = site.page()
    view = page.json("/gallery.json?label=3")
    result = page.act(
        "decide-all", query={"label": "3"}, seq=view["seq"], ranges=[[0, 10], [20, 30]], verdict="boundary"
    )
    assert result["count"] == 20
    said = {c["id"] for c in page.json("/gallery.json?verdict=boundary")["cells"]}
    assert said == {c["id"] for c in view["cells"][:10] + view["cells"][20:30]}
    assert page.act("undo")["count"] == 20
    assert page.json("/gallery.json?verdict=boundary")["count"] == 0
    assert page.act("redo")["count"] == 20


def test_all_as_suggested_leaves_out_what_is_so_already(site):
    page = site.page()
    n = len(site.items)
    result = page.act("decide-all", query={}, seq=0, ranges=[[0, n]], verdict="mislabeled", suggested=True)
    differ = np.flatnonzero(site.items.scores["label"] != site.items.scores["suggested_label"])
    assert result["count"] == len(differ)
    for event in site.log():
        position = site.items.position(event.item)
        assert event.decision.label == site.items.suggested(position) != site.items.label(position)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"do": "drop"}, "no sense"),
        ({"do": "decide", "item": "nowhere", "verdict": "correct"}, "no point"),
        ({"do": "decide", "verdict": "correct"}, "no sense"),
        ({"do": "decide", "item": "{id}", "verdict": "wrong"}, "expected one of"),
        ({"do": "decide", "item": "{id}", "verdict": "mislabeled", "label": "ten"}, "no class"),
        ({"do": "decide", "item": "{id}", "verdict": "mislabeled", "label": 3}, "text"),
        ({"do": "decide", "item": "{id}", "verdict": "correct", "label": "3"}, "label goes with"),
        ({"do": "decide", "item": "{id}", "verdict": "bad", "note": "x" * 2001}, "at most 2,000"),
        ({"do": "decide", "item": "{id}", "verdict": "bad", "id": "1"}, "no sense"),
        ({"do": "decide-all", "query": [], "seq": 0, "ranges": [], "verdict": "bad"}, "no sense"),
        ({"do": "decide-all", "query": {}, "seq": 2**70, "ranges": [], "verdict": "bad"}, "no sense"),
        (
            {"do": "decide-all", "query": {}, "seq": 0, "ranges": [[0, 10**30]], "verdict": "bad"},
            "too large",
        ),
        (
            {"do": "decide-all", "query": {"sort": "x"}, "seq": 0, "ranges": [[0, 1]], "verdict": "bad"},
            "sort is",
        ),
    ],
)  # fmt: skip
def test_a_refused_action_says_why_and_holds_up_no_other(site, action, words):
    page, item = site.page(), site.items.ids[0]
    bad = {"id": str(uuid4()), **action}
    if "item" in bad:
        bad["item"] = bad["item"].format(id=item)
    good = {"id": str(uuid4()), "do": "decide", "item": item, "verdict": "correct"}
    refused, kept = page.post("/actions", {"actions": [bad, good]}).json()["results"]
    assert words in refused["error"]
    assert kept["count"] == 1
    assert len(site.log()) == 1


def test_a_store_that_is_gone_is_said_and_work_resumes(site):
    page, item, store = site.page(), site.items.ids[0], site.store
    action = {"actions": [{"id": str(uuid4()), "do": "decide", "item": item, "verdict": "bad"}]}
    site.desk.store = broken(store)
    answer = page.post("/actions", action)
    assert (answer.status_code, answer.json()) == (503, {"error": "the disk is full"})
    shown = page.get("/item?status=open")  # one can still look
    assert shown.status_code == 200
    assert "the disk is full" in shown.text
    site.desk.store = store
    assert page.post("/actions", action).status_code == 200
    assert "the disk is full" not in page.get("/item").text
    assert len(site.log()) == 1


# -- several reviewers ------------------------------------------------------------------------------


def test_two_servers_on_one_store_agree(site, folder):
    other = Site(folder)
    ada, bob = site.page("ada"), other.page("bob")
    item = site.items.ids[0]
    ada.decide(item, "bad")
    assert bob.json(f"/item.json?at={item}")["others"][0] == {"reviewer": "ada", "verdict": "bad", "note": ""}
    bob.decide(item, "correct")
    assert ada.json("/gallery.json?status=conflict")["count"] == 1


def test_two_at_once_are_not_given_the_same_point(site):
    ada, bob = site.page("ada"), site.page("bob")
    first = ada.json("/item.json?status=open")
    assert bob.json("/item.json?status=open")["id"] != first["id"]
    assert ada.json("/item.json?status=open")["id"] == first["id"]


def test_a_conflict_is_listed_and_settled(site):
    ada, bob, item = site.page("ada"), site.page("bob"), site.items.ids[7]
    ada.decide(item, "bad")
    bob.decide(item, "correct")
    assert ada.json("/item.json?status=conflict")["id"] == item
    ada.decide(item, "correct", resolves=True)
    assert "id" not in ada.json("/item.json?status=conflict")
    assert ada.act("undo")["count"] == 1
    assert ada.json("/item.json?status=conflict")["id"] == item
    assert ada.act("redo")["count"] == 1
    assert ada.json("/gallery.json?status=conflict")["count"] == 0


def test_the_most_foreign_come_first_where_they_are_known_and_not_in_a_blind_review(folder):
    order = '<option value="p_foreign"'
    assert "p_foreign" in Items(AuditFolder(folder)).scores
    page = Site(folder).page().get("/gallery").text
    assert page.split(order)[1].partition("<")[0].endswith("unlike all others first")
    assert order not in Site(folder, blind=True).page().get("/gallery").text


def test_a_blind_reviewer_sees_nothing_of_the_others(folder):
    site = Site(folder, blind=True)
    ada, bob = site.page("ada"), site.page("bob")
    item = ada.json("/item.json?status=open")
    assert "suggested" not in item
    label = next(name for name in site.items.classes if name != item["label"])
    ada.decide(item["id"], "mislabeled", label=label, note="obvious")
    second = bob.json("/item.json?status=open")
    assert second["id"] == item["id"]  # everyone reviews everything
    assert second["hidden"]
    assert not {"suggested", "kind", "certainty"} & second.keys()
    assert second["others"] == second["proponents"] == second["scores"] == []
    assert "label" not in [reason["name"] for reason in second["reasons"]]
    order = [name for name in site.items.classes if name != second["label"]]
    assert [choice["label"] for choice in second["choices"]] == order
    cell = bob.json("/gallery.json")["cells"][0]
    assert cell["id"] == item["id"]
    assert not {"suggested", "kind", "own", "other"} & cell.keys()
    page = html.unescape(bob.get(f"/item?at={item['id']}").text)
    assert "obvious" not in page
    assert "hidden" in page
    assert bob.json("/progress.json")["counts"]["reviewed"] == 0
    assert bob.json("/gallery.json?status=conflict", 400)
    assert ada.json(f"/item.json?at={item['id']}")["own"]["note"] == "obvious"


# -- attacks ----------------------------------------------------------------------------------------


def written(site, **headers):
    """Status of a verdict with these headers, and whether it was written."""
    page = site.page()
    body = {"actions": [{"id": str(uuid4()), "do": "decide", "item": site.items.ids[0], "verdict": "bad"}]}
    return page.post("/actions", body, **headers).status_code, len(site.log())


@pytest.mark.parametrize(
    "headers",
    [
        {CSRF_HEADER: ""},
        {CSRF_HEADER: "0" * 64},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},  # another page on this machine
        {"origin": "http://127.0.0.1:8000.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
)
def test_a_write_from_elsewhere_is_refused(site, headers):
    assert written(site, **headers) == (403, 0)


def test_a_write_from_the_page_is_taken(site):
    assert written(site, origin=BASE, **{"sec-fetch-site": "same-origin"}) == (200, 1)


def test_one_sessions_token_is_not_anothers(site):
    assert written(site, **{CSRF_HEADER: site.page("bob").csrf}) == (403, 0)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "[::1", "", "127.0.0.1@evil.example"],
)
def test_another_host_name_is_refused(site, host):
    """DNS rebinding: the browser believes that this server is the attacker's."""
    page = site.page()
    for path in (
        "/gallery",
        "/gallery.json",
        f"/thumb/{site.items.ids[0]}",
        "/open?token=x",
        "/static/style.css",
    ):
        assert page.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "LOCALHOST", "[::1]:8000"])
def test_this_machines_names_are_taken(site, host):
    stranger = site.stranger()
    opened = stranger.get("/open", params={"token": site.gate.invite("ada")}, headers={"host": host})
    cookie = opened.headers["set-cookie"].split(";")[0]
    answer = stranger.get("/gallery", headers={"host": host, "cookie": cookie})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/thumb/../review.sqlite",
        "/thumb/..%2f..%2freview.sqlite",
        "/picture/%2e%2e/%2e%2e/etc/passwd",
        "/picture//etc/passwd",
        "/thumb/..\\..\\manifest.json",
        "/thumb/%00",
        "/thumb/",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "{static}/..%2fapp.py",
        "{static}/%2e%2e/templates/base.html",
        "{static}//etc/passwd",
    ],
)
def test_no_path_from_the_address_reaches_the_files(site, path):
    page = site.page()
    static = re.search(r"/static/\w+", page.get("/gallery").text)[0]
    answer = page.get(path.format(static=static))
    assert answer.status_code == 404
    assert page.get(f"{static}/style.css").status_code == 200


@pytest.mark.parametrize("length", [BODY_LIMIT + 1, 10**12])
def test_an_oversized_request_is_refused_unread(site, length):
    page = site.page()
    answer = page.post("/actions", b"{}", **{"content-length": str(length)})
    assert answer.status_code == 413


def test_an_oversized_request_that_hides_its_size_is_refused(site):
    page = site.page()

    def chunks():
        for _ in range(BODY_LIMIT // 1000 + 2):
            yield b" " * 1000

    answer = page.client.post("/actions", content=chunks(), headers={CSRF_HEADER: page.csrf})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"actions": 1}',
        b'{"actions": [1]}',
        b"[" * 50_000,
        b"\xff",
        b'{"actions":[{}' + b",{}" * 64 + b"]}",
    ],
)
def test_a_body_that_is_nonsense_is_no_crash(site, body):
    answer = site.page().post("/actions", body)
    assert answer.status_code in (200, 400)
    assert "error" in answer.text
    assert site.log() == []


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999"])
@pytest.mark.parametrize("place", ['"seq": %s, "ranges": [[0, 1]]', '"seq": 0, "ranges": [[0, %s]]'])
def test_a_number_that_is_none_is_refused(site, number, place):
    sent = f'"id": "{uuid4()}", "do": "decide-all", "query": {{}}, "verdict": "bad", {place % number}'
    answer = site.page().post("/actions", f'{{"actions": [{{{sent}}}]}}'.encode())
    assert answer.status_code == (200 if number == "1e999" else 400)  # JSON, of a float that has no end
    assert "error" in answer.text
    assert site.log() == []


SQL = "'; DROP TABLE event; --"


def test_sql_stays_text(site):
    page = site.page(SQL)
    item = site.items.ids[0]
    page.decide(item, "bad", note=SQL)
    assert page.decide(SQL)["error"]
    for path in (f"/gallery?text={SQL}", f"/gallery?sort={SQL}", f"/item?at={SQL}", f"/gallery?label={SQL}"):
        assert page.get(path).status_code in (200, 400)
    (event,) = site.log()
    assert (event.actor, event.decision.note) == (SQL, SQL)


def elements(text):
    """(tag, attributes) of each element, as a browser would find them."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(text)
    return found


def test_markup_stays_text(audited_hostile, tmp_path):
    site = Site(Path(shutil.copytree(audited_hostile, tmp_path / "hostile")))
    page = site.page(HOSTILE, owner=True)
    cell = page.json("/gallery.json")["cells"][0]
    note = "</script><script>window.hacked=3</script>"
    page.decide(cell["id"], "mislabeled", label=HOSTILE, note=note)
    for path in (
        "/gallery",
        f"/item?at={cell['id']}",
        "/map",
        "/progress",
        "/classes",
        "/findings",
        "/name",
        "/gallery?text=<script>",
    ):
        answer = page.get(path)
        assert answer.status_code == 200
        assert "49" not in re.findall(r">\s*(49)\s*<", answer.text)  # labels are no templates
        for tag, attributes in elements(answer.text):
            assert not [name for name in attributes if name == "style" or name.startswith("on")]
            if tag == "script":  # only data, and this server's own files
                assert attributes.get("type") == "application/json" or attributes["src"].startswith(
                    "/static/"
                )
            assert tag != "img" or attributes["src"].startswith(("/sheet/", "/picture/"))


def test_every_answer_has_its_headers(site):
    page = site.page()
    answers = [
        page.get("/gallery"),
        page.get("/gallery.json"),
        page.get("/nowhere"),
        page.get(f"/thumb/{site.items.ids[0]}"),
        site.stranger().get("/"),
        page.post("/actions", b"{"),
        page.get("/gallery", headers={"host": "evil.example"}),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    assert "immutable" in answers[3].headers["cache-control"]
    assert answers[0].headers["cache-control"] == "no-store"


def test_no_page_names_another_address(site):
    page = site.page()
    for path in ("/gallery", "/item", "/map", "/progress", "/classes", "/findings", "/name"):
        text = page.get(path).text
        assert not re.search(r"""(src|href|action)=["']?(https?:)?//""", text)
    for file in (Path(security.__file__).parent / "static").iterdir():
        assert not re.search(r"https?://(?!www\.w3\.org)", file.read_text("utf-8")), file.name


def test_the_schema_of_the_server_is_not_served(site):
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert site.page().get(path).status_code == 404


def test_a_flood_is_slowed_down_and_a_fast_reviewer_is_not(site, monkeypatch):
    now = 100.0
    monkeypatch.setattr(security, "monotonic", lambda: now)
    page = site.page()
    answers = [page.get("/point.json?position=0") for _ in range(201)]
    assert {answer.status_code for answer in answers[:200]} == {200}
    assert answers[200].status_code == 429
    assert int(answers[200].headers["retry-after"]) >= 1
    assert site.page("bob").get("/point.json?position=0").status_code == 200
    now = 100.125  # 50 a second come back
    assert [page.get("/point.json?position=0").status_code for _ in range(7)] == [200] * 6 + [429]


def test_an_allowance_comes_back(monkeypatch):
    now = 100.0
    monkeypatch.setattr(security, "monotonic", lambda: now)
    allowance = Allowance(2, 3)
    assert [allowance.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    now = 100.5
    assert allowance.wait("a") == 0
    assert allowance.wait("b") == 0


# -- pictures ---------------------------------------------------------------------------------------


def png(width, height, *chunks, data=b""):
    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + b"".join(chunk(*c) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def saved(format, size=(8, 8)):
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, format)
    return buffer.getvalue()


BAD_PICTURES = {
    "bomb": png(100_000, 100_000, data=b"\0" * 10**6),
    "wide": png(20_000_000, 1),
    "truncated": saved("PNG")[:45],
    "text bomb": png(8, 8, (b"zTXt", b"k\0\0" + zlib.compress(b"\0" * (100 << 20)))),
    "jpeg": saved("JPEG"),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "html": b"<html><script>alert(1)</script>",
    "empty": b"",
    "garbage": bytes(range(256)),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_what_is_no_fair_picture_is_none(name):
    assert decoded(BAD_PICTURES[name], 128) is None


def test_a_picture_is_encoded_anew_without_what_it_carried():
    carried = saved("PNG")[:-12] + b"\0\0\0\x04tEXta\0<x" + struct.pack(">I", zlib.crc32(b"tEXta\0<x"))
    found = encoded(decoded(carried + saved("PNG")[-12:], None))
    assert b"tEXt" not in found
    assert Image.open(io.BytesIO(found)).getpixel((3, 3)) == (255, 0, 0)
    assert decoded(saved("PNG", (600, 300)), 128).size == (128, 64)


def test_bad_pictures_in_an_audit_are_shown_as_such(folder):
    table = pa.ipc.open_file(folder / "items.arrow").read_all()
    pictures = list(BAD_PICTURES.values()) + table["picture"].to_pylist()[len(BAD_PICTURES) :]
    column = table.schema.get_field_index("picture")
    write_arrow(
        folder / "items.arrow", table.set_column(column, "picture", pa.array(pictures, pa.large_binary()))
    )
    site = Site(folder)
    page = site.page()
    for kind in ("thumb", "picture"):
        for item in site.items.ids[: len(BAD_PICTURES)]:
            answer = page.get(f"/{kind}/{item}")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "image/png"
            assert answer.content == encoded(placeholder())
        assert page.get(f"/{kind}/{site.items.ids[-1]}").content != encoded(placeholder())
    assert page.get(f"/sheet/{','.join(site.items.ids[:SLOTS])}").status_code == 200
    assert page.get(f"/item?at={site.items.ids[0]}").status_code == 200


def test_a_sheet_holds_its_pictures_side_by_side(site):
    page, ids = site.page(), site.items.ids[5:9]
    answer = page.get(f"/sheet/{','.join(ids)}")
    assert "immutable" in answer.headers["cache-control"]
    drawn = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert drawn.shape == (8, 8 * SLOTS, 3)
    for slot, item in enumerate(ids):
        single = np.asarray(Image.open(io.BytesIO(page.get(f"/picture/{item}").content)))
        np.testing.assert_array_equal(drawn[:, 8 * slot : 8 * slot + 8], single)
    bad = np.asarray(sheet([b"", BAD_PICTURES["bomb"]], 32))
    np.testing.assert_array_equal(bad[:, :32], np.asarray(placeholder()))
    for wrong in ("", "x", f"{ids[0]},", f"{ids[0]},../../etc/passwd", ",".join(ids * 7)):
        assert page.get(f"/sheet/{wrong}").status_code == 404
