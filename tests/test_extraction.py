"""Features of pictures written by the shard: those of the model itself, whatever the source or the engine."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

import swaypoint
from cases import CLASSES, MODEL, SIDE, Net
from swaypoint.auditing.features import extract_features
from swaypoint.auditing.options import AuditOptions, Scale
from swaypoint.cli.main import app
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers import pictures
from swaypoint.errors import InputError
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.report.html import render
from swaypoint.review.items import Items

COUNT = 60


class Mirrored(Net):
    """With the weights of another and none of its features."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flip(-1))


def mirrored() -> nn.Module:
    return Mirrored()


def reddened(image: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
    return pixels * torch.tensor([2.0, 1.0, 1.0])[:, None, None]


FEATURES = ReadOptions(features="features", label="label")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(pictures, "SHARD", 20)


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
    return pixels, sorted(CLASSES[i % 3] for i in range(COUNT))


@pytest.fixture(scope="module")
def photos(drawn, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "photos"
    for row, (values, name) in enumerate(zip(*drawn, strict=True)):
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(root / name / f"{row:03d}.png")
    return root


@pytest.fixture(scope="module")
def table(drawn, tmp_path_factory) -> Path:
    """Two files of row groups, classes as indices with names in the metadata, as ``datasets`` writes them."""
    root = tmp_path_factory.mktemp("tables") / "photos"
    root.mkdir()
    pixels, names = drawn
    for part, rows in enumerate(np.array_split(np.arange(COUNT), 2)):
        encoded = [{"bytes": png(pixels[row]), "path": None} for row in rows]
        columns = {
            "image": encoded,
            "label": [CLASSES.index(names[row]) for row in rows],
            "note": rows.tolist(),
        }
        declared = {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}
        metadata = {"huggingface": json.dumps({"info": {"features": declared}})}
        whole = pa.table(columns)
        pq.write_table(
            whole.replace_schema_metadata(metadata), root / f"train-{part}.parquet", row_group_size=10
        )
    return root


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def expected(pixels: np.ndarray, transform=None) -> np.ndarray:
    """By the model itself, all at once."""
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    if transform is not None:
        inputs = torch.stack([transform(Image.fromarray(values)) for values in pixels])
    return torch.relu(Net().inner(inputs.flatten(1))).detach().numpy()


def read(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("part-*.parquet"))])


def values(found: pa.Table) -> np.ndarray:
    return np.stack(found["features"].to_pylist())


def test_a_folder_of_pictures(photos, drawn, tmp_path):
    out = extract_features(photos, tmp_path / "features", MODEL)
    found = read(out)
    assert len(list(out.glob("part-*.parquet"))) == 3
    assert np.allclose(values(found), expected(drawn[0]), atol=1e-6)
    assert found["label"].to_pylist() == drawn[1]
    assert found["file"].to_pylist() == [f"{name}/{row:03d}.png" for row, name in enumerate(drawn[1])]
    head = load_file(out / "head.safetensors")
    assert torch.equal(head["weight"], Net().last.weight)
    assert torch.equal(head["bias"], Net().last.bias)


def test_parquet_files_keep_their_columns_and_class_names(table, drawn, tmp_path):
    found = read(extract_features(table, tmp_path / "features", MODEL))
    assert np.allclose(values(found), expected(drawn[0]), atol=1e-6)
    assert found["note"].to_pylist() == list(range(COUNT))
    assert found.column_names == ["note", "label", "picture", "features"]
    shown = np.asarray(Image.open(io.BytesIO(found["picture"][0].as_py())))
    assert np.abs(shown.astype(int) - drawn[0][0]).mean() < 20  # a JPEG of noise


def test_the_transform_sees_the_picture(table, drawn, tmp_path):
    model = ModelOptions(MODEL.name, transform=f"{__name__}:reddened")
    found = read(extract_features(table, tmp_path / "features", model))
    assert np.allclose(values(found), expected(drawn[0], reddened), atol=1e-6)


@pytest.mark.parametrize("source", ["photos", "table"])
def test_the_audit_of_the_features_is_that_of_the_model(source, request, tmp_path):
    """Streamed, against the audit that holds the pictures: the same Cook's distances of the same points."""
    place = request.getfixturevalue(source)
    options = AuditOptions(model=MODEL, objective=Objective(l2=0.0), validation=0.0)
    whole = swaypoint.audit(place, tmp_path / "whole", options=options)
    out = extract_features(place, tmp_path / "features", MODEL)
    given = ModelOptions(weights=out / "head.safetensors")
    streamed = swaypoint.audit(
        out,
        tmp_path / "streamed",
        options=AuditOptions(model=given, objective=Objective(l2=0.0), validation=0.0),
        read=FEATURES,
        scale=Scale(max_memory=0.0),
    )
    cook = streamed.every_score().to_table()["cook"].to_numpy()
    assert np.allclose(cook, whole.scores()["cook"].to_numpy(), rtol=1e-4)
    assert streamed.manifest().data.classes == tuple(CLASSES)
    items = Items(streamed)
    assert items.pictured
    assert items.picture(0).startswith(b"\x89PNG")
    assert 'src="data:image/png;base64,' in render(streamed)


def test_resumes_and_returns_at_once(photos, tmp_path, monkeypatch):
    out, done = tmp_path / "features", []
    batches = pictures._FileShard.batches

    def failing(shard):
        if "emu" in shard.files[0]:
            raise KeyboardInterrupt
        done.append(shard.files[0])
        return batches(shard)

    monkeypatch.setattr(pictures._FileShard, "batches", failing)
    with pytest.raises(KeyboardInterrupt):
        extract_features(photos, out, MODEL)
    assert not out.exists()
    monkeypatch.setattr(pictures._FileShard, "batches", lambda shard: done.append("again") or batches(shard))
    extract_features(photos, out, MODEL)
    assert done.count("again") == 1  # the last shard alone
    assert len(read(out)) == COUNT
    monkeypatch.setattr(pictures._FileShard, "batches", None)
    assert extract_features(photos, out, MODEL) == out


def test_nothing_is_left_of_an_interrupted_extraction_of_more_pictures(photos, tmp_path, monkeypatch):
    out, batches = tmp_path / "features", pictures._FileShard.batches

    def failing(shard):
        if "cat" in shard.files[0]:
            raise KeyboardInterrupt
        return batches(shard)

    monkeypatch.setattr(pictures._FileShard, "batches", failing)
    with pytest.raises(KeyboardInterrupt):
        extract_features(photos, out, MODEL)
    monkeypatch.undo()
    partial = tmp_path / "features.partial"
    for name in ("part-00002.parquet", ".part-00000.parquet.killed"):
        (partial / name).write_bytes(b"of before")
    monkeypatch.setattr(pictures, "SHARD", COUNT)
    extract_features(photos, out, MODEL)
    assert sorted(file.name for file in out.iterdir()) == [
        "features.json",
        "head.safetensors",
        "part-00000.parquet",
    ]


def test_other_features_are_not_overwritten(photos, tmp_path):
    out = extract_features(photos, tmp_path / "features", MODEL)
    with pytest.raises(InputError, match=r"features holds features of other pictures or of another model"):
        extract_features(photos, out, ModelOptions(MODEL.name, transform=f"{__name__}:reddened"))
    with pytest.raises(InputError, match=r"of another model"):
        extract_features(photos, out, ModelOptions(f"{__name__}:mirrored"))


def test_bad_pictures(photos, drawn, tmp_path):
    import shutil

    copy = Path(shutil.copytree(photos, tmp_path / "photos"))
    (copy / "dog" / "025.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"photos: dog/025.png: corrupted image.*--skip-bad"):
        extract_features(copy, tmp_path / "features", MODEL)
    out = extract_features(copy, tmp_path / "features", MODEL, read=ReadOptions(skip_bad=True))
    assert np.allclose(values(read(out)), np.delete(expected(drawn[0]), 25, axis=0), atol=1e-6)
    about = json.loads((out / "features.json").read_text())
    assert (about["pictures"], about["of"]) == (COUNT - 1, COUNT)


def test_a_default_model_with_the_weights_of_an_audit(photos, tmp_path):
    from swaypoint.models.recipes import RECIPES, build

    model = build(RECIPES["resnet20"], torch.zeros(4, SIDE, SIDE, 3, dtype=torch.uint8), 3, seed=0)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    own = ModelOptions("resnet20", weights=tmp_path / "model.safetensors")
    assert values(read(extract_features(photos, tmp_path / "features", own))).shape == (COUNT, 64)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ModelOptions("resnet20"), "needs trained weights: --weights AUDIT/model.safetensors"),
        (ModelOptions("mlp"), "expected package.module:factory, or airbench"),
    ],
)
def test_models_that_cannot_be(photos, tmp_path, model, message):
    with pytest.raises(InputError, match=message):
        extract_features(photos, tmp_path / "features", model)
    assert list(tmp_path.iterdir()) == []


def test_sources_that_cannot_be(tmp_path):
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"label": [0, 1], "x": [1.0, 2.0]}), rows)
    with pytest.raises(InputError, match=r"rows.parquet: no column of pictures"):
        extract_features(rows, tmp_path / "features", MODEL)
    taken = tmp_path / "taken.parquet"
    pq.write_table(pa.table({"label": [0, 1], "picture": ["a", "b"], "image": [b"a", b"b"]}), taken)
    with pytest.raises(InputError, match=r"it has a column 'picture', which would be written; rename it"):
        extract_features(taken, tmp_path / "features", MODEL)


def test_the_command(photos, drawn, tmp_path):
    out = tmp_path / "features"
    result = CliRunner().invoke(app, ["features", str(photos), "--model", MODEL.name, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"--features features --weights {out}/head.safetensors" in result.output.replace("\n", "")
    assert np.allclose(values(read(out)), expected(drawn[0]), atol=1e-6)
