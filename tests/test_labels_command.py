"""swaypoint labels: from an .npz of probabilities to the labels that are probably wrong."""

from __future__ import annotations

import numpy as np
import pyarrow.csv as pa_csv
import pytest
from typer.testing import CliRunner

import swaypoint
from swaypoint.cli.main import app


@pytest.fixture
def stored(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 400)
    logits = 3.0 * np.eye(4)[truth] + rng.normal(size=(400, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given = truth.copy()
    given[:12] = (given[:12] + 1) % 4
    np.savez(tmp_path / "p.npz", probabilities=probabilities, labels=given)
    return tmp_path / "p.npz", probabilities, given


def test_every_record_is_written_the_most_suspect_first(stored, tmp_path):
    file, probabilities, given = stored
    done = CliRunner().invoke(app, ["labels", str(file), "--top", "3", "--out", str(tmp_path / "s.csv")])
    assert done.exit_code == 0, done.output
    table = pa_csv.read_csv(tmp_path / "s.csv").to_pydict()
    expected = swaypoint.wrong_labels(probabilities, given)
    assert sorted(table["row"]) == list(range(400))
    np.testing.assert_allclose(table["score"], expected.score[table["row"]])
    assert (np.diff(table["score"]) <= 0).all()
    assert len({*table["row"][:24]} & {*range(12)}) >= 9
    assert all(a != b for a, b in zip(table["label"], table["likely"], strict=True))
    assert "expected to be wrong" in done.output


def test_an_archive_without_them_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.ones(3))
    done = CliRunner().invoke(app, ["labels", str(tmp_path / "x.npz")])
    assert isinstance(done.exception, swaypoint.InputError)
    assert "no array 'probabilities'; it has features" in str(done.exception)
