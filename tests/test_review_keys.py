"""Keys of the review page in a real Chromium: held, changed, turned off, Caps Lock; notes half written."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from review_tab import current, decisions, opened, press, saved, served
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Decision

# Two presses in one turn of the event loop: nothing can be painted between them.
TWICE = """() => {
  const press = () => new KeyboardEvent('keydown', { key: 'f', bubbles: true });
  for (let i = 0; i < 2; i++) document.body.dispatchEvent(press());
}"""


@pytest.mark.slow
def test_a_held_key_decides_once_and_an_unseen_point_never(tab, folder):
    with served(folder) as server:
        page = opened(tab, server)
        first = current(page)
        for _ in range(30):
            page.keyboard.down("f")  # the first is a press, the others repeat it
            page.wait_for_timeout(10)
        page.keyboard.up("f")
        saved(page)
        assert list(decisions(folder, "Ada")) == [first]
        second = current(page)
        page.evaluate(TWICE)
        saved(page)
        page.wait_for_selector("#item[data-painted]")
        assert list(decisions(folder, "Ada")) == [first, second]
        page.goto(f"{server.base}/gallery?status=open")
        page.wait_for_selector("#cell-30[data-painted]")
        third = page.locator("#cell-0").get_attribute("data-id")
        for _ in range(20):
            page.keyboard.down("b")
        page.keyboard.up("b")
        saved(page)
        assert list(decisions(folder, "Ada")) == [first, second, third]
        page.evaluate(
            "document.getElementById('grid').scrollTop = 20000"
        )  # what has the focus is out of sight
        page.wait_for_timeout(100)
        page.keyboard.press("x")
        expect(page.locator("#cell-1")).to_be_in_viewport()
        saved(page)
        assert len(decisions(folder, "Ada")) == 3


@pytest.mark.slow
def test_undo_says_what_it_undoes(tab, folder):
    items = Items(AuditFolder(folder))
    with served(folder) as server:
        page = opened(tab, server)
        item = press(page, "b")
        saved(page)
        page.keyboard.press("z")
        label = items.label(items.position(item))
        expect(page.locator("#toast")).to_have_text(f"Undone: #1, labelled {label}: boundary")
        page.keyboard.press("Shift+Z")
        expect(page.locator("#toast")).to_have_text(f"Done again: #1, labelled {label}: boundary")
        page.goto(f"{server.base}/gallery")
        page.wait_for_selector("#cell-0[data-painted]")
        page.locator("#undo").click()
        expect(page.locator("#toast")).to_have_text(f"Undone: #1, labelled {label}: boundary")


@pytest.mark.slow
def test_keys_under_caps_lock_changed_and_turned_off(tab, folder):
    with served(folder) as server:
        page = opened(tab, server)
        first = press(page, "F")  # as Caps Lock sends it: without Shift
        saved(page)
        page.keyboard.press("Z")
        expect(page.locator("#toast")).to_contain_text("Undone")
        page.keyboard.press("Shift+Z")
        expect(page.locator("#toast")).to_contain_text("Done again")
        page.keyboard.press("?")
        field = page.get_by_label("Key for fine: the label is correct")
        field.fill("b")  # taken
        expect(page.locator("#keys-told")).to_contain_text("boundary")
        field.fill("q")
        page.keyboard.press("Escape")
        page.goto(f"{server.base}/item?status=open")
        page.wait_for_selector("#item[data-painted]")
        expect(page.locator("[data-do=correct]")).to_have_attribute("aria-keyshortcuts", "q")
        expect(page.locator("[data-do=correct] kbd")).to_have_text("q")
        page.keyboard.press("f")  # nobody's now
        second = press(page, "q")
        page.keyboard.press("?")
        page.get_by_label("single keys do this").uncheck()
        page.keyboard.press("Escape")
        page.goto(f"{server.base}/item?status=open")
        page.wait_for_selector("#item[data-painted]")
        expect(page.locator("[data-do=correct] kbd")).to_be_hidden()
        third = current(page)
        for key in "qfbux1m":
            page.keyboard.press(key)
        page.wait_for_timeout(100)
        assert current(page) == third
        page.keyboard.press("ArrowRight")  # no character: it stays
        page.wait_for_function("id => document.getElementById('item').dataset.id !== id", arg=third)
        saved(page)
    assert decisions(folder, "Ada") == dict.fromkeys((first, second), Decision("correct"))


@pytest.mark.slow
def test_a_half_written_note_outlasts_a_reload(tab, folder):
    with served(folder) as server:
        page = opened(tab, server)
        item = current(page)
        page.keyboard.press("n")
        page.keyboard.type("is this a 3 or")
        page.reload()
        page.wait_for_selector("#item[data-painted]")
        expect(page.locator("#note")).to_have_value("is this a 3 or")
        page.goto(f"{server.base}/gallery")
        page.goto(f"{server.base}/item?at={item}")
        page.wait_for_selector("#item[data-painted]")
        press(page, "f")
        expect(page.locator("#note")).to_have_value("")
        saved(page)
        assert not page.evaluate(
            "Object.keys(localStorage).filter((k) => k.startsWith('swaypoint-note')).length"
        )
    assert decisions(folder, "Ada") == {item: Decision("correct", None, "is this a 3 or")}
