"""A bar on a terminal and in a notebook, which is stood in for: IPython is none of our dependencies."""

from __future__ import annotations

import io
import sys
import types
import warnings

import numpy as np
import pytest
import rich.console

import swaypoint
from swaypoint.auditing.run import Listener, listening
from swaypoint.data import bars
from swaypoint.errors import require


class Notebook:
    """What a kernel's IPython has of a display: what the front end was sent, in order."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def modules(self) -> dict[str, types.ModuleType]:
        shell, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
        shell.get_ipython = lambda: types.SimpleNamespace(kernel=object())
        display.HTML = str
        display.display = self.display
        return {"IPython": shell, "IPython.display": display}

    def display(self, html: str, *, display_id: bool) -> types.SimpleNamespace:
        assert display_id
        self.sent.append(html)
        return types.SimpleNamespace(update=self.sent.append)


@pytest.fixture
def notebook(monkeypatch):
    stand_in = Notebook()
    for name, module in stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(bars, "_PAUSE", 0.0)
    return stand_in


def test_in_a_notebook_it_is_html_which_goes_when_the_step_ends(notebook, capsys):
    with bars.bar() as told:
        told("reading <b>", 0, 0)
        told("scoring", 1_500, 3_000)
    assert notebook.sent == [
        "",
        "<progress></progress> reading &lt;b&gt;",
        "<progress value='1500' max='3000'></progress> scoring 1,500 of 3,000",
        "",
    ]
    assert capsys.readouterr() == ("", "")


def test_it_goes_when_the_step_fails_too(notebook):
    def interrupted() -> None:
        with bars.bar() as told:
            told("scoring", 1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert notebook.sent[-1] == ""


def test_a_notebook_is_not_told_more_often_than_it_keeps_up_with(notebook, monkeypatch):
    monkeypatch.setattr(bars, "_PAUSE", 3600.0)
    with bars.bar() as told:
        for done in range(1, 100):
            told("scoring", done, 100)
        told("explaining", 1, 1)
    assert len(notebook.sent) == 4  # begun, the first of each name, gone


def test_ipython_in_a_terminal_is_a_terminal(monkeypatch):
    shell = types.ModuleType("IPython")
    shell.get_ipython = lambda: types.SimpleNamespace(history_manager=object())
    monkeypatch.setitem(sys.modules, "IPython", shell)
    screen = io.StringIO()
    console = rich.console.Console
    monkeypatch.setattr(
        rich.console, "Console", lambda **_: console(file=screen, force_terminal=True, width=80)
    )
    with bars.bar() as told:
        told("scoring", 1, 4)
        told("explaining", 4, 4)
    assert "explaining" in screen.getvalue()
    assert "100%" in screen.getvalue()


def test_cooks_distance_shows_it_where_it_is_asked_for(notebook):
    features, labels = np.eye(9), np.arange(9) % 3
    swaypoint.cooks_distance_from_features(features, labels)
    assert notebook.sent == []
    swaypoint.cooks_distance_from_features(features, labels, progress=True)
    assert "<progress value='9' max='9'></progress> scoring 9 of 9" in notebook.sent


def test_an_audit_shows_its_stages_unless_a_listener_is_told(notebook):
    own = Listener()
    with listening(own, progress=True) as listener:
        assert listener is own
    with listening(None, progress=False) as listener:
        listener.stage("reading")
    assert notebook.sent == []
    with listening(None, progress=True) as listener:
        listener.stage("reading")
        listener.records(2, 7)
        listener.stage("training")
        listener.epoch(3, 15, 0.25, 0.5)
    said = [html.partition("</progress> ")[2] for html in notebook.sent[1:-1]]
    assert said == ["reading", "reading 2 of 7", "training", "training, loss 0.250, epoch 3 of 15"]


def test_the_audit_hands_it_on(notebook, tmp_path):
    rows = "\n".join(f"{i / 7:.3f},{'yes' if i % 2 else 'no'}" for i in range(12))
    (tmp_path / "tiny.csv").write_text(f"a,outcome\n{rows}\n")
    read = swaypoint.ReadOptions(label="outcome")
    swaypoint.audit(tmp_path / "tiny.csv", tmp_path / "audit", read=read, progress=True)
    assert any("findings" in html for html in notebook.sent)
    assert notebook.sent[-1] == ""


def test_what_is_imported_asks_nobody_for_widgets(tmp_path, monkeypatch):
    (tmp_path / "noisy.py").write_text(
        "import warnings\nwarnings.warn('IProgress not found. Please update jupyter and ipywidgets.')\n"
        "warnings.warn('the disk is full')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        require("noisy", "none")
    assert [str(warning.message) for warning in given] == ["the disk is full"]
