"""The review of a regression in a real Chromium: the numbers are shown, edited, saved and exported."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import expect
from sklearn.datasets import load_diabetes

import swaypoint
from chromium import launched
from review_audit import Server, verdicts
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import ReadOptions
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.review.cleaning.export import ExportOptions, export
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Decision


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("values")
    load_diabetes(as_frame=True).frame.to_csv(root / "diabetes.csv", index=False)
    options = AuditOptions(model=ModelOptions(epochs=3), objective=Objective("squared_error"), refit=True)
    read = ReadOptions(label="target")
    return swaypoint.audit(root / "diabetes.csv", root / "audit", options=options, read=read).path


@pytest.mark.slow
def test_a_person_corrects_a_value(folder, tmp_path):
    pictures = os.environ.get("SWAYPOINT_SCREENSHOTS")
    items, problems = Items(AuditFolder(folder)), []
    with launched() as browser, Server(folder, ("--reviewer", "Ada")) as server:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(server.address)
        page.wait_for_selector("#item[data-id]")
        first = page.locator("#item").get_attribute("data-id")
        position = items.position(first)
        expect(page.locator("h1")).to_have_text(f"Labelled {items.label(position)}")
        expect(page.locator(".claim")).to_contain_text("in 95 of 100 cases")
        expect(page.locator(".why")).to_contain_text("standard deviations off")
        if pictures:
            page.screenshot(path=f"{pictures}/item.png", full_page=True)
        page.keyboard.press("m")
        page.keyboard.type("123.5")
        page.keyboard.press("Enter")
        page.wait_for_function("id => document.getElementById('item').dataset.id !== id", arg=first)
        page.wait_for_selector("#state[data-pending='0']", state="attached")
        page.goto(f"{server.base}/item?at={first}")
        expect(page.locator("#own")).to_contain_text("123.5")
        page.goto(f"{server.base}/gallery?sort=-auto")  # the order for values that are probably wrong
        page.wait_for_selector(".cell")
        if pictures:
            page.screenshot(path=f"{pictures}/gallery.png")
            page.goto((folder / "report.html").as_uri())
            page.screenshot(path=f"{pictures}/report.png", full_page=True)
    assert problems == []
    review = verdicts(folder)
    assert review.by("Ada", first) == Decision("mislabeled", "123.5")
    export(items, review, tmp_path / "clean.csv", "csv", options=ExportOptions(policy="relabel"))
    row = int(items.scores["index"][position])
    assert pd.read_csv(tmp_path / "clean.csv")["target"][row] == 123.5
