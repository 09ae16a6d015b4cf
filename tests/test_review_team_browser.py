"""Saved views, one label for many, comments and exports in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from review_tab import decisions, opened, saved, served


def test_what_a_team_does_beside_verdicts(tab, folder):
    with served(folder) as server:
        page = opened(tab, server)
        page.locator("#met").click()
        page.goto(f"{server.base}/gallery?label=3")
        page.wait_for_selector("#cell-3[data-painted]")

        page.locator("#views-open").click()
        page.locator("#views-name").fill("Threes")
        page.keyboard.press("Enter")
        expect(page.locator("#toast")).to_have_text("Saved: Threes")
        assert [(view.name, view.query) for view in server.site.desk.views.all()] == [("Threes", "label=3")]

        page.locator("#together-open").click()
        page.locator("#together-count").fill("7")
        page.locator("#together-to").select_option("8")
        told = page.locator("#together-told")
        expect(told).to_have_text("7 points now labelled 3 (7) become 8.")
        assert page.locator("#together-shown .tile").count() == 7
        page.locator("#together-do").click()
        saved(page)
        expect(page.locator("#cell-6 .badge")).to_have_text("→ 8")
        assert {d.label for d in decisions(folder, "Ada").values()} == {"8"}
        page.locator("#grid").focus()
        page.keyboard.press("z")
        saved(page)
        expect(page.locator("#cell-6 .badge")).to_have_text("")
        assert decisions(folder, "Ada") == {}

        page.goto(f"{server.base}/views")
        page.get_by_role("link", name="Threes").click()
        page.wait_for_url("**/gallery?label=3")
        page.goto(f"{server.base}/views")
        page.get_by_role("button", name="Delete Threes").click()
        expect(page.locator("main")).to_contain_text("None yet")

        page.goto(f"{server.base}/item?status=open")
        page.wait_for_selector("#item[data-painted]")
        page.locator(".thread summary").click()
        page.locator("#remark").fill("f or m?")  # no key of a verdict
        page.get_by_role("button", name="Ask").click()
        expect(page.locator(".thread li.question")).to_contain_text("f or m?")
        expect(page.locator("#remark")).to_have_value("")
        page.get_by_role("button", name="Answer").scroll_into_view_if_needed()
        page.goto(f"{server.base}/questions")
        page.locator("textarea").fill("m")
        page.locator("[data-remark=answer]").click()
        expect(page.locator(".questions .answer")).to_contain_text("m")
        assert decisions(folder, "Ada") == {}


@pytest.mark.slow
def test_an_export_is_followed_over_a_reload(tab, folder):
    with served(folder) as server:
        page = tab(f"{server.base}/open?token={server.site.gate.invite('Eve', owner=True)}")
        page.wait_for_url("**/item?*")
        page.goto(f"{server.base}/work")
        page.locator("#export select[name=to]").select_option("csv")
        page.locator("#export button").click()
        page.wait_for_selector("#jobs progress")
        page.reload()
        expect(page.locator("#export button")).to_be_disabled()
        page.wait_for_selector("#jobs [data-state=done]", timeout=90_000)
        expect(page.locator("#export button")).to_be_enabled()
        with page.expect_download() as found:
            page.locator("#jobs a.button").click()
        assert found.value.suggested_filename == f"{folder.name}-export.zip"
