"""A real browser, Debian's Chromium: without it a test is skipped, or fails if SWAYPOINT_REQUIRE names it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def launched() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        required = "chromium" in os.environ.get("SWAYPOINT_REQUIRE", "")
        assert not required, "SWAYPOINT_REQUIRE asks for chromium, and there is none"
        pytest.skip("no chromium on this machine; install Debian's")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()
