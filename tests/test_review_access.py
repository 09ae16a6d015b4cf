"""The review page for every hand and ear, in a real Chromium: axe, focus, touch, zoom."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from review_tab import decisions, moved, opened, press, saved, served
from swaypoint.review.log.verdicts import Decision

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
IN_SIGHT = """() => {
  const { top, bottom } = document.getElementById('picture').getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight;
}"""


def violations(page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found]


def test_axe_finds_nothing_where_verdicts_are_given(tab, folder):
    with served(folder) as server:
        page = opened(tab, server)
        press(page, "1")
        assert violations(page) == []


@pytest.mark.slow
@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, False), (False, True)])
def test_axe_finds_nothing_on_any_page(tab, folder, dark, phone):
    with served(folder) as server:
        options = {"color_scheme": "dark" if dark else "light", **(PHONE if phone else {})}
        page = opened(tab, server, **options)
        press(page, "1")
        press(page, "b")
        assert violations(page) == []
        for key in (" ", "?", "m"):  # the picture alone, the keys, the classes
            page.keyboard.press(key)
            assert violations(page) == [], key
            page.keyboard.press("Escape")
        for view in (
            "gallery",
            "map",
            "progress?sample=30,0",
            "classes",
            "findings",
            "views",
            "questions",
            "name",
            "item?verdict=bad",
            "nothing",
        ):
            page.goto(f"{server.base}/{view}")
            if view == "gallery":
                page.wait_for_selector("#cell-3[data-painted]")
                page.locator("#cell-3").click()
            assert violations(page) == [], view
            if view == "gallery":
                for name in ("together", "views"):
                    page.evaluate("name => document.getElementById(name).showModal()", name)
                    assert violations(page) == [], name
                    page.keyboard.press("Escape")
        stranger = tab(f"{server.base}/item", **options)
        assert violations(stranger) == []


@pytest.mark.slow
def test_axe_finds_nothing_on_a_table(tab, audited_rows, tmp_path):
    with served(Path(shutil.copytree(audited_rows, tmp_path / "wine"))) as server:
        page = opened(tab, server)
        assert violations(page) == []
        for view in ("gallery", "map?x=alcohol&y=proline", "classes"):
            page.goto(f"{server.base}/{view}")
            page.wait_for_timeout(200)
            assert violations(page) == [], view


@pytest.mark.slow
def test_the_first_verdict_is_a_tab_away_and_the_focus_goes_on(tab, folder):
    with served(folder) as server:
        page = opened(tab, server)
        expect(page.locator("#title")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.locator("[data-do=correct]")).to_be_focused()
        before = page.get_attribute("#item", "data-id")
        page.keyboard.press("Enter")
        moved(page, before)
        expect(page.locator("#title")).to_be_focused()
        label = page.get_attribute("#item", "data-label")
        expect(page.locator("#live")).to_have_text(re.compile(rf"^Labelled {label}\. The model .* 2 of 1,"))
        saved(page)
        plain = tab(server.address, java_script_enabled=False)
        plain.wait_for_url("**/item?*")
        plain.keyboard.press("Tab")
        expect(plain.get_by_role("link", name="To the verdict")).to_be_focused()
        plain.keyboard.press("Enter")
        plain.keyboard.press("Tab")
        expect(plain.locator("[data-do=correct]")).to_be_focused()


@pytest.mark.slow
def test_on_a_phone_the_next_picture_is_in_sight_and_one_tap_undoes(tab, folder):
    with served(folder) as server:
        page = opened(tab, server, **PHONE)
        before = page.get_attribute("#item", "data-id")
        page.locator("[data-do=skip]").scroll_into_view_if_needed()
        page.evaluate("scrollBy(0, 400)")
        assert not page.evaluate(IN_SIGHT)
        page.locator("[data-do=skip]").tap()
        moved(page, before)
        assert page.evaluate(IN_SIGHT)
        saved(page)
        page.get_by_role("button", name="Undo").tap()
        page.wait_for_function("id => document.getElementById('item').dataset.id === id", arg=before)
        assert page.evaluate(IN_SIGHT)
        saved(page)
    assert decisions(folder, "Ada") == {}


@pytest.mark.slow
def test_points_are_selected_by_touch(tab, folder):
    with served(folder) as server:
        page = opened(tab, server, **PHONE)
        page.goto(f"{server.base}/gallery")
        page.wait_for_selector("#cell-5[data-painted]")
        ids = [page.locator(f"#cell-{i}").get_attribute("data-id") for i in range(6)]
        page.locator("#cell-1").tap()
        page.get_by_role("button", name="Several").tap()
        for i in (3, 4, 3):
            page.locator(f"#cell-{i}").tap()
        expect(page.locator("#selected")).to_have_text("2 selected")
        page.locator(".selection [data-do=boundary]").tap()
        saved(page)
        box = page.locator("#cell-2").bounding_box()
        finger = page.context.new_cdp_session(page)
        at = {"x": box["x"] + 30, "y": box["y"] + 30}
        finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
        page.wait_for_timeout(600)  # it rests
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.locator("#cell-5").tap()
        expect(page.locator("#selected")).to_have_text("2 selected")
        page.locator(".selection [data-do=bad]").tap()
        saved(page)
    expected = dict.fromkeys((ids[1], ids[4]), Decision("boundary"))
    assert decisions(folder, "Ada") == expected | dict.fromkeys((ids[2], ids[5]), Decision("bad"))


@pytest.mark.slow
def test_a_picture_is_zoomed_moved_and_lit(tab, folder):
    with served(folder) as server:
        page = opened(tab, server, has_touch=True)
        size, image = page.locator("#zoom output"), page.locator(".stage img")
        page.locator(".enlarge").click()
        expect(page.get_by_role("button", name="Close")).to_be_focused()
        image.click()
        expect(size).to_have_text("200 %")
        page.mouse.wheel(0, -400)
        expect(size).not_to_have_text("200 %")
        box = page.locator(".stage").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        before = image.bounding_box()
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 40, y + 25, steps=4)
        page.mouse.up()
        after = image.bounding_box()
        assert after["x"] - before["x"] == pytest.approx(40, abs=1)
        assert after["y"] - before["y"] == pytest.approx(25, abs=1)
        page.keyboard.press("0")
        expect(size).to_have_text("100 %")
        fingers = page.context.new_cdp_session(page)

        def touch(kind: str, apart: float) -> None:
            points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if apart else []})

        touch("touchStart", 50)
        for apart in range(60, 151, 10):
            touch("touchMove", apart)
        touch("touchEnd", 0)
        expect(size).to_have_text("300 %")
        page.get_by_label("Brightness").fill("150")
        page.keyboard.press("Tab")  # out of the slider
        page.get_by_role("button", name="Close").click()
        lit = "getComputedStyle(document.getElementById('picture')).filter"
        assert page.evaluate(lit) == "brightness(1.5) contrast(1)"
        expect(page.locator(".adjusted")).to_be_visible()
        press(page, "f")
        assert page.evaluate(lit) == "brightness(1.5) contrast(1)"
        page.keyboard.press(" ")
        page.get_by_role("button", name="Reset").click()
        assert page.evaluate(lit) == "brightness(1) contrast(1)"


@pytest.mark.slow
def test_two_fingers_zoom_the_map_and_draw_no_lasso(tab, folder):
    with served(folder) as server:
        page = opened(tab, server, **PHONE)
        page.goto(f"{server.base}/map")
        page.wait_for_selector("#canvas[data-painted]")
        box = page.locator("#canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        before = page.locator("#canvas").screenshot()
        fingers = page.context.new_cdp_session(page)
        for kind, apart in (("touchStart", 30), ("touchMove", 60), ("touchMove", 90)):
            points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(100)
        assert page.locator("#canvas").screenshot() != before
        assert "lasso" not in page.url
        assert "/map" in page.url
