"""A review of fifty points in a real Chromium, by touch alone and through the accessibility tree alone."""

from __future__ import annotations

import re
from itertools import cycle, islice

import numpy as np
import pytest
from playwright.sync_api import expect

from review_tab import decisions, moved, opened, saved, served
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Decision

pytestmark = pytest.mark.slow
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SAID = ["correct", "mislabeled", "boundary", "under-represented", "bad", "skip"]
# The finger's own: where it would be, no button may be hidden behind something else.
REACHED = """node => {
  const { x, y, width, height } = node.getBoundingClientRect();
  const hit = document.elementFromPoint(x + width / 2, y + height / 2);
  return node.contains(hit) && Math.min(width, height) >= 24;
}"""


def of_fifty(items: Items) -> list[str]:
    return [items.ids[position] for position in np.argsort(items.scores["rank"])[:50]]


def test_fifty_points_by_touch_alone(tab, folder):
    """Each verdict a tap, on the page and then in the gallery; one is taken back and given another class."""
    items, expected = Items(AuditFolder(folder)), {}
    with served(folder) as server:
        page = opened(tab, server, **PHONE)
        page.locator("#met").tap()
        for do in islice(cycle(SAID), 30):
            item = page.get_attribute("#item", "data-id")
            button = page.locator(f"[data-do={'relabel' if do == 'mislabeled' else do}]").first
            button.scroll_into_view_if_needed()
            assert button.evaluate(REACHED)
            label = button.get_attribute("data-label")
            button.tap()
            moved(page, item)
            expected[item] = Decision(do, label if do == "mislabeled" else None)
        page.locator("#undo").tap()
        page.wait_for_function("id => document.getElementById('item').dataset.id === id", arg=item)
        page.wait_for_selector("#item[data-painted]")
        label = page.get_attribute("#item", "data-label")
        page.locator("[data-do=mislabeled]").tap()
        right = "4" if label != "4" else "5"
        page.get_by_role("option", name=re.compile(rf"^{right}")).tap()
        moved(page, item)
        expected[item] = Decision("mislabeled", right)
        saved(page)
        page.get_by_role("link", name="Gallery").tap()
        page.wait_for_selector("#cell-3[data-painted]")
        page.get_by_label("Filter", exact=True).tap()
        page.get_by_label("any status").select_option("open")
        page.wait_for_url("**status=open*")
        page.wait_for_selector("#cell-19[data-id]")
        chosen = [page.locator(f"#cell-{i}").get_attribute("data-id") for i in range(20)]
        page.locator("#cell-0").tap()
        page.get_by_role("button", name="Several").tap()
        for i in range(1, 20):
            cell = page.locator(f"#cell-{i}")
            page.evaluate(f"document.getElementById('grid').scrollTop = {70 * (i // 3)}")
            cell.tap(position={"x": 20, "y": 10})
        expect(page.locator("#selected")).to_have_text("20 selected")
        page.locator(".selection [data-do=boundary]").tap()
        saved(page)
        expected |= dict.fromkeys(chosen, Decision("boundary"))
    assert decisions(folder, "Ada") == expected
    assert set(expected) == set(of_fifty(items))


def test_fifty_points_through_the_accessibility_tree_alone(tab, folder):
    """By roles and names; what a point is, is known from what is read out."""
    items, expected = Items(AuditFolder(folder)), {}
    names = {
        "boundary": "boundary",
        "under-represented": "under-represented",
        "bad": "bad data",
        "skip": "skip",
    }
    with served(folder) as server:
        page = opened(tab, server)
        page.get_by_role("button", name="Start").click()
        live = page.get_by_role("status").filter(has_text="Labelled")
        for count, do in enumerate(islice(cycle(SAID), 50), start=1):
            article = page.get_by_role("article", name=f"Point ranked {count}", exact=True)
            expect(article).to_be_visible()
            expect(page.get_by_role("img", name=f"Point ranked {count}, labelled")).to_be_visible()
            label = article.get_by_role("heading", level=1).inner_text().removeprefix("Labelled ")
            item = of_fifty(items)[count - 1]
            assert label == items.label(items.position(item))
            if count > 1:
                expect(live).to_contain_text(f"Labelled {label}. The model")
            page.wait_for_selector("#item[data-painted]")  # a person is slower
            right = None
            if do == "correct":
                article.get_by_role("button", name=f"{label} is right").click()
            elif do == "mislabeled" and count % 12 == 2:
                right = items.suggested(items.position(item))
                article.get_by_role("button", name="another class").click()
                page.get_by_role("combobox", name="Right class").fill(right)
                page.get_by_role("listbox", name="Classes").get_by_role("option", name=right).first.click()
            elif do == "mislabeled":
                right = items.suggested(items.position(item))
                article.get_by_role("group", name="Verdict", exact=True).get_by_role("button").nth(1).click()
            else:
                others = article.get_by_role("group", name="Other verdicts")
                others.get_by_role("button", name=names[do]).click()
            expected[item] = Decision(do, right)
        expect(page.get_by_role("article", name="Point ranked 51")).to_be_visible()
        expect(page.get_by_role("status").filter(has_text="all saved")).to_be_visible()
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("status").filter(has_text="Undone: #50")).to_be_visible()
        expect(page.get_by_role("article", name="Point ranked 50")).to_be_visible()
        page.wait_for_selector("#item[data-painted]")
        page.get_by_role("group", name="Other verdicts").get_by_role("button", name="skip").click()
        expected[item] = Decision("skip")
        saved(page)
    assert decisions(folder, "Ada") == expected
