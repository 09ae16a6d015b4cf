"""Cook's distance of 40,000 CIFAR-10 images from the features of a trained model of the study.

python -m benchmarks.cifar10 cifar10/cells/resnet20-uniform-0.005-1-none-cycle16-0
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.numpy import load_file

from benchmarks.machine import describe, median_seconds
from swaypoint import LinearHead, cooks_distance
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy


def main() -> None:
    import torch

    cell = Path(sys.argv[1])
    kept = {name: torch.from_numpy(value) for name, value in load_file(cell / "features.safetensors").items()}
    facts = json.loads((cell / "facts.json").read_text())
    features = kept["features"]
    labels = torch.nn.functional.linear(features, kept["weight"], kept["bias"]).argmax(
        1
    )  # as many as the true
    head = HeadWeights(kept["weight"], kept["bias"], CrossEntropy(), 5e-4, penalize_bias=False)
    alone = median_seconds(
        lambda: Influence(head, ArrayBatches(features, labels)).scores(leave_one_out=False)
    )
    whole = median_seconds(lambda: cooks_distance(LinearHead(head), (features, labels), progress=False))
    print(describe())
    print(f"{len(features):,} points: distances alone {alone:.2f} s, whole call {whole:.2f} s")
    print(f"features {facts['forward_seconds']:.0f} s, training {facts['seconds']:.0f} s, in the study")


if __name__ == "__main__":
    main()
