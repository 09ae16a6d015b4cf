"""A reviewer's tab: the review page in a real Chromium, and what a test does in it.

The extras are imported where they are used: conftest.py loads this file for the core's tests too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from review_audit import verdicts

if TYPE_CHECKING:
    from review_site import Site


MOVED = """id => {
  const { dataset } = document.getElementById('item');
  return dataset.id !== id && dataset.painted;
}"""


@pytest.fixture(scope="module")
def browser():
    from chromium import launched

    with launched() as found:
        yield found


@pytest.fixture
def tab(browser):
    """Opens tabs of a browser profile each; a script error or a blocked resource fails the test."""
    problems, contexts = [], []

    def open_(address: str, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if "Content Security" in m.text else None)
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


@dataclass
class Served:
    """A review that this process serves: quick to start, for tests of the page alone."""

    site: Site
    base: str

    @property
    def address(self) -> str:
        return f"{self.base}/open?token={self.site.gate.invite('Ada')}"


@contextmanager
def served(folder: Path, **options) -> Iterator[Served]:
    import uvicorn

    from review_site import Site

    site = Site(folder, **options)
    server = uvicorn.Server(uvicorn.Config(site.app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(site, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join()
        site.store.close()


def opened(tab, server, **options):
    page = tab(server.address, **options)
    page.wait_for_url("**/item?*")
    page.wait_for_selector("#item[data-painted]")
    return page


def current(page):
    return page.locator("#item").get_attribute("data-id")


def press(page, key):
    """A key that decides, and the next item."""
    before = current(page)
    page.keyboard.press(key)
    moved(page, before)
    return before


def moved(page, before):
    """Another point is painted."""
    page.wait_for_function(MOVED, arg=before, polling=30)


def saved(page):
    page.wait_for_selector("#state[data-pending='0']", state="attached")


def decisions(folder, actor):
    review = verdicts(folder)
    return {item: review.by(actor, item) for item in review.reviewed() if review.by(actor, item)}
