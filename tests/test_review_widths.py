"""Class names that are long, at the widths at which they once broke: in a real browser, without a server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page
from tests.chromium import launched
from tests.review_site import Site

import swaypoint

STYLE = Path(swaypoint.__file__).parent / "review" / "page" / "static" / "style.css"
BIRDS = "marsh kite, northern bunting, golden swallow, river thrush, grey wren, lesser tern, eastern swallow"
NAMES = [*BIRDS.split(", "), "coastal owl", "coastal kite", "barn warbler"]
BROKEN = """where => [...document.querySelectorAll(where)].flatMap((part) => {
  const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT), broken = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    for (const word of node.data.matchAll(/\\p{L}+/gu)) {
      if (node.parentElement.closest('.visually-hidden')) continue;
      const range = new Range();
      range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
      if (lines.size > 1) broken.push(word[0]);
    }
  return broken;
})"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with launched() as browser:
        yield browser.new_page()


def shown(page: Page, body: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 1000})
    page.set_content(f"<!doctype html><meta charset=utf-8><style>{STYLE.read_text()}</style>{body}")


@pytest.fixture(scope="module")
def classes(audited, tmp_path_factory) -> str:
    """The page of the classes, of an audit whose ten have these names."""
    folder = Path(shutil.copytree(audited, tmp_path_factory.mktemp("widths") / "audit"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["data"]["classes"] = NAMES[: len(manifest["data"]["classes"])]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    site = Site(folder)
    try:
        html = site.page().get("/classes").text
    finally:
        site.store.close()
    return html[html.index("<main") : html.index("</main>") + 7]


@pytest.mark.parametrize("width", [820, 1280, 2560])
def test_classes_have_their_names_whole_and_all_columns(page, classes, width):
    shown(page, classes, width)
    assert page.locator(".matrix th[scope=col]").count() >= len(NAMES)
    assert page.evaluate(BROKEN, "td:not(.n)") == []
    hidden = "[...document.querySelectorAll('.scroll')].filter((n) => n.scrollWidth > n.clientWidth).length"
    assert page.evaluate(hidden) == 0, "nothing to be scrolled sideways"


def test_the_rank_of_a_small_picture_is_whole(page):
    caption = "<span class=line><b class=given>{}</b></span><span class=rank>#{}</span>"
    cell = "<div class=cell style='position:static;width:122px'><div class=caption>{}</div></div>"
    cells = [cell.format(caption.format(name, rank)) for name, rank in (("332… swallow", 31), ("a", 4000))]
    shown(page, f"<div class='grid lengthy' style='contain:none'>{''.join(cells)}</div>", 820)
    cut = "[...document.querySelectorAll('.rank')].filter((n) => n.scrollWidth > n.clientWidth).length"
    assert page.evaluate(cut) == 0


@pytest.mark.parametrize("width", [1280, 2560])
def test_names_below_neighbours_break_between_words(page, width):
    name = "<span class=name><span title=x><span>{} {}</span></span></span>"
    tile = f"<a class='tile other' href=x><span class=slot></span>{name}</a>"
    tiles = "".join(
        tile.format(f"{i}…", bird) for i, bird in enumerate(["sparrow", "warbler", "bunting"] * 2, 380)
    )
    strip = f"<section class=strip><h2>Most alike</h2><div class=tiles>{tiles}</div></section>"
    shown(page, f"<div style='width:40rem'>{strip}<div class=pair>{strip}</div></div>", width)
    assert page.evaluate(BROKEN, ".tile .name") == []


def test_many_classes_leave_the_map_its_room(page):
    rows = "".join(f"<li><span class=name>class {i}</span></li>" for i in range(25))
    plot = "<div class=plot></div>"
    aside = f"<aside class=legend><ul id=legend>{rows}</ul></aside>"
    shown(page, f"<body style='height:1000px;display:flex'><main class=map>{plot}{aside}</main>", 820)
    assert page.locator("#legend").bounding_box()["height"] <= 300
