"""Loggers that a user passes: what reaches them, read back from what they wrote."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from swaypoint.models.callback import InfluenceCallback
from swaypoint.models.recording import SUMMARY, InfluenceRecorder

PAGE = Path(__file__).parents[1] / "docs" / "loops.md"
X = torch.randn(240, 5, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 1).long()


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def expected(recorder: InfluenceRecorder) -> dict[int, dict[str, float]]:
    """The summary of each epoch, from the records."""
    found = {}
    for epoch, rows in recorder.table().to_pandas().groupby("epoch"):
        shares = np.sort(rows["cook"].to_numpy() / rows["cook"].sum())[::-1]
        values = rows["loss"].mean(), 1 / (shares**2).sum(), shares[: max(1, round(len(rows) / 100))].sum()
        found[epoch] = dict(zip(SUMMARY, values, strict=True))
    return found


def written(folder: Path) -> dict[str, list[float]]:
    """TensorBoard's scalars by tag, as its file of records has them: a length, its checksum, the record, its
    checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2", reason="needs tensorboardX")
    found: dict[str, list[float]] = {}
    for file in folder.rglob("events.out.tfevents.*"):
        data = file.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            for value in event_pb2.Event.FromString(data[12 : 12 + size]).summary.value:
                found.setdefault(value.tag, []).append(value.simple_value)
            data = data[16 + size :]
    return found


def trained(loggers, recorder) -> None:
    trainer = lightning.Trainer(
        max_epochs=3,
        callbacks=[InfluenceCallback(recorder, model=lambda module: module.network)],
        accelerator="cpu",
        logger=loggers,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), DataLoader(TensorDataset(X, Y), batch_size=60))


def test_lightnings_csv_logger_has_each_record(tmp_path):
    recorder = InfluenceRecorder((X, Y), tmp_path / "records", epochs=[0, 2], l2=0.01)
    trained(CSVLogger(tmp_path), recorder)
    (file,) = tmp_path.rglob("metrics.csv")
    rows = [row for row in csv.DictReader(file.open()) if row["influence/loss"]]
    assert [int(row["step"]) for row in rows] == [4, 12]  # of four batches an epoch
    for row, values in zip(rows, expected(recorder).values(), strict=True):
        assert {name: pytest.approx(float(row[name]), rel=1e-5) for name in SUMMARY} == values


def test_lightnings_tensorboard_logger_has_each_record_beside_another(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs tensorboardX")
    recorder = InfluenceRecorder((X, Y), tmp_path / "records", l2=0.01)
    trained([TensorBoardLogger(tmp_path), CSVLogger(tmp_path)], recorder)
    found, records = written(tmp_path), expected(recorder)
    for name in SUMMARY:
        assert found[name] == pytest.approx([records[epoch][name] for epoch in range(3)], rel=1e-5)
    assert len(list(tmp_path.rglob("metrics.csv"))) == 1


def test_a_plain_loop_is_given_the_summary(tmp_path):
    recorder = InfluenceRecorder((X, Y), tmp_path, epochs=[1], l2=0.01)
    assert recorder(Module().network, 0) is None
    assert recorder(Module().network, 1) == {
        name: pytest.approx(value, rel=1e-6) for name, value in expected(recorder)[1].items()
    }


def test_transformers_reports_to_what_it_was_told(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the transformers library")
    for name in ("accelerate", "tensorboardX"):
        pytest.importorskip(name, reason=f"needs {name}")
    from swaypoint.models.trainer_callback import InfluenceTrainerCallback

    config = transformers.BertConfig(
        vocab_size=12, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=6, num_labels=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config)
    words = torch.randint(0, 12, (60, 6), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": row, "labels": int(row[0] > 5)} for row in words]
    arguments = transformers.TrainingArguments(
        str(tmp_path / "out"), num_train_epochs=3, per_device_train_batch_size=20, report_to="tensorboard",
        save_strategy="no", disable_tqdm=True, use_cpu=True, lr_scheduler_type="linear", learning_rate=0.01,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=data)
    recorder = InfluenceRecorder(data, tmp_path / "records", epochs=[0, 2], l2=0.01)
    trainer.add_callback(InfluenceTrainerCallback(recorder, trainer.log))
    trainer.train()
    records, found = expected(recorder), written(tmp_path)
    assert list(records) == [0, 2]
    for name in SUMMARY:
        (tag,) = (tag for tag in found if tag.endswith(name))
        assert found[tag] == pytest.approx([values[name] for values in records.values()], rel=1e-5)
    last = recorder.table().to_pandas().query("epoch == 2")
    rate = 0.01 * (1 - 8 / 9)  # of the last of nine steps
    again = InfluenceRecorder(data, tmp_path / "again", l2=0.01)
    again(model, 2, rate=1.0)
    np.testing.assert_allclose(last["tracin"] / rate, again.table().to_pandas()["tracin"], rtol=1e-4)


@pytest.mark.slow
def test_the_page_finds_planted_labels_of_a_trainer_of_transformers(tmp_path, monkeypatch, capsys):
    pytest.importorskip("transformers", reason="needs the transformers library")
    pytest.importorskip("accelerate", reason="needs accelerate")
    monkeypatch.chdir(tmp_path)
    script = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)[0]
    exec(script, {})
    (found,) = re.findall(r"^(\d+) of 36 planted labels", capsys.readouterr().out, re.M)
    assert int(found) >= 30
