"""A cleaned dataset at the hub: what is sent, who may see it, and what is refused. Nothing leaves."""

from __future__ import annotations

import types

import numpy as np
import pytest
from typer.testing import CliRunner

import swaypoint
from swaypoint.cli.main import app
from swaypoint.errors import InputError
from swaypoint.review.items import Items

datasets = pytest.importorskip("datasets", reason="needs the datasets library")
hub = pytest.importorskip("huggingface_hub", reason="needs the hub's client")


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """Of 60 rows; the first one in the ranking is said to be bad."""
    place = tmp_path_factory.mktemp("audited")
    values = np.random.default_rng(0).normal(size=(60, 2))
    rows = [f"{a:.3f},{b:.3f},{'yes' if a > b else 'no'}" for a, b in values]
    (place / "rows.csv").write_text("\n".join(["a,b,state", *rows]) + "\n")
    read = swaypoint.ReadOptions(label="state")
    folder = swaypoint.audit(place / "rows.csv", place / "audit", read=read)
    items = Items(folder)
    first = items.ids[int(items.order("rank")[0])]
    (place / "said.csv").write_text(f"id,verdict,reviewer\n{first},bad,ann\n")
    said = CliRunner().invoke(app, ["import", str(folder.path), str(place / "said.csv"), "--from", "csv"])
    assert said.exception is None, said.exception
    return folder.path


class Hub:
    """What was sent; ``there``: the datasets that are there, and whether they are private."""

    def __init__(self) -> None:
        self.there: dict[str, bool] = {}
        self.files: dict[str, str] = {}
        self.data = None
        self.user: str | None = "me"

    def whoami(self):
        if self.user is None:
            raise hub.errors.LocalTokenNotFoundError("no token")

    def repo_exists(self, name, *, repo_type):
        assert repo_type == "dataset"
        return name in self.there

    def repo_info(self, name, *, repo_type):
        return types.SimpleNamespace(private=self.there[name])

    def create_repo(self, name, *, repo_type, private, exist_ok):
        self.there.setdefault(name, private)
        return f"hub:datasets/{name}"

    def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id, repo_type):
        assert self.data is None, "the data are not there before the card"
        content = path_or_fileobj if isinstance(path_or_fileobj, bytes) else path_or_fileobj.read_bytes()
        self.files[path_in_repo] = content.decode()


@pytest.fixture
def fake(monkeypatch):
    made = Hub()
    monkeypatch.setattr(hub, "HfApi", lambda: made)

    def push(self, name, *, private):
        assert made.there[name] is private
        made.data = self

    monkeypatch.setattr(datasets.Dataset, "push_to_hub", push)
    return made


def export(audit, out, *words, to="hf"):
    words = ["export", str(audit), "--to", to, "--policy", "drop", "--out", str(out), *words]
    return CliRunner().invoke(app, words)


def test_the_data_their_changes_and_a_card_are_pushed_and_private(audit, fake, tmp_path):
    done = export(audit, tmp_path / "clean", "--push", "me/rows")
    assert done.exception is None, done.exception
    assert fake.there == {"me/rows": True}
    assert len(fake.data) == 59
    assert fake.files["changes.csv"] == (tmp_path / "clean/changes.csv").read_text()
    card = hub.DatasetCard(fake.files["README.md"])
    assert card.data.tags == ["swaypoint", "data-cleaning"]
    assert "59 records of rows.csv: 0 with another label than before, 1 left out (policy `drop`" in card.text
    assert "Verdicts that stand: 1 bad, of 60 points" in card.text
    sent = "".join([*fake.files.values(), *fake.data.column_names])
    assert "ann" not in sent
    assert str(audit.parent) not in sent
    assert "pushed: hub:datasets/me/rows, seen by you and whom you let in" in done.output


def test_public_only_where_asked_and_never_by_what_was_there(audit, fake, tmp_path):
    fake.there["me/rows"] = False
    refused = export(audit, tmp_path / "clean", "--push", "me/rows")
    assert isinstance(refused.exception, InputError)
    assert "me/rows is there and public" in str(refused.exception)
    assert list(tmp_path.iterdir()) == []
    assert fake.data is None
    done = export(audit, tmp_path / "clean", "--push", "me/rows", "--public")
    assert done.exception is None, done.exception
    assert "seen by everybody" in done.output
    fake.data = None
    assert export(audit, tmp_path / "other", "--push", "me/new", "--public").exception is None
    assert fake.there["me/new"] is False


@pytest.mark.parametrize(
    ("words", "to", "says"),
    [
        (["--push", "rows"], "hf", "expected OWNER/NAME"),
        (["--push", "me/rows"], "csv", "--push is for --to hf"),
        (["--public"], "hf", "say where with --push"),
    ],
)
def test_what_cannot_be_pushed_is_told_before_anything_is_written(audit, fake, tmp_path, words, to, says):
    done = export(audit, tmp_path / "clean", *words, to=to)
    assert isinstance(done.exception, InputError)
    assert says in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_without_a_login_nothing_is_written_and_a_broken_push_leaves_the_export(
    audit, fake, tmp_path, monkeypatch
):
    fake.user = None
    done = export(audit, tmp_path / "clean", "--push", "me/rows")
    assert "hf auth login" in str(done.exception)
    assert list(tmp_path.iterdir()) == []
    fake.user = "me"

    def broken(self, name, *, private):
        raise ConnectionError("broken off")

    monkeypatch.setattr(datasets.Dataset, "push_to_hub", broken)
    done = export(audit, tmp_path / "clean", "--push", "me/rows")
    assert isinstance(done.exception, InputError)
    assert f"broken off); {tmp_path / 'clean'} is complete" in str(done.exception)
    assert len(datasets.load_from_disk(str(tmp_path / "clean"))) == 59
