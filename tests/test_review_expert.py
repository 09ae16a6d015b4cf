"""What an expert asks of the review page: guidelines, conditions on scores, examples of each class."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from review_site import Site
from review_tab import opened, served
from swaypoint.cli.main import app
from swaypoint.errors import InputError
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Review
from swaypoint.review.page.guidelines import rendered
from swaypoint.review.page.query import Query, select


@pytest.fixture(scope="module")
def items(audited):
    return Items(AuditFolder(audited))


def chosen(where: str, items, **options) -> list[int]:
    return select(Query(where=where), items, Review(items.run), "ada", **options).tolist()


# -- conditions -------------------------------------------------------------------------------------


def test_conditions_are_those_of_the_columns(items):
    table = items.folder.scores().to_pandas().sort_values("rank")
    expected = table.query("p_wrong > 0.1 and index < 1000").index.tolist()
    assert expected
    assert chosen("p_wrong > 0.1, index < 1000", items) == expected
    assert chosen("p_wrong>1e-1 and index<=999", items) == expected
    assert chosen("index = 7", items) == [7]
    assert chosen("", items) == table.index.tolist()


@pytest.mark.parametrize("text", ["p_wrong", "index > much", "index > 5 or", "index >> 1", "> 1", ","])
def test_what_is_no_condition_is_refused(items, text):
    with pytest.raises(InputError, match=r"expected conditions such as p_wrong > 0\.5"):
        chosen(text, items)
    with pytest.raises(InputError, match=r"expected columns of .*p_wrong"):
        chosen("luck > 1", items)


def test_a_blind_view_has_no_conditions_on_what_the_model_holds(items):
    assert chosen("index < 3", items, blind=True)
    with pytest.raises(InputError, match="blind review"):
        chosen("index < 3, p_wrong > 0.5", items, blind=True)


# -- side by side -----------------------------------------------------------------------------------


def test_examples_are_the_nearest_of_their_class(items):
    features = items._features.astype(np.float64)
    scores, position = items.scores, 11
    spread = items._space.spread
    away = np.linalg.norm((features - features[position]) / spread, axis=1)
    for name, found in zip(("3", "8"), items.examples(position, ["3", "8"], k=4), strict=True):
        label = items.classes.index(name)
        fit = [
            p
            for p in np.argsort(away, kind="stable")
            if p != position and scores["label"][p] == scores["suggested_label"][p] == label
        ]
        assert found.positions.tolist() == fit[:4]
        np.testing.assert_allclose(found.values, away[fit[:4]], rtol=1e-3)


def test_a_blind_page_has_no_examples(folder):
    for blind in (False, True):
        site = Site(folder, blind=blind)
        candidates = site.page().json("/item.json?status=open").get("candidates", [])
        assert bool(candidates) is not blind
        site.store.close()


# -- guidelines -------------------------------------------------------------------------------------


def test_guidelines_are_markdown_and_run_nothing(tmp_path):
    file = tmp_path / "guidelines.md"
    file.write_text("# Ships\n\n* a <script>alert(1)</script>\n* [here](javascript:alert(1)) **bold**\n")
    html = rendered(file)
    assert "<h1>Ships</h1>" in html
    assert "<strong>bold</strong>" in html
    assert "<script" not in html
    assert "href" not in html
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"guidelines\.md"):
        rendered(file)
    file.write_text("x" * 1_000_001)
    with pytest.raises(InputError, match="shorten"):
        rendered(file)


def test_guidelines_that_are_not_there_are_told(folder):
    result = CliRunner().invoke(app, ["review", str(folder), "--guidelines", "nowhere.md", "--no-browser"])
    assert result.exit_code == 1
    assert "nowhere.md" in str(result.exception)


# -- in the browser ---------------------------------------------------------------------------------


def test_an_expert_finds_what_is_asked(tab, folder):
    with served(folder, guidelines="<h1>Ships</h1>") as server:
        page = opened(tab, server)
        page.click("#guide")
        assert page.locator("#guidelines h1").inner_text() == "Ships"
        page.keyboard.press("Escape")
        assert page.locator(".sides .tile").count() > 3

        page.goto(f"{server.base}/gallery")
        page.fill("#where", "index < 40")
        page.press("#where", "Enter")
        page.wait_for_url("**/gallery?where=*")
        assert page.locator(".count b").inner_text() == "40"

        page.wait_for_selector("#cell-3")
        width = "() => document.getElementById('cell-0').getBoundingClientRect().width"
        before = page.evaluate(width)
        page.fill("#size", "240")
        page.wait_for_function(f"before => ({width})() > 1.5 * before", arg=before)
        page.reload()
        page.wait_for_selector("#cell-3")
        assert page.evaluate(width) > 1.5 * before  # kept


def test_what_was_searched_for_is_marked(tab, audited_rows, tmp_path):
    with served(Path(shutil.copytree(audited_rows, tmp_path / "wine"))) as server:
        page = opened(tab, server)
        value = next(iter(server.site.items.row(0).values()))
        page.goto(f"{server.base}/gallery?text={value}")
        page.wait_for_selector("#cell-0 mark")
        assert {text.lower() for text in page.locator("mark").all_inner_texts()} == {value.lower()}
        page.goto(f"{server.base}/item?text={value}")
        page.wait_for_selector("#item mark")
