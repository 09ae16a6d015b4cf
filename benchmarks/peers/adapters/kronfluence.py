"""kronfluence: EK-FAC of the Fisher with labels drawn from the model, at every size."""

from __future__ import annotations

import tempfile

import numpy as np
import torch
from heads import PERCEPTRON_RIDGE, dataset, linear, mlp
from torch import Tensor, nn

PEER, DISTRIBUTION = "kronfluence", "kronfluence"
RIDGE = 1e-6
_HOW = "approximate, EK-FAC"
METHODS = {"head": _HOW, "stream": _HOW, "wide_head": _HOW, "perceptron": _HOW}


def head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return _ekfac(nn.Sequential(linear(weight, bias)), features, labels, RIDGE)


stream = wide_head = head


def perceptron(
    features: np.ndarray, labels: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]
) -> np.ndarray:
    return _ekfac(mlp(weights, biases), features, labels, PERCEPTRON_RIDGE)


def _ekfac(model: nn.Module, features: np.ndarray, labels: np.ndarray, damping: float) -> np.ndarray:
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task
    from kronfluence.utils.dataset import DataLoaderKwargs

    class Classification(Task):
        def compute_train_loss(self, batch: list[Tensor], model: nn.Module, sample: bool = False) -> Tensor:
            logits = model(batch[0])
            labels = torch.multinomial(logits.detach().softmax(1), 1).flatten() if sample else batch[1]
            return nn.functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch: list[Tensor], model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    task, data = Classification(), dataset(features, labels)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare_model(model, task)
        analyzer = Analyzer("run", prepared, task, cpu=True, output_dir=folder, disable_tqdm=True)
        loading = DataLoaderKwargs(collate_fn=list)
        analyzer.fit_all_factors(
            "factors",
            data,
            factor_args=FactorArguments(strategy="ekfac"),
            per_device_batch_size=1000,
            dataloader_kwargs=loading,
        )
        analyzer.compute_self_scores(
            "scores",
            "factors",
            data,
            per_device_train_batch_size=1000,
            score_args=ScoreArguments(damping_factor=damping),
            dataloader_kwargs=loading,
        )
        return analyzer.load_self_scores("scores")["all_modules"].float().numpy()
