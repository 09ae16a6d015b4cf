"""How fast a long step goes: said where no bar shows it, and which steps tell of themselves."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.run import Listener
from swaypoint.cli import pace, terminal
from swaypoint.cli.pace import Pace
from swaypoint.data.dataset import ReadOptions
from swaypoint.models.predictor import ModelOptions


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


def test_a_line_now_and_then(clock):
    step, said = Pace("scoring"), []
    for done in range(0, 1001, 100):
        said.append(step.said(done, 1000))
        clock[0] += 10.0
    lines = [line for line in said if line]
    assert lines == [
        "scoring: 300 of 1,000, 10.0 a second, 70 s left",
        "scoring: 600 of 1,000, 10.0 a second, 40 s left",
        "scoring: 900 of 1,000, 10.0 a second, 10 s left",
    ]
    assert step.said(50, 80) == ""  # another count, from here on
    clock[0] += 40.0
    assert step.said(60, 80) == "scoring: 60 of 80, 0.2 a second, 80 s left"


def test_without_a_terminal_lines_take_the_place_of_the_bar(clock, monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(terminal, "screen", lambda **_: Console(file=written, width=120))
    with terminal.progress() as listener:
        listener.stage("scoring")
        assert listener.records is not None
        listener.records(0, 100)
        clock[0] += 31.0
        listener.records(62, 100)
    assert written.getvalue().strip() == "scoring: 62 of 100, 2.0 a second, 19 s left"


def audited(table, read, tmp_path, **options):
    """The counts that each stage told, as ``{stage: [(done, total)]}``."""
    told: dict[str, list[tuple[int, int]]] = {}
    listener = Listener(
        stage=lambda name: told.setdefault(name, []),
        records=lambda done, total: told[list(told)[-1]].append((done, total)),
    )
    pq.write_table(table, tmp_path / "a.parquet")
    asked = AuditOptions(**options)
    swaypoint.audit(tmp_path / "a.parquet", tmp_path / "audit", options=asked, read=read, listener=listener)
    return told


def test_texts_tell_of_counting_features_ridges_and_scoring(tmp_path):
    words = np.array(["red", "green", "blue", "one", "two", "three"])
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words[3 * (i % 2) :][:3], 8)) for i in range(60)]
    table = pa.table({"text": texts, "label": np.arange(60) % 2})
    told = audited(table, ReadOptions(text="text"), tmp_path)
    assert told["training"][:2] == [(48, 48), (60, 60)]  # terms of those trained on, features of all
    assert {total for _, total in told["training"][2:]} == {5}  # ridges
    assert told["scoring"][-1] == (48, 48)
    assert told["explaining"][0] == (0, 60)


def test_influence_by_parameters_tells_of_its_points(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 2))
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "label": (x[:, 0] > 0).astype(int)})
    model = ModelOptions("mlp", epochs=1)
    told = audited(table, None, tmp_path, model=model, params=("head.*",))
    assert told["scoring"].count((48, 48)) == 2  # the last layer's, and the parameters'


def test_a_command_in_a_notebook_moves_no_bars_and_keeps_its_colours(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert terminal.screen(stderr=True).is_terminal
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert not terminal.screen(stderr=True).is_terminal
    assert terminal.screen().is_terminal
