"""Average precision of the scores that were tried before one was recommended, on one trained model.

python -m benchmarks.cifar10_candidates cifar10 resnet20-uniform-0.005-0-none-cycle16-0
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.numpy import load_file

from swaypoint.data.batches import ArrayBatches
from swaypoint.data.neighbours import neighbours
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.refit import refit_head
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy
from swaypoint.studies.detection import Found

RIDGE = 5e-4


def candidates(kept: dict[str, np.ndarray], given: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    weight, bias = torch.from_numpy(kept["weight"]).double(), torch.from_numpy(kept["bias"]).double()
    head = HeadWeights(weight, bias, CrossEntropy(), RIDGE, penalize_bias=False)
    features, own = torch.from_numpy(kept["features"]), np.arange(len(given))
    data, losses = ArrayBatches(features, given), kept["losses"].astype(float)
    influence = Influence(head, data, dtype=torch.float64)
    loss, logits = influence.scores().loss, (features.double() @ weight.T + bias)
    yield "loss", loss
    for last in (5, 8, 12):
        yield f"loss and the last {last} epochs", loss + losses[:, -last:].mean(1)
    yield "the last 5 epochs", losses[:, -5:].mean(1)
    yield "median of the last 8 epochs", np.median(losses[:, -8:], axis=1)
    by_label = torch.cat(list(influence.by_label())).numpy()
    others = by_label.copy()
    others[own, given] = np.inf
    yield "Cook's distance less that of the best label", by_label[own, given] - others.min(1)
    yield "as a ratio", by_label[own, given] / np.maximum(others.min(1), 1e-300)
    ridged = Influence(refit_head(replace(head, l2=1e-2), data).head, data, dtype=torch.float64).scores()
    yield "loss, head refitted with a ridge of 0.01", ridged.loss
    yield "Cook's distance, the same", ridged.cook
    probabilities = logits.softmax(1)
    yield "loss less a quarter of the entropy", loss - 0.25 * torch.special.entr(probabilities).sum(1).numpy()
    means = np.array([loss[given == label].mean() for label in range(10)])
    yield "loss over its mean in the class", loss / means[given]
    high = np.array([np.quantile(loss[given == label], 0.99) for label in range(10)])
    yield "loss over its 99 % quantile in the class", loss / high[given]
    gaussian = _gaussian_loss(features.double(), given)
    yield "loss under a Gaussian a class", gaussian
    yield "the same and the loss", loss + gaussian
    near = neighbours(features, given, own, k=50)
    votes = -np.log((50 * near.agreement + 0.5) / 51)
    yield "votes of 50 neighbours", votes
    yield "the same times the loss", loss * votes
    for temperature in (1.5, 5.0):
        yield f"loss at temperature {temperature}", _losses(logits / temperature, given)


def _losses(logits: torch.Tensor, given: np.ndarray) -> np.ndarray:
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(given), reduction="none").numpy()


def _gaussian_loss(features: torch.Tensor, given: np.ndarray, shared: float = 0.5) -> np.ndarray:
    """Of the posterior under one Gaussian a class, half its covariance shared, at a temperature of 10."""
    parts = [features[given == label] for label in range(10)]
    within = sum(part.T.cov() * len(part) for part in parts) / len(features)
    logits = []
    for part in parts:
        covariance = (1 - shared) * part.T.cov() + shared * within + 1e-6 * torch.eye(len(within))
        density = torch.distributions.MultivariateNormal(part.mean(0), covariance, validate_args=False)
        logits.append(density.log_prob(features))
    return _losses(torch.stack(logits, 1) / 10, given)


def main() -> None:
    out, name = Path(sys.argv[1]), sys.argv[2]
    table = pq.read_table(out / "scores" / f"{name}.parquet", columns=["given", "wrong"])
    given, wrong = (table[column].to_numpy() for column in ("given", "wrong"))
    cell = out / "cells" / name
    kept = load_file(cell / "features.safetensors") | load_file(cell / "trajectory.safetensors")
    print("score,average_precision")
    for candidate, score in candidates(kept, given):
        print(f"{candidate},{Found.of(score, wrong).measures()['average_precision']:.4f}", flush=True)


if __name__ == "__main__":
    main()
