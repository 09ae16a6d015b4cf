"""Comments, questions and answers on a point: in the log, seen by whom they may be, in no export unasked."""

from __future__ import annotations

from uuid import uuid4

import pyarrow.csv
import pytest
from typer.testing import CliRunner

from review_site import Site
from swaypoint.cli.main import app
from swaypoint.review.log import threads
from swaypoint.review.log.verdicts import Event


def say(tab, item, text, kind="comment", status=200, **more):
    answer = tab.post("/remarks", {"id": str(uuid4()), "item": item, "kind": kind, "text": text, **more})
    assert answer.status_code == status, answer.text
    return answer.json()


def thread(tab, item):
    return [(one["actor"], one["kind"], one["text"]) for one in tab.json(f"/item.json?at={item}")["remarks"]]


def questions(tab):
    return tab.json("/questions.json")


def test_a_question_is_listed_and_answered(site):
    ada, bob, eve = site.page("ada"), site.page("bob"), site.page("eve", owner=True)
    item, other = site.items.ids[:2]
    say(ada, item, "the top is cut off")
    say(ada, item, "  is this a 7?\nor a 1?  ", "question")
    say(bob, other, "and this?", "question")
    assert thread(bob, item) == [
        ("ada", "comment", "the top is cut off"),
        ("ada", "question", "is this a 7?\nor a 1?"),
    ]
    assert questions(eve)["waiting"] == 2
    assert ">2 questions</a>" in eve.get("/gallery").text
    assert ">2 questions</a>" not in bob.get("/gallery").text
    to = questions(eve)["asked"][0]["question"]["id"]
    say(eve, item, "a 1", "answer", to=to)
    asked = questions(ada)["asked"]
    assert [one["question"]["item"] for one in asked] == [other, item]  # what waits is first
    assert [one["text"] for one in asked[1]["answers"]] == ["a 1"]
    assert questions(eve)["waiting"] == 1
    assert thread(ada, item)[-1] == ("eve", "answer", "a 1")
    assert "a 1" in ada.get(f"/item?at={item}").text


def test_it_is_no_verdict_and_in_the_chain(site):
    ada, item = site.page("ada"), site.items.ids[0]
    say(ada, item, "hm")
    assert site.log() == []
    assert ada.json("/gallery.json?status=reviewed")["count"] == 0
    assert ada.act("undo")["count"] == 0
    (event,) = site.store.since(f"{site.items.run}:threads")
    assert (event.item, event.actor, event.action, event.text) == (item, "ada", "comment", "hm")
    assert site.store.verify().digest == event.digest


def test_a_retry_says_it_once(site, folder):
    ada, item, id = site.page("ada"), site.items.ids[0], str(uuid4())
    for _ in range(2):
        say(ada, item, "hm", id=id)
    assert len(thread(ada, item)) == 1
    assert "another content" in say(ada, item, "other", id=id, status=400)["error"]
    other = Site(folder)  # another server, started later
    assert len(thread(other.page("bob"), item)) == 1
    other.store.close()


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"text": " \n "}, "expected 1 to 2,000"),
        ({"text": "x" * 2001}, "expected 1 to 2,000"),
        ({"text": 3}, "with a text"),
        ({"text": None}, "with a text"),
        ({"text": "\0"}, "NUL"),
        ({"text": "\ud800"}, "surrogate"),
        ({"item": "nowhere"}, "no point"),
        ({"item": ["x"]}, "no point"),
        ({"kind": "verdict"}, "expected one of comment, question, answer"),
        ({"kind": {}}, "expected one of"),
        ({"kind": "answer"}, "a question on the same point"),
        ({"kind": "answer", "to": "x"}, "a question on the same point"),
        ({"id": "1"}, "a UUID"),
    ],
)
def test_what_is_no_remark_is_refused(site, sent, words):
    answer = site.page().post(
        "/remarks", {"id": str(uuid4()), "item": site.items.ids[0], "kind": "comment", "text": "x"} | sent
    )
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert site.store.since(f"{site.items.run}:threads") == []


def test_an_answer_is_to_a_question_on_the_same_point(site):
    ada, (item, other) = site.page("ada"), site.items.ids[:2]
    say(ada, item, "what?", "question")
    to = questions(ada)["asked"][0]["question"]["id"]
    say(ada, other, "that", "answer", to=to, status=400)
    comment = thread(ada, item)
    say(ada, item, "that", "answer", to=to)
    assert thread(ada, item) == [*comment, ("ada", "answer", "that")]


def test_there_is_an_end_to_them(site, monkeypatch):
    monkeypatch.setattr(threads, "MOST", 3)
    ada, (item, other) = site.page("ada"), site.items.ids[:2]
    for i in range(3):
        say(ada, item, str(i))
    assert "no more fit" in say(ada, item, "one more", status=400)["error"]
    monkeypatch.setattr(threads, "MOST_OF_ALL", 4)
    say(ada, other, "x")
    say(ada, other, "y", status=400)


def test_who_has_no_name_says_nothing(site):
    item = site.items.ids[0]
    assert site.page("").post("/remarks", {"id": str(uuid4()), "item": item}).status_code == 403
    assert site.stranger().post("/remarks", json={}).status_code == 403
    assert site.stranger().get("/questions").status_code == 403
    page = site.page()
    sent = {"id": str(uuid4()), "item": item, "kind": "comment", "text": "x"}
    assert page.post("/remarks", sent, origin="http://evil.example").status_code == 403


def test_text_stays_text(site):
    ada, item, text = site.page("ada", owner=True), site.items.ids[0], "<script>alert(1)</script>"
    say(ada, item, text, "question")
    for where in (f"/item?at={item}", "/questions"):
        shown = ada.get(where).text
        assert "<script>alert" not in shown
        assert "&lt;script&gt;alert(1)" in shown


def test_a_blind_reviewer_sees_their_own_and_what_was_answered_to_them(blind):
    ada, bob, eve = blind.page("ada"), blind.page("bob"), blind.page("eve", owner=True)
    item = blind.items.ids[0]
    say(ada, item, "surely a 3", "comment")
    say(ada, item, "a 3?", "question")
    say(bob, item, "an 8?", "question")
    mine, his = (one["question"]["id"] for one in questions(eve)["asked"])
    say(bob, item, "no", "answer", to=mine, status=400)  # of which he does not know
    say(eve, item, "look at the top", "answer", to=his)
    assert thread(ada, item) == [("ada", "comment", "surely a 3"), ("ada", "question", "a 3?")]
    assert thread(bob, item) == [("bob", "question", "an 8?"), ("eve", "answer", "look at the top")]
    assert thread(eve, item) == [("eve", "answer", "look at the top")]  # as a reviewer of it
    assert [one["question"]["actor"] for one in questions(bob)["asked"]] == ["bob"]
    for where in ("/questions", f"/item?at={item}", "/gallery"):
        text = bob.get(where).text
        assert "surely" not in text
        assert "1 open" not in text
    assert "1 open" in ada.get("/gallery").text


def test_exports_have_them_only_with_the_reviewers(site, folder, tmp_path):
    ada, (item, other) = site.page("ada"), site.items.ids[:2]
    say(ada, item, "=1+1", "question")
    say(site.page("bob"), item, "no")
    ada.decide(other)

    def exported(*options):
        out = tmp_path / f"{uuid4()}.csv"
        command = ["export", str(folder), "--to", "csv", "--out", str(out), *options]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        return pyarrow.csv.read_csv(out, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True))

    assert "comments" not in exported().column_names
    table = exported("--reviewers")
    said = dict(zip(table["id"].to_pylist(), table["comments"].to_pylist(), strict=True))
    assert said[item] == "ada asks: =1+1\nbob says: no"
    assert not said[other]


def test_what_no_swaypoint_wrote_is_no_remark(site):
    run, item = f"{site.items.run}:threads", site.items.ids[0]
    site.store.append(
        [
            Event(str(uuid4()), run, item, "eve", None, "shout", text="x"),
            Event(str(uuid4()), run, item, "eve", None, "comment"),
            Event(str(uuid4()), run, "gone", "eve", None, "question", text="x"),
        ]
    )
    site.desk.threads.follow()
    assert thread(site.page(), item) == []
    assert questions(site.page("ada", owner=True))["asked"] == []
