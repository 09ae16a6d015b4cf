"""Texts as people have them, in report and review in a real Chromium: long, right to left, code, markup."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect

import swaypoint
from chromium import launched
from review_audit import HOSTILE, Server
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import ReadOptions
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.items import Items

CATS = ["cat", "purr", "whisker", "kitten", "meow", "litter", "claw", "fur"]
CODE = ["def", "return", "import", "class", "lambda", "yield", "print", "assert"]
ODD = {
    "long": ("cats", " ".join(np.random.default_rng(0).choice(CATS, 18_000))),
    "word": ("code", "x" * 100_000),
    "arabic": ("cats", "القطة تنام على السجادة cat purr وتستيقظ في المساء."),
    "emoji": ("cats", "🐈 😺 cat 👩‍👩‍👧‍👦 purr"),
    "code": ("code", "def f(x):\n    if x < 3:\n\treturn [x]\n"),
    "markup": ("code", f"{HOSTILE}</textarea></pre><script>window.hacked=1</script><!-- return"),
    "blank": ("cats", " \n"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """40 classes of long names; two have texts of their own, the others one text each."""
    root, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(1)
    rows = [*ODD.values()]
    for name, words in (("cats", CATS), ("code", CODE)):
        rows += [(name, " ".join(rng.choice(words, rng.integers(4, 60)))) for _ in range(20)]
    rows += [(f"class {i} {'of a long name ' * 6}<i>", f"cat return {i}") for i in range(38)]
    labels, texts = zip(*rows, strict=True)
    pq.write_table(pa.table({"body": texts, "topic": labels}), root / "a.parquet")
    read = ReadOptions(label="topic", text="body")
    options = AuditOptions(validation=0.0, scores=("auto",))
    return swaypoint.audit(root / "a.parquet", root / "audit", options=options, read=read).path


def fits(page) -> bool:
    """Nothing is to be scrolled sideways."""
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.slow
def test_texts_are_shown_as_they_are(folder):
    items, problems = Items(AuditFolder(folder)), []
    with launched() as browser, Server(folder, ("--reviewer", "Ada")) as server:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(server.address)
        page.wait_for_selector("#item[data-id]")
        for index, (name, (label, text)) in enumerate(ODD.items()):
            position = int(np.flatnonzero(items.scores["index"] == index)[0])
            page.goto(f"{server.base}/item?at={items.ids[position]}")
            expect(page.locator("h1")).to_have_text(f"Labelled {label}")
            shown = page.locator("#item .picture .text")
            if name == "blank":
                expect(shown.locator("small")).to_have_text("(blank)")
                expect(page.locator(".legend-words")).to_have_count(0)
            else:
                assert shown.evaluate("node => node.textContent") == text
            assert fits(page), name
            assert shown.bounding_box()["height"] <= 400.0, name
            if name in ("long", "arabic"):  # of its many words each says little, together they do
                assert shown.locator("mark.for").count() >= 2, name
        assert page.evaluate("window.hacked") is None
        arabic = int(np.flatnonzero(items.scores["index"] == list(ODD).index("arabic"))[0])
        page.goto(f"{server.base}/item?at={items.ids[arabic]}")
        shown = page.locator("#item .picture .text")
        assert shown.evaluate("node => getComputedStyle(node).direction") == "rtl"
        page.goto(f"{server.base}/gallery")
        page.wait_for_selector(".cell dd.text")
        for cell in page.locator(".cell:has(dd.text)").all()[:8]:
            assert cell.locator(".caption").first.bounding_box()["height"] == 28.0
            lines = cell.locator("dd.text").evaluate(
                "node => node.clientHeight / parseFloat(getComputedStyle(node).lineHeight)"
            )
            assert lines == pytest.approx(round(lines), abs=0.1)  # no line is cut in half
            assert lines <= 4.1
        for path in ("gallery", "classes", "map", "progress"):
            page.goto(f"{server.base}/{path}")
            page.wait_for_timeout(200)
            assert fits(page), path
        page.goto((folder / "report.html").as_uri())
        assert fits(page)
        assert page.evaluate("window.hacked") is None
        assert page.locator("img[src=x]").count() == 0
    assert problems == []
