"""The promises of the README, at length: minutes, run by ``make test-slow``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import ReadOptions
from swaypoint.models.predictor import ModelOptions

CIFAR10 = Path(__file__).parents[2] / "shared" / "data" / "cifar10" / "train.parquet"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_errors_stand_in_the_first_twentieth(seed, tmp_path):
    options = AuditOptions(flip=0.02, seed=seed, top=20)
    folder = swaypoint.audit("sklearn:digits", tmp_path / "digits", options=options)
    found = {row["inspected"]: row["cook"] for row in folder.manifest().flipped.found}
    assert found[0.05] >= 0.95


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10.exists(), reason="needs CIFAR-10 as parquet in ../shared/data/cifar10")
def test_real_images_end_to_end(tmp_path):
    options = AuditOptions(model=ModelOptions(epochs=2), flip=0.02, top=20)
    read = ReadOptions(label="label", limit=3000)
    folder = swaypoint.audit(CIFAR10, tmp_path / "cifar10", options=options, read=read)
    scores = folder.scores().to_pandas()
    assert len(scores) == 3000  # 600 of them held out
    assert np.isfinite(scores["cook"]).all()
    accuracy = folder.manifest().model.accuracy.validation
    assert accuracy > 0.2  # two epochs on 2,400 images; a guess is 0.1
