"""Long class names, wide tables and narrow windows: what tells one from another is always to be seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import expect

from review_tab import opened, press, saved, served
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.items import Items
from swaypoint.review.page.differences import differences
from swaypoint.review.page.names import NARROW, WIDE, cut, shortened

LONG = [
    f"Coleoptera (beetles) of the collection of the year 1990 drawer {i:02} Carabus var. {i % 7}"
    for i in range(10)
]
WORDS = st.sampled_from(["left", "right", "lung", "of the", "!!!", "x" * 30, "12", "é", "_"])


def test_what_two_long_names_share_gives_way_to_what_they_do_not():
    assert min(map(len, LONG)) >= 80
    for room in (WIDE, NARROW):
        short = cut(LONG, room)
        assert all(f"{i:02}" in short[name] for i, name in enumerate(LONG))
        assert max(map(len, short.values())) <= room
    assert list(cut(["y" * 79 + "a", "y" * 79 + "b"], NARROW).values()) == ["…" + "y" * 7 + c for c in "ab"]
    assert shortened(["cat", "dog"]) == {}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=12).map(" ".join), unique=True, max_size=12),
    st.integers(1, 40),
)
def test_no_two_names_look_alike(names, room):
    short = cut(names, room)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert all(len(short[name]) <= len(name) for name in names)
    assert all(short[name] == name for name in names if len(name) <= room)


def test_rows_differ_in_the_columns_that_say_so(audited_rows):
    """Against the quartiles of scikit-learn's own table."""
    from sklearn.datasets import load_wine

    items, wine = Items(AuditFolder(audited_rows)), load_wine()
    values = wine.data[items.scores["index"].astype(int)]
    low, high = np.quantile(wine.data, [0.25, 0.75], axis=0)
    for position, other in ((0, 1), (5, 90), (177, 3)):
        gaps = np.abs(values[position] - values[other]) / (high - low)
        expected = [wine.feature_names[i] for i in np.argsort(-gaps)[:3]]
        found = differences(items, position, other)
        assert [one.column for one in found] == expected
        for one in found:
            column = wine.feature_names.index(one.column)
            assert float(one.value) == pytest.approx(values[other, column], rel=1e-5)
            assert float(one.own) == pytest.approx(values[position, column], rel=1e-5)
    assert differences(items, 4, 4) == ()


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, pytest.param(1280, marks=pytest.mark.slow)])
def test_long_names_at_four_hundred_per_cent(tab, folder, width):
    """1,280 pixels at 400 % are 320: nothing is to be scrolled sideways but a matrix, and no word is cut."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["data"]["classes"] = LONG
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with served(folder) as server:
        page = opened(tab, server, viewport={"width": width, "height": 640})
        label = page.get_attribute("#item", "data-label")
        button = page.get_by_role("button", name=f"{label} is right")  # in full for who hears it
        expect(button.get_by_title(label)).to_be_visible()
        clipped = "nodes => nodes.filter((n) => n.scrollWidth > n.clientWidth + 1).length"
        assert page.locator(".choice .what, .chips button, .tile .name").evaluate_all(clipped) == 0
        texts = page.locator(".choice .what [aria-hidden]").all_inner_texts()
        assert len(set(texts)) == len(texts) == 5
        press(page, "1")
        saved(page)
        for view in ("item?status=open", "gallery", "map", "progress", "classes"):
            page.goto(f"{server.base}/{view}")
            page.wait_for_timeout(150)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
            assert page.locator(".top nav, .filters, .legend").evaluate_all(clipped) == 0, view
        lines = """nodes => nodes.map((n) =>
          n.getClientRects()[0].height / parseFloat(getComputedStyle(n).lineHeight))"""
        heads = page.locator("section table:not(.matrix) thead th").evaluate_all(lines)
        assert len(heads) == 9
        assert max(heads) < 2  # "suggested" in one line
