"""The main job on real images, where they are at hand: CIFAR-10 (JPEG re-encoded) as parquet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import swaypoint
from swaypoint.data.dataset import ReadOptions
from swaypoint.flow import AuditOptions
from swaypoint.predictors import ModelOptions
from swaypoint.report.html import write_report

DATA = Path(os.environ.get("SWAYPOINT_CIFAR10", "../shared/data/cifar10")) / "train.parquet"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_file(), reason=f"no {DATA}; SWAYPOINT_CIFAR10 names its folder")
def test_planted_errors_stand_far_above_chance(tmp_path):
    options = AuditOptions(model=ModelOptions(epochs=4), flip=0.02)
    read = ReadOptions(label="label", limit=10_000)
    folder = swaypoint.audit(DATA, tmp_path / "audit", options=options, read=read)
    manifest, scores = folder.manifest(), folder.scores()
    assert len(scores) == 8000
    assert manifest["data"]["classes"][0] == "airplane"
    first = manifest["flipped"]["found"][2]
    assert first["inspected"] == 0.1
    assert first["cook"] > 2 * first["random"]
    page = write_report(folder, tmp_path / "report.html").read_text()
    assert page.count("data:image/png") >= 100
