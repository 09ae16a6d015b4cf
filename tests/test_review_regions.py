"""Cuts and regions on the review page: by HTTP, and in a real browser."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect
from sklearn.datasets import load_wine

from chromium import launched
from review_audit import Server
from review_site import Site
from swaypoint.findings.regions import Table, explore, write_regions
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.cuts import cut
from swaypoint.review.items import Items
from swaypoint.review.page.query import inside

CUT = "x=alcohol&y=proline"


@pytest.fixture
def wine(audited_rows, tmp_path) -> Path:
    path = Path(shutil.copytree(audited_rows, tmp_path / "wine"))
    write_regions(AuditFolder(path), explore(AuditFolder(path)))
    return path


@pytest.fixture
def site(wine):
    made = Site(wine)
    yield made
    made.store.close()


def columns(site: Site, *names: str) -> np.ndarray:
    """Of the ranked points, from scikit-learn."""
    values = load_wine().data.astype(np.float32)[site.items.scores["index"].astype(int)]
    return values[:, [load_wine().feature_names.index(name) for name in names]].astype(np.float64)


def test_a_cut_has_each_point_at_its_values(site):
    page, n = site.page(), len(site.items)
    data = page.get(f"/map.bin?{CUT}").content
    assert len(data) == n * (8 + 2 + 4 + 1 + 1 + 1)
    places = np.frombuffer(data, "<f4", 2 * n).reshape(n, 2)
    axes = page.json(f"/map.json?{CUT}")["axes"]
    low, high = (np.array([axis[end] for axis in axes]) for end in ("low", "high"))
    values = columns(site, "alcohol", "proline")
    np.testing.assert_allclose(low + (places + 1) / 2 * (high - low), values, rtol=1e-5)
    np.testing.assert_allclose([low, high], np.quantile(values, [0.01, 0.99], axis=0))
    cook = site.items.scores["cook"]
    strength = np.frombuffer(data, "u1", n, 16 * n)
    np.testing.assert_allclose(strength / 255, np.sqrt(cook / cook.max()), atol=0.5 / 255 + 1e-9)


def test_ranges_and_regions_are_filters(site):
    page = site.page()
    ash, hue = columns(site, "ash", "hue").T
    count = ((ash >= 2.2) & (ash <= 2.5) & (hue >= 1)).sum()
    assert page.json("/gallery.json?within=ash:2.2:2.5,hue:1:9")["count"] == count
    for number, region in enumerate(site.items.regions, start=1):
        cells = page.json(f"/gallery.json?region={number}")["cells"]
        assert {cell["id"] for cell in cells} == {site.items.ids[member] for member in region.members}
    link = page.json("/map.json")["regions"][0]
    assert page.json(f"/map.json?{link['query']}")["count"] == len(site.items.regions[0])


def test_a_lasso_means_the_cut_that_it_was_drawn_on(site):
    page = site.page()
    corners = [(-1.5, -1.5), (0.3, -1.5), (0.3, 0.4), (-1.5, 0.4)]
    lasso = ";".join(f"{x},{y}" for x, y in corners)
    values = columns(site, "alcohol", "proline")
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    places = 2 * (values - low) / (high - low) - 1
    count = inside(places, np.array(corners)).sum()
    assert page.json(f"/gallery.json?lasso={lasso}&{CUT}")["count"] == count
    shown = page.json(f"/map.json?lasso={lasso}&{CUT}")
    assert shown["without_lasso"] == CUT
    text = page.get(f"/gallery?lasso={lasso}&{CUT}").text
    assert '<input type="hidden" name="x" value="alcohol">' in text  # another filter keeps its meaning


def test_the_page_offers_the_columns_of_a_table(site, audited_rows):
    text = site.page().get(f"/map?{CUT}&region=1").text
    for name in load_wine().feature_names:
        assert text.count(f">{name}</option>") == 2
    assert "<option selected>alcohol</option>" in text
    assert 'aria-current="true"><a href="/map?' in text


def test_addresses_that_make_no_sense(site, folder):
    page = site.page()
    for path, words in [
        ("/map?x=alcohol&y=nope", "no column 'nope'"),
        ("/gallery?within=ash", "expected COLUMN:LOW:HIGH"),
        ("/gallery?region=99", "no region 99; there are"),
        ("/gallery?region=two", "makes no sense"),
    ]:
        answer = page.get(path)
        assert answer.status_code == 400
        assert words in answer.text.replace("&#39;", "'")
    pictures = Site(folder)
    try:
        assert "Cut along" not in pictures.page().get("/map").text
        assert pictures.page().get(f"/map?{CUT}").status_code == 400
        assert "run `swaypoint regions` first" in pictures.page().json("/gallery.json?region=1", 400)["error"]
    finally:
        pictures.store.close()


def test_categories_stand_apart_on_their_axis():
    codes = np.repeat([0, 1, 2], 20)
    table = Table(np.eye(3)[codes], codes, ("c=a", "c=b", "c=c"), ("x", "y", "z"))
    shown = cut(table, "c", "c")
    assert shown.x.names == ("a", "b", "c")
    values = shown.x.low + (shown.places[:, 0] + 1) / 2 * (shown.x.high - shown.x.low)
    np.testing.assert_array_equal(np.rint(values), codes)


# -- in a browser ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_a_cut_to_the_points_of_a_region(wine):
    with Server(wine, ("--reviewer", "Ada")) as server, launched() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.goto(server.address)
        page.wait_for_selector("#item[data-id]")
        page.goto(f"{server.base}/map")
        page.locator("[name=x][form]").select_option("alcohol")
        page.wait_for_url("**x=alcohol*")
        page.locator("[name=y][form]").select_option("proline")
        page.wait_for_url("**y=proline*")
        page.wait_for_selector("#canvas[data-painted]")
        box = page.locator("#canvas").bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for x, y in [(0, 0), (300, 0), (300, -300), (0, -300)]:
            page.mouse.move(middle[0] + x, middle[1] + y, steps=5)
            if (x, y) == (0, 0):
                page.mouse.down()
        page.mouse.up()
        page.wait_for_url("**lasso=*")
        some = int(page.locator(".count b").inner_text())
        items = Items(AuditFolder(wine))
        unit = min(box["width"], box["height"]) / 2.5
        places = items.cut("alcohol", "proline").places * unit
        drawn = ((places > 0) & (places < 300)).all(1).sum()
        assert abs(some - drawn) <= 2
        page.locator("[name=x][form]").select_option("ash")  # the lasso meant other places
        page.wait_for_url(re.compile(r"x=ash&y=proline$"))
        page.locator("[name=within]").fill("hue:1:9")
        page.keyboard.press("Enter")
        page.wait_for_url("**within=*")
        page.locator(".regions a").first.click()
        page.wait_for_url("**region=1*")
        expect(page.locator(".count b")).to_have_text(str(len(items.regions[0])))
        page.locator("#to-gallery").click()
        page.wait_for_url("**/gallery?*")
        expect(page.locator(".cell")).to_have_count(len(items.regions[0]))
    assert problems == []
