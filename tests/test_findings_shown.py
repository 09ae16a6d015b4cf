"""Findings where people see them: in words, in the report, in the review and its filter."""

from __future__ import annotations

import base64
import re
from urllib.parse import parse_qsl

import numpy as np
import pytest
from typer.testing import CliRunner

from review_site import Site
from review_tab import opened, press, saved, served
from swaypoint.cli.main import app
from swaypoint.errors import InputError
from swaypoint.findings import Finding, Found, keep
from swaypoint.findings import base as registered
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.report.findings import EXAMPLES, OPEN, cost, counted, evidence, nothing, told
from swaypoint.report.html import render
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Review
from swaypoint.review.page.query import Query, select

NAME = "cat & dog, <b>alike</b>"
MANY = 30


def finding(name=NAME, severity="high", index=(3, 1, 7), **changes) -> Finding:
    fields = {
        "sentence": f"much of {name} is alike", "evidence": {"share": 0.125, "records": 3.0, "odd": np.nan},
        "remedy": "wash it", "index": np.array(index),
    }  # fmt: skip
    return Finding(name=name, severity=severity, **fields | changes)


def many() -> list[Finding]:
    severities = ("low", "medium", "high")
    return [finding(f"stain {i}", severities[i % 3], np.arange(i, 2 * i + 1)) for i in range(MANY)]


@pytest.fixture
def kept(folder, monkeypatch):
    """Sets what the audit in the folder has kept."""

    def only(*findings: Finding) -> AuditFolder:
        monkeypatch.setattr(registered, "findings", {"stain_remover": lambda _: list(findings)})
        keep(AuditFolder(folder))
        return AuditFolder(folder)

    return only


# -- in words ----------------------------------------------------------------------------------------


def test_numbers_by_name():
    one = finding(evidence={"share": 0.125, "records": 1234.0, "spacing": 1.5342, "odd": np.nan})
    assert evidence(one) == "share 12.5%, records 1,234, spacing 1.53"
    assert counted([finding(severity=each) for each in ("low", "high", "low")]) == "1 high, 2 low"
    assert counted([]) == "none"


@pytest.mark.parametrize(
    ("records", "change", "refit", "words"),
    [
        (
            12,
            -0.0051,
            -0.004,
            "its 12 training records * would fall by 0.4 %, * fitted anew; * would fall by 0.51 %.",
        ),
        (1, 0.25, None, "its training record * would rise by 25 %, by influence."),
        (1_200, 1e-6, -2.5, "its 1,200 training records * would fall by 250 %, * would hardly change."),
    ],
)
def test_what_it_costs_in_a_sentence(records, change, refit, words):
    measured = {"training_records": records, "held_out_loss_change": change}
    measured |= {} if refit is None else {"held_out_loss_change_refit": refit}
    said = cost(finding(evidence=measured))
    assert re.fullmatch("Without " + ".*".join(map(re.escape, words.split("*"))), said), said
    assert evidence(finding(evidence=measured)) == ""


def test_without_a_measurement_nothing_is_said_of_the_cost():
    assert cost(finding()) == ""


def test_where_nothing_was_found_it_is_said_what_was_looked_for():
    said = nothing(Found((), ("regions: no sklearn",), ("class_pairs", "duplicates")))
    assert "Looked for were class pairs and duplicates:" in said
    assert "regions" not in said


# -- the report --------------------------------------------------------------------------------------


def test_the_report_begins_with_them(kept):
    audit = kept(finding())
    page = render(audit)
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles[0] == "What holds of the whole set"
    part = page[page.index(titles[0]) : page.index(titles[1])]
    for words in ("high", "cat &amp; dog, &lt;b&gt;alike", "share 12.5%, records 3", "wash it."):
        assert words in part
    _, items = audit.items()
    shown = re.findall(r'<img [^>]*base64,([^"]*)"', part)
    assert [base64.b64decode(one) for one in shown] == [items["picture"][i].as_py() for i in (3, 1, 7)]
    address = re.search("<code>(/gallery[^<]*)</code>", part)[1].replace("&amp;", "&")
    assert address == told(finding()).address


def test_of_many_the_severe_are_shown_and_the_rest_is_folded(kept):
    part = render(kept(*many())).split("<h2>")[1]
    shown, folded = part.split("<details>")
    assert len(re.findall('class="finding high"', shown)) == OPEN
    assert 'class="finding low"' not in shown
    assert f"<summary>{MANY - OPEN} more: 2 high, 10 medium, 10 low</summary>" in folded
    assert len(re.findall('class="finding ', folded)) == MANY - OPEN
    last = folded.split('class="finding ')[-1]
    assert len(re.findall("<img", last)) == EXAMPLES


def test_without_findings_one_sentence(kept):
    part = render(kept()).split("<h2>")[1]
    assert re.findall("<p>(.*?)</p>", part) == [nothing(Found((), (), ("stain_remover",)))]


def test_the_command_counts_them(kept):
    audit = kept(finding(), finding("other", "medium", evidence={"training_records": 2.0}))
    shown = CliRunner().invoke(app, ["findings", str(audit.path)]).stdout
    assert shown.splitlines()[0] == f"{NAME}: high, 3 records"


def test_an_audit_ends_with_how_many(tmp_path):
    words = ["audit", "sklearn:wine", "--epochs", "1", "--out", str(tmp_path / "wine")]
    shown = CliRunner().invoke(app, words).stdout
    kept = keep(AuditFolder(tmp_path / "wine")).findings
    assert f"findings: {counted(kept)}; see swaypoint findings {tmp_path / 'wine'}\n" in shown


# -- the filter of the review ------------------------------------------------------------------------


def test_the_records_of_a_finding_in_its_order_or_another(kept):
    items = Items(kept(finding(index=np.array([30, 4, 17]))))
    review = Review(items.run, ())
    query = Query.parse({"finding": NAME, "sort": "finding"})
    assert Query.parse(dict(parse_qsl(query.address()))) == query
    assert select(query, items, review, "me").tolist() == [30, 4, 17]
    by_rank = select(Query(finding=NAME), items, review, "me")
    assert sorted(by_rank.tolist()) == [4, 17, 30]
    assert (np.diff(items.scores["rank"][by_rank]) > 0).all()
    label = items.label(17)
    some = select(Query(finding=NAME, sort="finding", label=(label,)), items, review, "me").tolist()
    assert some == [i for i in (30, 4, 17) if items.label(i) == label]
    with pytest.raises(InputError, match="there is no finding 'mould'"):
        select(Query(finding="mould"), items, review, "me")
    with pytest.raises(InputError, match="sort is 'finding'"):
        select(Query(sort="finding"), items, review, "me")


def test_the_page_lists_them_and_counts_what_was_reviewed(kept):
    site = Site(kept(finding(), finding("mould", "low", range(12), evidence={})).path)
    try:
        page = site.page()
        page.decide(site.items.ids[1], "bad")
        first, last = page.json("/findings.json")["cards"]
        assert [cell["id"] for cell in first["examples"]] == [site.items.ids[i] for i in (3, 1, 7)]
        assert (first["reviewed"], last["reviewed"], len(last["examples"])) == (1, 1, EXAMPLES)
        assert first["examples"][1]["own"]["verdict"] == "bad"
        gallery = page.json(f"/gallery.json?{first['query']}")
        assert [cell["id"] for cell in gallery["cells"]] == [site.items.ids[i] for i in (3, 1, 7)]
        assert page.json(f"/item.json?{first['open']}")["id"] == site.items.ids[3]
        assert page.json(f"/item.json?{first['open']}")["count"] == 2
        assert "<b>alike" not in page.get("/findings").text
    finally:
        site.store.close()


def test_where_the_folder_lies_is_not_told(kept, folder):
    site = Site(kept(finding(remedy=f"see to it: swaypoint review {folder}")).path)
    try:
        shown = site.page().get("/findings").text
        assert "swaypoint review AUDIT." in shown
        assert str(folder) not in shown
    finally:
        site.store.close()


def test_a_blind_review_tells_of_none(kept):
    site = Site(kept(finding()).path, blind=True)
    try:
        page = site.page()
        shown = page.get("/findings").text
        assert "A blind review shows none" in shown
        assert "wash it" not in shown
        assert page.json("/findings.json")["cards"] == []
        assert 'href="/findings"' not in page.get("/gallery").text
        for path in ("/gallery.json", "/item.json"):
            assert "finding would tell" in page.json(f"{path}?finding={NAME[:3]}", 400)["error"]
    finally:
        site.store.close()


# -- in a browser ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_a_finding_to_its_last_record(tab, kept):
    from axe_playwright_python.sync_playwright import Axe

    path = kept(*many(), finding(index=(5, 40, 17))).path
    with served(path) as server:
        page = opened(tab, server)
        page.locator("nav a", has_text="Findings").click()
        page.wait_for_url("**/findings")
        assert [one["id"] for one in Axe().run(page).response["violations"]] == []
        assert page.locator(".finding:visible").count() == OPEN
        page.locator(".folded summary").focus()
        page.keyboard.press("Enter")
        assert page.locator(".finding:visible").count() == MANY + 1
        own = page.locator(".finding", has=page.locator("h2", has_text=NAME))
        own.locator("a", has_text="Review them").click()
        page.wait_for_selector("#item[data-painted]")
        ids = server.site.items.ids
        assert [press(page, "f"), press(page, "f")] == [ids[5], ids[40]]
        page.keyboard.press("f")
        page.wait_for_selector(".done")
        saved(page)
        page.goto(f"{server.base}/findings")
        assert page.locator(".folded .finding", has_text=NAME).get_by_text("3 reviewed").count() == 1
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 390, "height": 844})
        page.locator(".folded summary").click()
        assert [one["id"] for one in Axe().run(page).response["violations"]] == []
        wide = "document.documentElement.scrollWidth > innerWidth"
        assert not page.evaluate(wide)


def test_a_pair_of_classes_can_be_set_at_once(folder, kept):
    scores = Items(AuditFolder(folder)).scores
    label, likely = scores["label"].astype(int), scores["likely"].astype(int)
    other = label != likely
    first = int(np.bincount(label[other] * 10 + likely[other]).argmax())
    pair = np.flatnonzero(other & (label * 10 + likely == first))[:3]
    kept(
        finding("pair", index=pair),
        finding("mixed", index=np.arange(20)),
        finding("one", index=np.empty(0, dtype=np.int64)),
    )
    site = Site(folder)
    cards = site.page().json("/findings.json")["cards"]
    assert {card["words"]["name"]: card["pair"] for card in cards} == {
        "pair": True,
        "mixed": False,
        "one": False,
    }
    address = "/gallery?sort=finding&amp;status=open&amp;finding=pair#together"
    assert address in site.page().get("/findings").text
    text = site.page().get("/gallery?sort=finding&status=open&finding=pair").text
    assert f'value="{first % 10}" selected' in text.partition('id="together-to"')[2]
    site.store.close()
