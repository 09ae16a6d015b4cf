"""What people type, one case an input: the exit code, and the sentence that says what to do."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.cli.main import main
from swaypoint.data.dataset import ReadOptions
from swaypoint.models.predictor import ModelOptions

ROWS = [f"{i * 7 % 11},{(i * i) % 13},{'ab'[i % 2]}" for i in range(24)]


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as people have it: good files, broken ones, and a finished audit."""
    root = tmp_path_factory.mktemp("place")
    (root / "good.csv").write_text("x,z,y\n" + "\n".join(ROWS) + "\n")
    (root / "header.csv").write_text("x,z,y\n")
    (root / "one.csv").write_text("x,z,y\n1,2,a\n")
    (root / "same.csv").write_text("x,z,y\n" + "".join(f"{i},{i * i % 7},a\n" for i in range(24)))
    (root / "names.csv").write_text(
        "x,y\n" + "".join(f"n{i} and more words,{'ab'[i % 2]}\n" for i in range(24))
    )
    for name in ("zero.csv", "zero.parquet", "zero.npz", "zero.xlsx", "zero.json", "zero.csv.gz"):
        (root / name).touch()
    for name in ("text.parquet", "text.npz", "text.xlsx", "text.sqlite", "text.csv.gz", "text.json"):
        (root / name).write_text("this is a letter, dear reader\nnot a table\n")
    (root / "letter.docx").write_bytes(b"PK\x03\x04 a letter")
    (root / "empty").mkdir()
    (root / "notes").mkdir()
    (root / "notes" / "a.txt").write_text("hello")
    for i in range(4):
        picture(root / "pets" / ("cat", "dog")[i % 2] / f"{i}.png", i)
        picture(root / "only" / "cat" / f"{i}.png", i)
        picture(root / "splits" / "train" / ("cat", "dog")[i % 2] / f"{i}.png", i)
        picture(root / "loose" / f"{i}.png", i)
    picture(root / "picture.csv.png", 0)
    (root / "picture.csv.png").rename(root / "picture.csv")
    shutil.copytree(root / "pets", root / "corrupt")
    (root / "corrupt" / "cat" / "0.png").write_bytes(b"no picture")
    shutil.copytree(root / "pets", root / "hollow")
    (root / "hollow" / "bird").mkdir()
    shutil.copytree(root / "pets", root / "stray")
    picture(root / "stray" / "me.png", 9)
    np.savez(root / "labels.npz", labels=np.zeros(4, np.int64))
    (root / "weights.pt").write_bytes(b"no weights")
    swaypoint.audit(
        root / "good.csv",
        root / "done",
        options=AuditOptions(model=ModelOptions(epochs=1)),
        read=ReadOptions(label="y"),
    )
    shutil.copytree(root / "done", root / "broken")
    (root / "broken" / "manifest.json").write_text("{")
    shutil.copytree(root / "done", root / "halved")
    (root / "halved" / "scores.parquet").unlink()
    return root


def said(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """The exit code of ``swaypoint WORDS``, and what is printed as output and as error."""
    monkeypatch.setattr(sys, "argv", ["swaypoint", *words.split()])
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    found = capsys.readouterr()
    return code, found.out, found.err


AUDIT = "audit good.csv --label y "
CASES: list[tuple[str, int, str]] = [
    # paths
    ("audit goood.csv", 1, "goood.csv does not exist"),
    ("audit pest/", 1, "pest/ does not exist"),
    ("audit ./data/train", 1, "does not exist"),
    ("audit pets/catz", 1, "pets/catz does not exist"),
    ("audit empty", 1, "no class folders"),
    ("audit notes", 1, "no class folders"),
    ("audit loose", 1, "4 images (such as 0.png) outside class folders"),
    ("audit stray", 1, "leave them out with --skip-bad"),
    ("audit splits", 1, "To read one split, pass splits/train"),
    ("audit hollow", 1, "the class folder bird holds no images"),
    ("audit corrupt", 1, "cat/0.png"),
    ("audit only --epochs 1", 1, "class"),
    ("audit done", 1, "is an audit"),
    ("audit sklearn:titanic", 1, "sklearn: and one of digits"),
    ("audit http://localhost:9/data.csv", 1, "URL"),
    ("audit s3://bucket/data.csv", 1, "--features"),
    # files
    ("audit zero.csv", 1, "zero.csv"),
    ("audit header.csv --label y", 1, "header.csv"),
    ("audit one.csv --label y", 1, "one.csv"),
    ("audit same.csv --label y", 1, "class"),
    ("audit names.csv --label y", 1, "names.csv"),
    ("audit zero.parquet", 1, "zero.parquet"),
    ("audit zero.npz", 1, "zero.npz"),
    ("audit zero.xlsx", 1, "zero.xlsx"),
    ("audit zero.json", 1, "zero.json"),
    ("audit zero.csv.gz", 1, "zero.csv.gz"),
    ("audit text.parquet", 1, "text.parquet"),
    ("audit text.npz", 1, "text.npz"),
    ("audit text.xlsx", 1, "text.xlsx"),
    ("audit text.sqlite", 1, "text.sqlite"),
    ("audit text.csv.gz", 1, "text.csv.gz"),
    ("audit text.json", 1, "text.json"),
    ("audit picture.csv --label y", 1, "picture.csv"),
    ("audit letter.docx", 1, "letter.docx"),
    # columns
    ("audit good.csv --label outcome", 1, "it has x, z, y"),
    ("audit good.csv --label Y", 1, "it has x, z, y"),
    (AUDIT + "--features vector", 1, "vector"),
    (AUDIT + "--image photo", 1, "photo"),
    (AUDIT + "--loss squared_error", 1, "y"),
    # options
    (AUDIT + "--ephocs 3", 2, "--epochs"),
    (AUDIT + "--epochs three", 2, "epochs"),
    (AUDIT + "--epochs 0", 1, "epochs is 0"),
    (AUDIT + "--epochs -3", 1, "epochs is -3"),
    (AUDIT + "--top 0", 1, "top is 0"),
    (AUDIT + "--limit 0", 1, "limit"),
    (AUDIT + "--flip 2", 1, "flip is 2"),
    (AUDIT + "--validation 1", 1, "validation is 1"),
    (AUDIT + "--damping -1", 1, "damping is -1"),
    (AUDIT + "--l2 nan", 1, "l2 is nan"),
    (AUDIT + "--score cookies", 1, "tracin"),
    (AUDIT + "--loss crossentropy", 1, "cross_entropy"),
    (AUDIT + "--solver magic", 1, "magic"),
    (AUDIT + "--removal never", 1, "never"),
    (AUDIT + "--params * --curvature flat", 1, "flat"),
    (AUDIT + "--model resnet50", 1, "unknown model 'resnet50'"),
    (AUDIT + "--model resnet20", 1, "does not take rows"),
    (AUDIT + "--model nomodule:build", 1, "nomodule"),
    (AUDIT + "--model json:nothing", 1, "nothing"),
    (AUDIT + "--model json:loads", 1, "json:loads"),
    (AUDIT + "--model json:loads --models 2", 1, "models > 1"),
    (AUDIT + "--weights nowhere.pt", 1, "weights"),
    (AUDIT + "--device cuda:99", 1, "cuda"),
    (AUDIT + "--engine spark", 1, "engine"),
    (AUDIT + "--max-memory -1", 1, "memory"),
    (AUDIT + "--out good.csv", 1, "good.csv"),
    (AUDIT + "--out good.csv/audit", 1, "good.csv"),
    (AUDIT + "--out notes", 1, "notes"),
    (AUDIT + "--out done --seed 1", 1, "--force"),
    # other commands
    ("", 2, "audit"),
    ("audti good.csv", 2, "Did you mean 'audit'?"),
    ("show", 2, "Missing argument 'AUDIT'"),
    ("show good.csv", 1, "good.csv is not an audit folder"),
    ("show empty", 1, "swaypoint audit DATA --out empty"),
    ("show broken", 1, "manifest.json"),
    ("show halved", 1, "scores.parquet"),
    ("show done --top 0", 1, "top is 0"),
    ("show done --csv nowhere/a.csv", 1, "nowhere"),
    ("report done --out nowhere/a.html", 1, "nowhere"),
    ("fitness pets", 1, "pets is not an audit folder"),
    ("review pets", 1, "pets is not an audit folder"),
    ("review done --port 99999", 2, "port"),
    ("export done --to docx --out a.docx", 1, "docx"),
    ("export done --to csv", 2, "Missing option"),
    ("export done --to imagefolder --out images", 1, "no pictures"),
    ("import done nowhere.json", 2, "Missing option"),
    ("import done nowhere.json --from labelstudio", 1, "nowhere.json"),
    ("regions done --x x", 1, "give both --x and --y"),
    ("regions done --propose -1", 1, "propose is -1"),
    ("regions done --x x --y nothing", 1, "nothing"),
    ("labels nowhere.npz", 1, "nowhere.npz"),
    ("labels good.csv", 1, "good.csv"),
    ("labels labels.npz", 1, "no array 'probabilities'; it has labels"),
]


@pytest.mark.parametrize(
    ("words", "code", "sentence"), CASES, ids=[words or "nothing" for words, *_ in CASES]
)
def test_a_command(
    place: Path,
    words: str,
    code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    before = {file for file in place.rglob("*") if "done" not in file.parts}
    ended, out, err = said(words, monkeypatch, capsys)
    assert ended == code, out + err
    assert sentence in (err or out)
    assert "Traceback" not in out + err
    if code == 1:
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
    assert {file for file in place.rglob("*") if "done" not in file.parts} == before  # nothing half-written


def test_ctrl_c(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(place)
    monkeypatch.setattr("swaypoint.auditing.held.prepare", interrupted)
    code, _, err = said(f"{AUDIT}--out {tmp_path / 'a'}", monkeypatch, capsys)
    assert code == 130
    assert "the same command resumes where it stopped" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("words", ["audit shut.csv", "audit shut", "audit good.csv --label y --out shut/a"])
def test_what_may_not_be_read(
    place: Path, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (place / "shut").mkdir(exist_ok=True)
    shutil.copyfile("good.csv", "shut.csv")
    for path in (place / "shut", place / "shut.csv"):
        path.chmod(0)
    try:
        code, _, err = said(words, monkeypatch, capsys)
    finally:
        (place / "shut").chmod(0o700)
        (place / "shut.csv").chmod(0o600)
    assert code == 1
    assert "shut" in err
