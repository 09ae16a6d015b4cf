"""What the review says in plain words: a sentence for each number, a first visit, supporters that support."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from review_site import Site
from review_tab import opened, press, served
from swaypoint.review.page.glossary import SENTENCES
from swaypoint.scoring.kinds import KINDS, REGRESSION_KINDS


def test_every_number_of_a_point_has_its_sentence(folder):
    site = Site(folder)
    page = site.page()
    for position in (0, 400, 1200):
        item = page.json(f"/item.json?at={site.items.ids[position]}")
        text = page.get(f"/item?at={item['id']}").text
        names = {name for name, _ in item["scores"]} | {reason["name"] for reason in item["reasons"]}
        names = {name for name in names if name != "likely"} | {"rank", item["kind"], "share", "alike"}
        for name in names:
            assert f'aria-describedby="say-{name}"' in text, name
            assert f'<p id="say-{name}">' in text, name
    assert {*KINDS, *REGRESSION_KINDS} <= SENTENCES.keys()
    assert all(re.fullmatch(r"[^$_^]+[.?]", sentence) for sentence in SENTENCES.values())


def test_supporters_are_shown_where_most_carry_the_label(folder):
    """By the items' own influences, of thirty points and of the most influential."""
    site, shown = Site(folder), set()
    page, items = site.page(), site.items
    top = np.argsort(items.scores["rank"])[:60].tolist()
    for position in (*range(0, len(items), len(items) // 30), *top):
        item = page.json(f"/item.json?at={items.ids[position]}")
        for name, related, same in zip(
            ("proponents", "opponents"), items.influences(position), (True, False), strict=True
        ):
            labels = items.scores["label"][related.positions] == items.scores["label"][position]
            telling = 2 * int((labels == same).sum()) > len(labels)
            expected = [items.ids[p] for p in related.positions] if telling else []
            assert [tile["id"] for tile in item[name]] == expected
            shown.add((name, telling))
    assert len(shown) == 4  # each was shown, and each left out


@pytest.mark.slow
def test_a_word_explains_itself_by_mouse_key_and_touch(tab, folder):
    with served(folder) as server:
        page = opened(tab, server, has_touch=True)
        page.get_by_role("button", name="Start").click()
        term, tip = page.locator(".why .term").first, page.locator(".tip-box")
        expect(term).to_have_accessible_description(SENTENCES["influence"])
        term.hover()
        expect(tip).to_have_text(SENTENCES["influence"])
        tip.hover()  # it stays while one reads
        page.wait_for_timeout(250)
        expect(tip).to_be_visible()
        page.keyboard.press("Escape")
        expect(tip).to_be_hidden()
        assert "/item" in page.url
        page.mouse.move(0, 0)
        page.locator(".where .term").nth(1).focus()
        page.keyboard.press("Shift+Tab")  # to the rank
        expect(tip).to_have_text(SENTENCES["rank"])
        press(page, "f")
        expect(tip).to_be_hidden()
        page.locator(".why .term").first.tap()
        expect(tip).to_have_text(SENTENCES["influence"])
        page.locator("#title").tap()
        expect(tip).to_be_hidden()


@pytest.mark.slow
def test_a_first_visit_is_read_once(tab, folder):
    with served(folder) as server:
        page = opened(tab, server)
        first = page.locator("#first-visit")
        expect(first).to_be_visible()
        press(page, "f")  # it is in nobody's way
        page.keyboard.press("Escape")
        expect(first).to_be_hidden()
        page.reload()
        page.wait_for_selector("#item[data-painted]")
        expect(first).to_be_hidden()
        page.locator(".menu summary").click()
        page.get_by_role("link", name="How it works").click()
        expect(first).to_be_visible()
        plain = tab(server.address, java_script_enabled=False)
        plain.goto(f"{server.base}/item?status=open#first-visit")
        expect(plain.locator("#first-visit")).to_be_visible()
