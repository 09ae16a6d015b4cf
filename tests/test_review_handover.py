"""The hand-over of a review: its numbers against pandas on the log, and what must not be on it."""

from __future__ import annotations

import hashlib
import html
import os
import re
import shutil
import sqlite3
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score
from tests.review_audit import HOSTILE
from tests.review_points import BAD, CAT, FINE, SKIP, Points, reviewed
from typer.testing import CliRunner

from swaypoint.cli.main import app
from swaypoint.errors import InputError
from swaypoint.findings import Finding
from swaypoint.findings import base as registered
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.cleaning import printed
from swaypoint.review.cleaning.handover import CLASSES, called, class_rows, log_end, render
from swaypoint.review.items import Items
from swaypoint.review.log.anchors import read_anchors
from swaypoint.review.log.dealing import dealt, draw
from swaypoint.review.log.served import Servings
from swaypoint.review.log.statement import described
from swaypoint.review.log.store import open_store
from swaypoint.review.log.verdicts import Decision, Event, Review

NAMES = ("Ada Lovelace", "Bob <b>B.</b>", "Cy")
NOTE = "my neighbour, Mr Smith"
UNTOUCHED = "page that was there"


def command(*arguments) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


class Tables(HTMLParser):
    """Of a page: by id the rows of its tables, as text; and the pairs of its lists of definitions."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {"": []}
        self._in, self._open, self.tags = "", False, set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in ("table", "pre"):
            self._in = dict(attrs).get("id", "")
            self.found.setdefault(self._in, [])
        if tag in ("tr", "dt", "pre"):
            self.found[self._in].append([])
        if tag in ("th", "td", "dt", "dd", "pre"):
            self.found[self._in][-1].append("")
            self._open = True

    def handle_endtag(self, tag):
        self._in = "" if tag in ("table", "pre") else self._in
        self._open = self._open and tag not in ("th", "td", "dt", "dd", "pre")

    def handle_data(self, data):
        if self._open:
            self.found[self._in][-1][-1] += data

    def numbers(self, name: str) -> dict[str, list[int]]:
        """By the first cell of each row the others that are numbers."""
        cells = {row[0]: [cell.replace(",", "").replace("·", "0") for cell in row[1:]]
                 for row in self.found[name][1:]}  # fmt: skip
        return {head: [int(cell) for cell in row if cell.isdigit()] for head, row in cells.items()}


def judge(items: Items, path: Path) -> None:
    """Three reviewers go down the ranking, pick, change their minds, undo, and judge a random sample."""
    generator, log, seq = np.random.default_rng(3), open_store(path), 0
    choices = [FINE, FINE, FINE, Decision("bad"), SKIP, Decision("mislabeled"), Decision("boundary"), None]
    choices += [Decision("mislabeled", items.classes[label], NOTE) for label in (1, 7)]

    def say(positions, way: str, who: tuple[str, ...], of=choices) -> None:
        nonlocal seq
        events = []
        for position in positions:
            seq += 1
            decision = of[generator.integers(len(of))]
            actor = who[generator.integers(len(who))]
            events.append(
                Event(f"e{seq}", items.run, items.ids[position], actor, decision, f"a{seq}", way=way)
            )
        log.append(events)

    ranking = np.argsort(items.scores["rank"], kind="stable")
    say(ranking[:60].tolist() * 2, "queue", NAMES)
    say(ranking[100:130].tolist(), "gallery", NAMES[:1])
    say(ranking[200:230].tolist(), "", NAMES[:1])
    log.append([draw(items, NAMES[0], "the draw")])
    order = dealt(items, Review(items.run, log.since(items.run))).tolist()
    say(order[:80], "sample", NAMES[1:2], [FINE, FINE, FINE, BAD])
    say([*order[:40], *ranking[100:120], *order[-20:]], "bulk", NAMES)  # the last nobody had seen
    log.append([Event("elsewhere", items.run, "no point of this audit", NAMES[0], FINE, "elsewhere")])
    log.append([Event("other", "another audit", items.ids[0], "Di", BAD, "other")])
    log.close()


@pytest.fixture(scope="module")
def judged(audited, tmp_path_factory):
    folder = Path(shutil.copytree(audited, tmp_path_factory.mktemp("handover") / "digits"))
    items = Items(AuditFolder(folder))
    judge(items, folder / "review.sqlite")
    return items


@pytest.fixture(scope="module")
def page(judged):
    command("handover", judged.folder.path)
    return (judged.folder.path / "handover.html").read_text()


@pytest.fixture(scope="module")
def tables(page):
    return Tables(page)


@pytest.fixture(scope="module")
def events(judged):
    """The log as the database has it."""
    with sqlite3.connect(judged.folder.path / "review.sqlite") as database:
        rows = pd.read_sql("SELECT * FROM event ORDER BY seq", database)
    return rows[rows.run == judged.run]


@pytest.fixture(scope="module")
def standing(events, judged):
    """By point and reviewer, the last word, of the audit's points."""
    last = events[events.way != "draw"].groupby(["item", "actor"]).last(skipna=False).reset_index()
    return last[last.verdict.notna() & last.item.isin(judged.ids)]


@pytest.fixture(scope="module")
def points(standing, events, judged):
    """By point: what counts, the way of the first verdict, the label."""

    def counts(said: pd.DataFrame) -> str:
        final = said[said.verdict != "skip"]
        different = final[["verdict", "label"]].fillna("").drop_duplicates()
        return "skip" if final.empty else "in conflict" if len(different) > 1 else final.verdict.iloc[0]

    first = events[events.verdict.notna()].drop_duplicates("item").set_index("item").way
    table = pd.DataFrame({item: {"counts": counts(said)} for item, said in standing.groupby("item")}).T
    table["way"] = first[table.index].fillna("")
    table["label"] = [judged.label(judged.position(item)) for item in table.index]
    return table.assign(
        wrong=table.counts.isin(["mislabeled", "bad"]), undecided=table.counts.isin(["skip", "in conflict"])
    )


# -- the numbers --------------------------------------------------------------------------------------


def test_the_script_has_all_that_can_be_counted(points, tables):
    """Else the tests below would be of nothing."""
    assert set(points.counts) >= {"mislabeled", "bad", "correct", "boundary", "skip", "in conflict"}
    assert set(points.way) == {"queue", "gallery", "", "sample", "bulk"}
    assert {"ways", "verdicts", "changes", "reviewers", "agreement", "overlaps", "counts"} <= set(
        tables.found
    )


def test_what_was_looked_at_by_the_way_it_was_dealt(points, tables):
    beginnings = {"queue": "one after", "gallery": "picked", "sample": "as the random", "": "not known"}
    beginnings["bulk"] = "many at once"
    shown = tables.numbers("ways")
    assert len(shown) == len(beginnings)
    for way, of in points.groupby("way"):
        (row,) = [row for name, row in shown.items() if name.startswith(beginnings[way])]
        assert row == [len(of), of.wrong.sum(), of.undecided.sum()]


def test_verdicts_by_given_label(points, tables, judged):
    columns, shown = tables.found["verdicts"][0][3:], tables.numbers("verdicts")
    given = pd.Series([judged.label(i) for i in range(len(judged))]).value_counts()
    table = pd.crosstab(points.label, points.counts).reindex(columns=columns, fill_value=0)
    assert list(shown) == list(judged.classes)
    for name, (every, done, *row) in shown.items():
        assert (every, done, row) == (given[name], table.loc[name].sum(), table.loc[name].tolist())


def test_labels_that_were_changed(points, standing, tables):
    mislabeled = points[points.counts == "mislabeled"]
    to = standing[standing.verdict == "mislabeled"].groupby("item").label.first()[mislabeled.index]
    pairs = pd.DataFrame({"given": mislabeled.label, "right": to.fillna("not known")})
    expected = pairs[pairs.given != pairs.right].value_counts()
    shown = {tuple(row[:2]): int(row[2]) for row in tables.found["changes"][1:]}
    assert shown == expected.to_dict()


def test_reviewers_are_numbered_and_counted(events, standing, tables):
    given, shown = events[events.verdict.notna()], tables.found["reviewers"][1:]
    for number, actor in enumerate(events.actor.drop_duplicates(), start=1):
        own, said = standing[standing.actor == actor].verdict, given[given.actor == actor]
        numbers = [len(own), own.isin(["mislabeled", "bad"]).sum(), (own == "skip").sum(), len(said)]
        times = [said["at"].iloc[end][:16].replace("T", " ") for end in (0, -1)]
        assert shown[number - 1] == [f"reviewer {number}", *map(str, numbers), *times]


def test_agreement_is_that_of_scikit_learn(events, standing, tables):
    final = standing[standing.verdict != "skip"]
    said = (final.verdict + "/" + final.label.fillna("")).set_axis([final.item, final.actor]).unstack()
    said = said[events.actor.drop_duplicates()]
    said.columns = [f"reviewer {i}" for i in (1, 2, 3)]
    for who, points, observed, kappa in tables.found["agreement"][2:]:
        both = said[who.split(" and ")].dropna()
        assert (int(points), observed) == (len(both), f"{(both.iloc[:, 0] == both.iloc[:, 1]).mean():.1%}")
        assert float(kappa) == pytest.approx(cohen_kappa_score(both.iloc[:, 0], both.iloc[:, 1]), abs=0.005)


def test_the_count_is_that_of_the_progress(judged, page, tables, points):
    store = open_store(judged.folder.path / "review.sqlite")
    found = described(judged, Review(judged.run, store.since(judged.run)))
    store.close()
    whole = found["whole"]
    assert whole["wrong"] == points.wrong.sum()
    assert whole["judged"] == len(points)
    text = html.unescape(page)
    assert all(sentence in text for sentence in [*found["explained"], found["advice"]])
    shown = tables.found["counts"][1]
    assert shown[0] == "all points"
    assert shown[-1] == f"{whole['low']:,} to {whole['high']:,}"
    assert len(tables.found["counts"]) == 2 + len(found["splits"]) + len(found["classes"])
    assert "the count takes verdicts for right" in text
    assert "were planted in this audit on purpose" in text


def test_reviewers_on_points_whose_label_is_known(judged, standing, events, tmp_path):
    known = [item for item in standing.item.unique() if item in set(judged.ids)][::2]
    labels = [judged.label(judged.position(item)) for item in known]
    labels[::5] = ["another"] * len(labels[::5])
    pd.DataFrame({"id": known, "label": labels}).to_csv(tmp_path / "known.csv", index=False)
    command(
        *("handover", judged.folder.path, "--checks", tmp_path / "known.csv"),
        *("--out", tmp_path / "page.html"),
    )
    page = (tmp_path / "page.html").read_text()
    final = standing[(standing.verdict != "skip") & standing.item.isin(known)]
    final = final.assign(wrong=final.item.isin(known[::5]), said=final.verdict.isin(["mislabeled", "bad"]))
    for number, actor in enumerate(events.actor.drop_duplicates(), start=1):
        own = final[final.actor == actor]
        right, wrong = own[~own.wrong], own[own.wrong]
        expected = [len(right), right.said.sum(), len(wrong), (~wrong.said).sum()]
        assert Tables(page).numbers("checked")[f"reviewer {number}"] == expected
    assert "Reviewers err: of" in page
    assert "takes verdicts for right" not in page


def test_data_model_and_hashes(judged, tables, page):
    said, manifest = dict(row for row in tables.found[""] if len(row) == 2), judged.manifest
    assert said["fingerprint of the data"] == manifest.data.fingerprint
    assert said["hash of the model"] == manifest.model.hash
    assert said["key of the audit"] == manifest.key
    for name in ("manifest.json", "scores.parquet"):
        content = (judged.folder.path / name).read_bytes()
        assert said[f"SHA-256 of {name}"] == hashlib.sha256(content).hexdigest()
    shown = [row[:3] for row in tables.found["fitness"][1:]]
    assert shown == [[check.name, check.verdict, check.value] for check in manifest.diagnostics.checks]
    assert not re.search(r"(?:src|href)=|url\(|@import", page), "it needs nothing else"


def test_findings_stand_on_it(judged, monkeypatch):
    severe = Finding(
        "stain <1>", "a stain & more", "high", {}, np.array([3, 1]), f"wash {judged.folder.path}"
    )
    monkeypatch.setattr(registered, "findings", {"stain": lambda folder: [severe]})
    shown = Tables(render(judged, Review(judged.run), None)).found["findings"]
    assert shown[1] == ["high", "stain <1>. a stain & more", "2", "wash AUDIT"]


# -- the log ------------------------------------------------------------------------------------------


def test_the_log_can_be_verified_again_as_the_page_says(judged, events, tables, tmp_path):
    said, last = dict(row for row in tables.found[""] if len(row) == 2), events.iloc[-1]
    assert said["events of this audit"] == f"{len(events):,}, the last is number {last.seq:,} of the log"
    assert (said["first"], said["last"]) == (events["at"].iloc[0], last["at"])
    assert said["digest of all up to it"] == last.digest
    anchor, folder = tmp_path / "anchor.txt", shutil.copytree(judged.folder.path, tmp_path / "copy")
    anchor.write_text(tables.found["anchor"][0][0] + "\n")
    assert [(one.seq, one.digest) for one in read_anchors(anchor)] == [(last.seq, last.digest)]
    assert "as they were written" in command("verify", folder, "--anchor", anchor)
    change(folder, f"DELETE FROM event WHERE seq >= {last.seq}")
    anchor.write_text(tables.found["anchor"][0][0] + "\n")
    with pytest.raises(InputError, match="its end was cut off"):
        command("verify", folder, "--anchor", anchor)


def change(folder: Path, statement: str) -> None:
    """As somebody does who can write the database."""
    with sqlite3.connect(folder / "review.sqlite") as database:
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            database.execute(f"DROP TRIGGER {name}")
        database.execute(statement)


def test_a_log_that_does_not_verify_is_refused_as_verify_does(judged, tmp_path):
    folder = shutil.copytree(judged.folder.path, tmp_path / "copy")
    (folder / "handover.html").write_text(UNTOUCHED)
    change(folder, "UPDATE event SET verdict = 'correct', label = NULL WHERE seq = 7")
    with pytest.raises(InputError, match=r"event 7 \(id e7\) is not as it was written") as said:
        command("verify", folder)
    with pytest.raises(InputError, match=re.escape(str(said.value))):
        command("handover", folder)
    assert (folder / "handover.html").read_text() == UNTOUCHED


def test_a_log_that_is_another_than_what_was_read_is_refused(judged, tmp_path):
    folder = shutil.copytree(judged.folder.path, tmp_path / "copy")
    store = open_store(folder / "review.sqlite")
    review = Review(judged.run, store.since(judged.run))
    change(folder, f"DELETE FROM event WHERE seq >= {review.events[-1].seq}")
    with pytest.raises(InputError, match="its end was cut off"):
        log_end(review, store)
    store.close()


def test_a_review_without_verdicts_says_so(audited, tmp_path):
    out = tmp_path / "page.html"
    said = command("handover", audited, "--out", out)
    page = out.read_text()
    assert "nobody has judged a point" in said
    assert "Nobody has judged a point of this audit." in page
    assert "There is no log" in page
    assert {"ways", "verdicts", "reviewers", "counts", "anchor"}.isdisjoint(Tables(page).found)
    assert not (audited / "review.sqlite").exists()


def test_where_no_verdict_stands_it_says_so(judged):
    first = Event("1", judged.run, judged.ids[0], "Ada", FINE, "1", way="queue", seq=1, at="2026")
    undone = Event("2", judged.run, judged.ids[0], "Ada", None, "2", undoes="1", seq=2, at="2026")
    page = render(judged, Review(judged.run, [first, undone]), None)
    assert "No verdict on a point of this audit stands: those given were taken back" in page
    assert "counts" not in Tables(page).found


def test_how_much_reviewers_saw_is_told_by_how_the_server_was_started(judged, audited, tmp_path):
    place = tmp_path / "log.sqlite"
    store = open_store(place)
    items, told = Items(AuditFolder(audited)), iter(range(9))

    def decided(count: int) -> None:
        names = [str(next(told)) for _ in range(count)]
        store.append([Event(x, items.run, items.ids[int(x)], "Ada", FINE, x, way="queue") for x in names])

    servings = Servings(store, items.run)
    decided(1)
    servings.begin(blind=True)
    decided(2)
    Servings(store, items.run).begin(blind=False)
    decided(3)
    Servings(store, "another audit").begin(blind=True)
    decided(2)
    given = Event("page", items.run, items.ids[20], "Ada", FINE, "page", way="queue")
    redone = replace(given, id="redone", item=items.ids[21], action="redone", way="", undoes="undone")
    imported = replace(given, id="imported", item=items.ids[22], action="imported", way="")
    played = replace(given, id="played", item=items.ids[23], actor="simulated 2", action="played")
    store.append([redone, imported, played])
    store.close()
    out = tmp_path / "page.html"
    command("handover", audited, "--store", place, "--out", out)
    said = html.unescape(re.search(r'id="shown">(.*?)</p>', out.read_text())[1])
    assert [int(count) for count in re.findall(r": (\d+)", said)] == [2, 6, 3]
    assert said.index("in a blind review") < said.index("in sight") < said.index("not on the review's page")
    assert 'id="shown"' not in render(judged, Review(judged.run), None)


# -- what must not be on it ---------------------------------------------------------------------------


def test_names_are_left_out_unless_asked_for_and_notes_always(judged, page, tmp_path):
    assert not any(name in html.unescape(page) for name in ("Ada Lovelace", "Bob", "Smith"))
    out = tmp_path / "page.html"
    command("handover", judged.folder.path, "--out", out, "--reviewers")
    named = out.read_text()
    assert {row[0] for row in Tables(named).found["reviewers"][1:]} == set(NAMES)
    assert NAMES[1] not in named, "its markup is escaped"
    assert "Smith" not in named


def test_hostile_names_are_escaped(audited_hostile, tmp_path):
    items = Items(AuditFolder(audited_hostile))
    store = open_store(tmp_path / "log.sqlite")
    said = [Decision("mislabeled", name, HOSTILE) for name in (*items.classes, HOSTILE, "</table>")]
    said += [Decision("bad", None, HOSTILE)]
    store.append(
        [
            Event(f"{i}", items.run, items.ids[i], HOSTILE, decision, f"{i}", way="queue")
            for i, decision in enumerate(said * 8)
        ]
    )
    store.close()
    out = tmp_path / "page.html"
    command("handover", audited_hostile, "--store", tmp_path / "log.sqlite", "--reviewers", "--out", out)
    page, shown = out.read_text(), Tables(out.read_text())
    assert HOSTILE not in page
    assert shown.tags.isdisjoint({"img", "script", "link", "iframe", "b<"})
    assert {row[0] for row in shown.found["verdicts"][1:]} == {"{{ 7 * 7 }}", HOSTILE}
    assert shown.found["reviewers"][1][0] == HOSTILE
    assert shown.numbers("verdicts")[HOSTILE][0] == 20


def test_a_reviewer_who_was_simulated_is_called_so(judged):
    event = Event("1", judged.run, judged.ids[0], "simulated", FINE, "1", way="queue", seq=1, at="2026")
    shown = Tables(render(judged, Review(judged.run, [event]), None)).found["reviewers"]
    assert shown[1][0] == "a simulated reviewer, no person"
    names = called(Review(judged.run, [replace(event, actor="simulated 2")]), names=True)
    assert names == {"simulated 2": "a simulated reviewer 2, no person"}


# -- classes ------------------------------------------------------------------------------------------


def test_of_many_classes_those_that_nobody_looked_at_are_summed_up():
    points = Points(300, classes=tuple(f"c{i}" for i in range(CLASSES + 50)))
    points.scores["label"] = np.arange(300) % (CLASSES + 50)
    rows = class_rows(points, reviewed(("ann", "i149", BAD), ("ann", "i120", CAT), ("bob", "i120", FINE)))
    assert [row.name for row in rows[-3:]] == ["c120", "c149", "the other 50 classes"]
    assert len(rows) == CLASSES + 1
    assert [row.judged for row in rows[-3:]] == [1, 1, 0]
    assert rows[-3].verdicts["in conflict"] == rows[-2].verdicts["bad"] == 1
    assert sum(row.points for row in rows) == 300


def test_values_have_no_classes():
    (row,) = class_rows(Points(9, classes=()), reviewed(("ann", "i1", BAD), ("ann", "i2", SKIP)))
    assert (row.name, row.points, row.judged, row.verdicts["bad"]) == ("all values", 9, 2, 1)


# -- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [("page.docx", "ends in .html or .pdf"), ("nowhere/page.html", "a folder that is there")],
)
def test_a_file_that_cannot_be_is_refused_at_once(audited, tmp_path, name, words):
    with pytest.raises(InputError, match=words):
        command("handover", audited, "--out", tmp_path / name)


def test_pdf(judged, tmp_path):
    if shutil.which("chromium") is None:
        assert "chromium" not in os.environ.get("SWAYPOINT_REQUIRE", ""), "SWAYPOINT_REQUIRE asks for it"
        pytest.skip("no chromium on this machine; install Debian's")
    command("handover", judged.folder.path, "--out", tmp_path / "page.pdf")
    content = (tmp_path / "page.pdf").read_bytes()
    width, height = map(float, re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", content).groups())
    assert (width, height) == pytest.approx((210 / 25.4 * 72, 297 / 25.4 * 72), abs=1), "A4, in points"
    assert len(re.findall(rb"/Type /Page\b", content)) > 2
    assert [file.name for file in tmp_path.iterdir()] == ["page.pdf"]


def test_without_chromium_a_pdf_is_refused_with_the_way_out(audited, tmp_path, monkeypatch):
    monkeypatch.setattr(printed.shutil, "which", lambda name: None)
    with pytest.raises(
        InputError, match=r"no Chromium .* ends in \.html, open the page in a browser and print"
    ):
        command("handover", audited, "--out", tmp_path / "page.pdf")
    assert not list(tmp_path.iterdir())


def test_a_chromium_that_fails_leaves_nothing(tmp_path, monkeypatch):
    broken, out = tmp_path / "chromium", tmp_path / "out"
    out.mkdir()
    broken.write_text("#!/bin/sh\necho 'no display' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(printed, "chromium", lambda: str(broken))
    (out / "page.pdf").write_text(UNTOUCHED)
    with pytest.raises(InputError, match=r"makes no PDF \(no display\).*print it"):
        printed.write_pdf(out / "page.pdf", "<p>page</p>")
    assert [file.read_text() for file in out.iterdir()] == [UNTOUCHED]
