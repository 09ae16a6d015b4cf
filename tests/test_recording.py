"""Records during training: the numbers of the model at that moment, and what it costs."""

from __future__ import annotations

import lightning
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import swaypoint
from swaypoint.models.callback import InfluenceCallback
from swaypoint.models.recording import InfluenceRecorder

X = torch.randn(80, 5, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 1).long()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Dropout(0.3), nn.Linear(4, 3))


def test_a_plain_loop(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = InfluenceRecorder((X, Y), tmp_path, epochs=[1, 3], l2=0.01, keep_weights=True)
    snapshots = {}
    for epoch in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
        snapshots[epoch] = {name: value.clone() for name, value in model.state_dict().items()}
        recorder(model, epoch, rate=0.1)
        assert model.training
    table = recorder.table().to_pandas()
    assert sorted(table.epoch.unique()) == [1, 3]
    for epoch, checkpoint in zip([1, 3], recorder.checkpoints(), strict=True):
        torch.testing.assert_close(checkpoint.weights, snapshots[epoch])
        assert checkpoint.rate == 0.1
        model.load_state_dict(snapshots[epoch])
        record = table[table.epoch == epoch]
        expected = swaypoint.cooks_distance(model, (X, Y), l2=0.01, progress=False)
        np.testing.assert_allclose(record.cook, expected.values, rtol=1e-6)
        np.testing.assert_allclose(record.tracin, 0.1 * square_gradients(model.eval()), rtol=1e-4)
    assert 0 < recorder.overhead < 1


def square_gradients(model):
    squares = []
    for x, y in zip(X, Y, strict=True):
        loss = nn.functional.cross_entropy(model(x.unsqueeze(0)), y.unsqueeze(0))
        parts = torch.autograd.grad(loss, list(model[-1].parameters()))
        squares.append(float(sum(part.square().sum() for part in parts)))
    return np.array(squares)


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = network()

    def forward(self, x):
        return self.network(x)

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def test_the_lightning_callback(tmp_path):
    module, recorder = Module(), InfluenceRecorder((X, Y), tmp_path)
    trainer = lightning.Trainer(
        max_epochs=2,
        callbacks=[InfluenceCallback(recorder)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(X, Y), batch_size=16))
    table = recorder.table().to_pandas()
    expected = swaypoint.cooks_distance(module.network, (X, Y), progress=False).values
    np.testing.assert_allclose(table[table.epoch == 1].cook, expected, rtol=1e-6)
    assert module.training


def test_what_is_missing_is_named(tmp_path):
    recorder = InfluenceRecorder((X, Y), tmp_path)
    with pytest.raises(swaypoint.InputError, match="no records"):
        recorder.table()
    recorder(network(), 0)
    with pytest.raises(swaypoint.InputError, match="keep_weights=True"):
        recorder.checkpoints()
