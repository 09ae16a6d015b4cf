"""Influence in a Hugging Face text classifier: embeddings, attention, layer norm, keyword inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import swaypoint
from swaypoint.scoring.risks.model import ModelRisk

transformers = pytest.importorskip("transformers", reason="needs the transformers library")

GOOD = "a fine film|a joy from start to end|warm and funny|the best of the year|bright and clever"
BAD = "a dull film|a bore from start to end|cold and flat|the worst of the year|slow and clumsy"


@pytest.fixture(scope="module")
def classifier():
    """A small BERT on ten short reviews, trained in float64 near a minimum with ridge."""
    texts = GOOD.split("|") + BAD.split("|")
    words = sorted({word for text in texts for word in text.split()})
    rows = []
    for text in texts:
        ids = [2 + words.index(word) for word in text.split()]
        padding = 8 - len(ids)
        rows.append((ids + [0] * padding, [1] * len(ids) + [0] * padding))
    config = transformers.BertConfig(
        vocab_size=2 + len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=8,
        num_labels=2,
    )
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config).double()
    data = [
        {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask), "labels": i // 5}
        for i, (ids, mask) in enumerate(rows)
    ]
    return model, data


def logits(model, data):
    batch = {name: torch.stack([row[name] for row in data]) for name in ("input_ids", "attention_mask")}
    return model(**batch).logits


def labels(data):
    return torch.tensor([row["labels"] for row in data])


def test_gradients_are_those_of_the_plain_loss(classifier):
    model, data = classifier
    gradients = torch.cat(list(ModelRisk(model, data).gradients()))
    model.eval()
    for i in (0, 7):
        loss = F.cross_entropy(logits(model, data[i : i + 1]), labels(data[i : i + 1]))
        expected = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        flat = torch.cat(
            [
                (torch.zeros_like(p) if g is None else g).flatten()
                for p, g in zip(model.parameters(), expected, strict=True)
            ]
        )
        torch.testing.assert_close(gradients[i], flat)


@pytest.mark.parametrize("params", ["*", ("*attention*", "classifier.*")])
def test_influence_solves_with_the_gauss_newton_matrix(classifier, params):
    model, data = classifier
    values = swaypoint.influence(model, data, data[:3], params=params, damping=0.1, solver="cg")
    risk = ModelRisk(model, data, parameters=params)
    rows = torch.cat(list(risk.gradients()))
    p = logits(model.eval(), data).softmax(1).detach()
    columns = []
    for c in range(2):
        chosen = [q for name, q in model.named_parameters() if name in risk.names]
        for i in range(len(data)):
            parts = torch.autograd.grad(logits(model, data[i : i + 1])[0, c], chosen, allow_unused=True)
            flat = [
                (torch.zeros_like(q) if g is None else g).flatten()
                for q, g in zip(chosen, parts, strict=True)
            ]
            columns.append(torch.cat(flat))
    jacobian = torch.stack(columns).view(2, len(data), -1).transpose(0, 1)
    inner = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    matrix = torch.einsum("bcp,bcd,bdq->pq", jacobian, inner, jacobian) / len(data)
    matrix += 0.1 * torch.eye(risk.dimension)
    expected = rows[:3] @ torch.linalg.solve(matrix, rows.T)
    np.testing.assert_allclose(values, expected.numpy(), rtol=1e-4, atol=1e-8)


def test_every_point_is_ranked(classifier):
    model, data = classifier
    ranking = swaypoint.cooks_distance(model, data, params="*", damping=0.1, progress=False)
    assert len(ranking) == len(data)
    assert (ranking.values > 0).all()
    assert "parameters" in ranking.diagnostics.solver
