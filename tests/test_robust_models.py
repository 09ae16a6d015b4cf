"""Damaged and hostile networks and weights: a model comes out, or one InputError; nothing is unpickled."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from mutations import damaged, edited, fuzz, outcome, use_damaged
from swaypoint.data.readers.sources import read_dataset
from swaypoint.errors import InputError
from swaypoint.folder import documents
from swaypoint.models.yours import load_object, load_weights
from swaypoint.studies.acas.nnet import Network, read_nnet

SIZES = (5, 4, 3, 5)

# -- .nnet ------------------------------------------------------------------------------------------


def nnet() -> str:
    generator = np.random.default_rng(0)

    def row(values: np.ndarray) -> str:
        return ",".join(f"{value:.5e}" for value in values) + ","

    lines = ["// a network", "3,5,5,5,", ",".join(map(str, SIZES)) + ",", "0,"]
    lines += [row(-np.ones(5)), row(np.ones(5)), row(np.zeros(6)), row(np.ones(6))]
    for columns, rows in pairwise(SIZES):
        weights = generator.normal(size=(rows, columns))
        lines += [row(weight) for weight in weights] + [row(np.zeros(1))] * rows
    return "\n".join(lines) + "\n"


def use_nnet(path: Path) -> Network:
    network = read_nnet(path)
    assert network.evaluate(np.zeros((2, network.inputs))).shape == (2, network.outputs)
    for array in (*network.weights, *network.biases):
        assert np.isfinite(array.astype(np.float32)).all()
    return network


def test_the_undamaged_network_is_read(tmp_path):
    (tmp_path / "a.nnet").write_text(nnet())
    assert [len(bias) for bias in use_nnet(tmp_path / "a.nnet").biases] == [4, 3, 5]


@fuzz(100)
@given(data=st.data())
def test_edited_networks(data):
    use_damaged(use_nnet, "a.nnet", data.draw(edited(nnet())))


@fuzz(100)
@given(data=st.data())
def test_damaged_networks(data):
    use_damaged(use_nnet, "a.nnet", data.draw(damaged(nnet().encode())))


@pytest.mark.parametrize(
    ("line", "text", "words"),
    [
        (1, "1e300,5,5,5,", "line 2: .* 1e300|line 2: a number is not finite in float32"),
        (1, "2147483648,5,5,5,", "line 3: 4 numbers; expected 2147483649"),
        (2, "5,1000000000,3,5,", "line 9: 5 numbers|line .*: "),
        (8, "1e39,0,0,0,0,", "line 9: a number is not finite in float32"),
        (8, "1_0,0,0,0,0,", "line 9: could not convert string to float: '1_0'"),
        (8, "x" * 100_000 + ",0,0,0,0", "line 9: could not convert .*…"),
    ],
)
def test_absurd_numbers(tmp_path, line, text, words):
    lines = nnet().split("\n")
    lines[line] = text
    (tmp_path / "a.nnet").write_text("\n".join(lines))
    with pytest.raises(InputError, match=rf"a\.nnet, {words}") as caught:
        read_nnet(tmp_path / "a.nnet")
    assert len(str(caught.value)) < 1000


def test_networks_that_are_no_plain_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.nnet")
    for path in (tmp_path, tmp_path / "pipe.nnet", tmp_path / "absent.nnet"):
        assert isinstance(outcome(use_nnet, path), InputError)


# -- weights ----------------------------------------------------------------------------------------


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def saved(state: object, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


WEIGHTS = {
    "a.safetensors": save(model().state_dict()),
    "a.pt": saved(model().state_dict()),
    "b.pt": saved({"state_dict": model().state_dict()}, _use_new_zipfile_serialization=False),
}


def use_weights(path: Path) -> nn.Module:
    loaded = model()
    load_weights(loaded, path)
    assert loaded.eval()(torch.ones(1, 3)).shape == (1, 2)
    return loaded


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_undamaged_weights_are_loaded(tmp_path, name):
    (tmp_path / name).write_bytes(WEIGHTS[name])
    assert isinstance(use_weights(tmp_path / name), nn.Module)


@fuzz(80)
@given(data=st.data(), name=st.sampled_from(sorted(WEIGHTS)))
def test_damaged_weights(data, name):
    use_damaged(use_weights, name, data.draw(damaged(WEIGHTS[name])))


STATES = [
    *(None, 1, [], {}, {"state_dict": 1}, {"state_dict": {1: 2}}, {"0.weight": "text"}, {1: torch.ones(2)}),
    {name: value.double() * torch.nan for name, value in model().state_dict().items()},
    {name: value[None] for name, value in model().state_dict().items()},
    {name: value.to_sparse() if value.ndim == 2 else value for name, value in model().state_dict().items()},
    {name: value.to("meta") for name, value in model().state_dict().items()},
    {name: value.expand(10**6, *value.shape) for name, value in model().state_dict().items()},
]


@pytest.mark.parametrize("state", STATES, ids=range(len(STATES)))
def test_states_of_other_forms(tmp_path, state):
    (tmp_path / "a.pt").write_bytes(saved(state))
    assert isinstance(outcome(use_weights, tmp_path / "a.pt"), InputError | nn.Module)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = model().state_dict()
    state["0.bias"][1] = torch.inf
    (tmp_path / "a.safetensors").write_bytes(save(state))
    with pytest.raises(InputError, match=r"a\.safetensors: its weights are not all finite; save them with"):
        use_weights(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_what_unpacks_to_more_than_the_memory(tmp_path, monkeypatch, name):
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(20 << 20))
    monkeypatch.setattr(documents.os, "sysconf", {"SC_PHYS_PAGES": 4096, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert isinstance(outcome(use_weights, tmp_path / name), InputError)


def test_weights_that_are_no_plain_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    for path in (tmp_path, tmp_path / "pipe.pt", tmp_path / "absent.pt", tmp_path / ("x" * 300)):
        assert isinstance(outcome(use_weights, path), InputError)


# -- pickles ----------------------------------------------------------------------------------------


class Touch:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.safetensors", "a.npz", "old.npz", "a.parquet", "a.csv"])
def test_no_pickle_is_loaded(tmp_path, name):
    trace, path = tmp_path / "touched", tmp_path / name
    if name == "a.npz":
        np.savez(path, features=np.array([[Touch(trace)]], object), labels=np.array([Touch(trace)], object))
    elif name.startswith("a.pt"):
        path.write_bytes(saved({"0.weight": Touch(trace)}))
    else:
        path.write_bytes(pickle.dumps(Touch(trace)))
    use = use_weights if name.startswith(("a.pt", "a.safe")) else read_dataset
    assert isinstance(outcome(use, path), InputError)
    assert not trace.exists()
    np.load(path, allow_pickle=True)["features"] if name == "a.npz" else None
    assert trace.exists() == (name == "a.npz")  # the file would have done it


@pytest.mark.parametrize("reference", ["a", ":b", ".a:b", "a..b:c", "é:è", "os:\0", "\0:x", "broken:x"])
def test_references_to_nothing(tmp_path, monkeypatch, reference):
    (tmp_path / "broken.py").write_text("def (:\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        load_object(reference)
