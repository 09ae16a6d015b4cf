"""Models and data as people bring them in Python, one case an input: the right numbers, or what is said.

The models are forms of one network, so that most right answers are the same numbers: those of
``tests/oracles.py``, by automatic differentiation in float64.
"""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from typer.testing import CliRunner

import oracles
import swaypoint
from swaypoint.cli.main import app
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.operators.spectrum import eigh
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy
from swaypoint.scoring.solvers import cholesky

N = 60
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(N, 4, generator=GENERATOR)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 1).long()
B = (X[:, 0] + 0.3 * torch.randn(N, generator=GENERATOR) > 0).float()
SHUFFLED = torch.randperm(N, generator=GENERATOR).tolist()
L2 = 0.01


def body(width: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 6), nn.Tanh())


def last(outputs: int = 3, bias: bool = True) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(6, outputs, bias=bias)


def net(*further: nn.Module, outputs: int = 3, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(*body(), last(outputs, bias), *further)


def truth(loss: Callable, outputs: int, targets: torch.Tensor, *, bias: bool = True) -> np.ndarray:
    """Cook's distances of the last layer of :func:`net`."""
    with torch.no_grad():
        features = body()(X).double()
    head = last(outputs, bias)
    matrix = head.weight.detach().double()
    if bias:
        features = torch.cat([features, torch.ones(N, 1)], 1)
        matrix = torch.cat([matrix, head.bias.detach().double().unsqueeze(1)], 1)
    rows, hessian = oracles.rows_and_hessian(loss, matrix, features, targets)
    return oracles.cooks_distance(rows, hessian, L2).numpy()


THREE = truth(F.cross_entropy, 3, Y)
FREE = truth(F.cross_entropy, 3, Y, bias=False)
ONE = truth(lambda z, y: F.binary_cross_entropy_with_logits(z[0], y), 1, B.double())


class Own(nn.Module):
    """The network with a forward of one's own; extra parts by name."""

    def __init__(self, forward: Callable, outputs: int = 3, **parts: object) -> None:
        super().__init__()
        self.body, self.head = body(), last(outputs)
        for name, part in parts.items():
            setattr(self, name, part)
        self.way = forward

    def forward(self, x: torch.Tensor) -> object:
        return self.way(self, x)


class TwoInputs(Own):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x * mask))


class Named(Own):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(pixels))


class Raw(nn.Module):
    """Its head is a bare parameter."""

    def __init__(self, layers: bool = True) -> None:
        super().__init__()
        self.body = body() if layers else nn.Identity()
        self.w = nn.Parameter(torch.randn(6 if layers else 4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) @ self.w


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(10, 6), last()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(x).mean(1))


class Points(Dataset):
    """Points made by a function of their position."""

    def __init__(self, point: Callable[[int], object], size: int = N) -> None:
        self.point, self.size = point, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, i: int) -> object:
        if i >= self.size:
            raise IndexError
        return self.point(i)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


def changed(model: nn.Module, change: Callable[[nn.Module], object]) -> nn.Module:
    change(model)
    return model


def conv1d() -> nn.Module:
    module = pytest.importorskip("transformers.pytorch_utils").Conv1D(3, 6)
    with torch.no_grad():
        module.weight.copy_(last().weight.T)
        module.bias.copy_(last().bias)
    return nn.Sequential(*body(), module)


def frozen(model: nn.Module) -> nn.Module:
    return model.requires_grad_(False)


def meta() -> nn.Module:
    with torch.device("meta"):
        return nn.Linear(4, 3)


def lazy(initialised: bool) -> nn.Module:
    model = nn.Sequential(*body(), nn.LazyLinear(3))
    if initialised:
        model(X)
        with torch.no_grad():
            model[2].weight.copy_(last().weight)
            model[2].bias.copy_(last().bias)
    return model


def weight_normed() -> nn.Module:
    model = net()
    nn.utils.parametrizations.weight_norm(model[2])
    return model


def hugging_face() -> object:
    return pytest.importorskip("datasets").Dataset.from_dict({"x": X.tolist(), "label": Y.tolist()})


def frames(order: object = None) -> tuple[object, object]:
    pandas = pytest.importorskip("pandas")
    index = [f"row {i}" for i in range(N)]
    inputs, labels = pandas.DataFrame(X.numpy(), index=index), pandas.Series(Y.numpy(), index=index)
    return (inputs, labels) if order is None else (inputs.iloc[order], labels)


def averaged(self: Own, x: torch.Tensor) -> torch.Tensor:
    return self.head(self.body(x).unsqueeze(1).repeat(1, 5, 1)).mean(1)


def one_position(self: Own, x: torch.Tensor) -> torch.Tensor:
    tokens = torch.stack([self.body(x), self.body(2 * x), self.body(-x)], 1)
    return self.head(tokens)[:, 0]


Case = tuple[str, Callable[[], nn.Module], Callable[[], object], dict[str, object], object]
XY = X, Y
XB = X, B
BCE = {"loss": "binary_cross_entropy"}


def same(value: object) -> Callable[[], object]:
    return lambda: value


# Name, model, data, options; and the numbers, or words of what is said.
CASES: list[Case] = [
    # heads
    ("a plain one", net, same(XY), {}, THREE),
    ("one logit", lambda: net(outputs=1), same(XB), BCE, ONE),
    ("one logit, squeezed", lambda: Own(lambda s, x: s.head(s.body(x)).squeeze(-1), 1), same(XB), BCE, ONE),
    ("one logit, all squeezed", lambda: Own(lambda s, x: s.head(s.body(x)).squeeze(), 1), same(XB), BCE, ONE),
    ("one logit, labels as a column", lambda: net(outputs=1), same((X, B[:, None])), BCE, ONE),
    ("one logit, booleans", lambda: net(nn.Flatten(0), outputs=1), same((X, B > 0)), BCE, ONE),
    ("torch's binary loss", lambda: net(outputs=1), same(XB), {"loss": nn.BCEWithLogitsLoss()}, ONE),
    ("torch's loss", net, same(XY), {"loss": nn.CrossEntropyLoss()}, THREE),
    ("without bias", lambda: net(bias=False), same(XY), {}, FREE),
    ("Conv1D of transformers", conv1d, same(XY), {}, THREE),
    ("weight norm", weight_normed, same(XY), {}, THREE),
    ("lazy, initialised", lambda: lazy(True), same(XY), {}, THREE),
    (
        "lazy, not initialised",
        lambda: lazy(False),
        same(XY),
        {},
        r"'2\.weight' is lazy.* call model\(inputs\)",
    ),
    ("on the meta device", meta, same(XY), {}, "'weight' is on the meta device.* load the model's weights"),
    ("frozen altogether", lambda: frozen(net()), same(XY), {}, THREE),
    ("frozen body", lambda: changed(net(), lambda m: frozen(m[0])), same(XY), {}, THREE),
    (
        "beside a layer that is not used",
        lambda: Own(lambda s, x: s.b(s.body(x)), b=last()),
        same(XY),
        {},
        THREE,
    ),
    ("several positions, averaged", lambda: Own(averaged), same(XY), {}, THREE),
    ("one of several positions", lambda: Own(one_position), same(XY), {}, THREE),
    (
        "an output a position",
        lambda: nn.Linear(4, 3),
        same((torch.randn(N, 5, 4), Y)),
        {},
        "each of 5 positions",
    ),
    ("a bare parameter", Raw, same(XY), {}, r"'w' \(6, 3\) seems to make the output: use an nn.Linear\(6, 3"),
    (
        "a bare parameter only",
        lambda: Raw(False),
        same(XY),
        {},
        r"put the parameter 'w' \(4, 3\) into an nn.Lin",
    ),
    (
        "used twice",
        lambda: Own(lambda s, x: s.b(s.b(x)), b=nn.Linear(4, 4)),
        same(XY),
        {},
        "the layer ran 2 times",
    ),
    (
        "used as a function",
        lambda: Own(lambda s, x: F.linear(s.body(x), s.head.weight)),
        same(XY),
        {},
        "ran 0 times",
    ),
    ("no parameter", nn.ReLU, same(XY), {}, "no trainable linear layer.* cooks_distance_from_features"),
    ("no linear layer", lambda: nn.Bilinear(4, 4, 3), same(XY), {}, "Bilinear has no trainable linear layer"),
    (
        "weights not a number",
        lambda: changed(net(), lambda m: m[2].weight.data.fill_(torch.nan)),
        same(XY),
        {},
        "diverged",
    ),
    ("a layer that is none", net, same(XY), {"layer": "head"}, "no layer 'head'; it has 0, 2"),
    ("a layer that is not linear", net, same(XY), {"layer": "1"}, "'1' is a Tanh; expected a Linear"),
    # what follows the head
    ("softmax", lambda: net(nn.Softmax(1)), same(XY), {}, THREE),
    ("log-softmax", lambda: net(nn.LogSoftmax(1)), same(XY), {}, THREE),
    ("sigmoid", lambda: net(nn.Sigmoid(), outputs=1), same(XB), BCE, ONE),
    (
        "softmax under a squared loss",
        lambda: net(nn.Softmax(1)),
        same((X, F.one_hot(Y).float())),
        {"loss": "squared_error"},
        "a softmax seems to follow.* return the logits",
    ),
    ("sigmoid under cross-entropy", lambda: net(nn.Sigmoid()), same(XY), {}, "a sigmoid seems to follow"),
    (
        "a rectifier",
        lambda: net(nn.ReLU()),
        same(XY),
        {},
        "is not the output of its layer '2'.* name the layer",
    ),
    (
        "softmax, all parameters",
        lambda: net(nn.Softmax(1)),
        same(XY),
        {"params": "*"},
        "ends in a softmax.* return the logits",
    ),
    (
        "sigmoid, all parameters",
        lambda: net(nn.Sigmoid(), outputs=1),
        same(XB),
        BCE | {"params": "*"},
        "ends in a sigmoid",
    ),
    (
        "squeezed, its last layer by autodiff",
        lambda: Own(lambda s, x: s.head(s.body(x)).squeeze(), 1),
        same(XB),
        BCE | {"params": "head.*"},
        ONE,
    ),
    # what a model returns, and its state
    ("a tuple", lambda: Own(lambda s, x: (s.head(s.body(x)), x)), same(XY), {}, THREE),
    ("a dict with logits", lambda: Own(lambda s, x: {"logits": s.head(s.body(x))}), same(XY), {}, THREE),
    (
        "an object with logits",
        lambda: Own(lambda s, x: SimpleNamespace(logits=s.head(s.body(x)))),
        same(XY),
        {},
        THREE,
    ),
    (
        "another dict",
        lambda: Own(lambda s, x: {"out": s.head(s.body(x))}),
        same(XY),
        {},
        "returns a dict; expected its logits",
    ),
    (
        "nothing",
        lambda: Own(lambda s, x: s.head(s.body(x)) and None),
        same((X[:1], Y[:1])),
        {},
        "model fails|returns a None",
    ),
    (
        "one row for all",
        lambda: Own(lambda s, x: s.head(s.body(x)).mean(0)),
        same(XY),
        {},
        r"\(3,\) of 60 points",
    ),
    (
        "batch norm in training",
        lambda: nn.Sequential(*body(), nn.BatchNorm1d(6, eps=0.0), last()).train(),
        same(XY),
        {},
        THREE,
    ),
    (
        "dropout in training",
        lambda: nn.Sequential(*body(), nn.Dropout(0.5), last()).train(),
        same(XY),
        {},
        THREE,
    ),
    ("half precision", lambda: net().bfloat16(), same(XY), {}, 60),
    ("double precision", lambda: net().double(), same(XY), {}, THREE),
    (
        "two precisions",
        lambda: nn.Sequential(*body().double(), last()),
        same(XY),
        {},
        "layer '2', a Linear, computes in torch.float32 and gets torch.float64",
    ),
    ("wrapped for several devices", lambda: nn.DataParallel(net()), same(XY), {}, THREE),
    (
        "a scripted model",
        lambda: torch.jit.trace(net(), X),
        same(XY),
        {},
        "pass the Python model that was scripted",
    ),
    (
        "the name of a model",
        lambda: "resnet18",
        same(XY),
        {},
        "the model is a str; expected a torch.nn.Module",
    ),
    ("a class, not a model", lambda: nn.Linear, same(XY), {}, "the model is a type"),
    # inputs
    ("another width", net, same((X[:, :3], Y)), {}, "layer '0', a Linear, takes 4 features and gets 3"),
    (
        "another number of channels",
        lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2, 3)),
        same((X[:, :1, None, None], Y)),
        {},
        "Conv2d, takes 3 features and gets 1",
    ),
    (
        "whole numbers",
        net,
        same(((X * 9).long(), Y)),
        {},
        "computes in torch.float32 and gets torch.int64; pass",
    ),
    ("double inputs", net, same((X.double(), Y)), {}, THREE),
    ("lists", net, same((X.tolist(), Y.tolist())), {}, THREE),
    ("tokens", Tokens, same((torch.randint(0, 10, (N, 5), generator=GENERATOR), Y)), {}, 60),
    ("tokens as floats", Tokens, same((X.abs(), Y)), {}, "an Embedding, which takes whole numbers"),
    (
        "tokens out of range",
        Tokens,
        same((torch.full((N, 5), 10), Y)),
        {},
        "the model fails on a batch.*IndexError",
    ),
    ("two inputs, one given", lambda: TwoInputs(None), same(XY), {}, r"missing.*'mask'.*takes \(x, mask\)"),
    (
        "two inputs by name",
        lambda: TwoInputs(None),
        lambda: Points(lambda i: {"x": X[i], "mask": torch.ones(4), "label": Y[i]}),
        {},
        THREE,
    ),
    (
        "texts",
        net,
        lambda: Points(lambda i: ("a text", Y[i])),
        {},
        "inputs are a (tuple|list) in a batch.* make texts tokens",
    ),
    ("not a number", net, same((torch.where(X > 2, torch.nan, X), Y)), {}, "features of row 11 are NaN"),
    ("complex numbers", net, same((X.to(torch.complex64), Y)), {}, "gets torch.complex64"),
    ("sparse", net, same((X.to_sparse(), Y)), {}, r"inputs are sparse; pass them dense: .to_dense\(\)"),
    (
        "sparse of scipy",
        net,
        lambda: (pytest.importorskip("scipy.sparse").csr_matrix(X.numpy()), Y),
        {},
        "toarray",
    ),
    (
        "points of several sizes",
        net,
        lambda: Points(lambda i: (X[i, : 3 + i % 2], Y[i])),
        {},
        "do not make a batch.*collate_fn",
    ),
    ("nothing at all", net, same((X[:0], Y[:0])), {}, "the data is empty"),
    ("an empty dataset", net, lambda: TensorDataset(X[:0], Y[:0]), {}, "the data is empty"),
    ("an empty loader", net, lambda: DataLoader(TensorDataset(X[:0], Y[:0])), {}, "the data is empty"),
    ("one point", net, same((X[:1], Y[:1])), {}, 1),
    # labels
    ("one class", net, same((X, torch.zeros(N).long())), {}, 60),
    ("one-hot", net, same((X, F.one_hot(Y))), {}, THREE),
    ("a column", net, same((X, Y[:, None])), {}, THREE),
    ("whole floats", net, same((X, Y.double())), {}, THREE),
    ("out of range", net, same((X, Y + 2)), {}, "label 3 of row 1 is out of range.* expected 0..2"),
    ("negative", net, same((X, Y - 1)), {}, "label -1 of row 0 is out of range"),
    ("real values", net, same((X, X[:, 0])), {}, "of row 0 is not a whole number"),
    (
        "a label not a number",
        net,
        same((X, torch.where(torch.arange(N) == 3, torch.nan, Y.double()))),
        {},
        "label nan of row 3",
    ),
    (
        "texts for labels",
        net,
        same((X, ["abc"[i] for i in Y])),
        {},
        "labels has dtype <U1.* position among the model's outputs",
    ),
    ("no labels", net, same((X, None)), {}, "labels has dtype object"),
    ("inputs alone", net, same(X), {}, r"a Tensor alone; expected a pair \(inputs, labels\)"),
    ("more inputs than labels", net, same((X, Y[:50])), {}, "60 inputs but 50 labels"),
    # how data come
    ("a dataset", net, lambda: TensorDataset(X, Y), {}, THREE),
    ("arrays in a dataset", net, lambda: Points(lambda i: (X[i].numpy(), int(Y[i]))), {}, THREE),
    ("points in a list", net, lambda: list(zip(X, Y, strict=True)), {}, THREE),
    ("batches in a list", net, lambda: list(zip(X.split(8), Y.split(8), strict=True)), {}, THREE),
    ("a stream", net, Stream, {}, THREE),
    ("a loader of a stream", net, lambda: DataLoader(Stream(), batch_size=8), {}, THREE),
    ("a generator", net, lambda: (part for part in [XY]), {}, "a generator; expected .* read twice"),
    ("a dict of columns", net, same({"x": X, "y": Y}), {}, r"a dict with x, y; expected \(inputs, labels\)"),
    ("positions beside", net, lambda: Points(lambda i: (X[i], Y[i], i)), {}, THREE),
    (
        "three parts",
        net,
        lambda: Points(lambda i: (X[i], X[i], Y[i])),
        {},
        r"of 3 parts; expected \(inputs, labels\)",
    ),
    ("weights beside", net, lambda: Points(lambda i: (X[i], Y[i], 0.5)), {}, "of 3 parts"),
    ("dicts", net, lambda: Points(lambda i: {"x": X[i], "label": Y[i]}), {}, THREE),
    (
        "dicts with positions",
        net,
        lambda: Points(lambda i: {"x": X[i], "label": Y[i], "index": i}),
        {},
        THREE,
    ),
    (
        "dicts with more than is taken",
        lambda: Named(None),
        lambda: Points(lambda i: {"pixels": X[i], "label": Y[i], "text": "a"}),
        {},
        THREE,
    ),
    (
        "dicts without labels",
        net,
        lambda: Points(lambda i: {"x": X[i]}),
        {},
        "keys x; expected one label key",
    ),
    ("a loader that shuffles", net, lambda: DataLoader(TensorDataset(X, Y), 8, shuffle=True), {}, THREE),
    (
        "a loader that draws",
        net,
        lambda: DataLoader(TensorDataset(X, Y), sampler=WeightedRandomSampler(torch.ones(N), 99)),
        {},
        THREE,
    ),
    ("Hugging Face, lists", net, hugging_face, {}, THREE),
    ("Hugging Face, tensors", net, lambda: hugging_face().with_format("torch"), {}, THREE),
    ("data frames", net, frames, {}, THREE),
    (
        "data frames in another order",
        net,
        lambda: frames(SHUFFLED),
        {},
        r"another order.* labels.loc\[inputs.index\]",
    ),
]


@pytest.mark.parametrize(
    ("model", "data", "options", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
@pytest.mark.filterwarnings("ignore")
def test_a_first_try_gives_the_right_numbers_or_one_sentence(model, data, options, expected):
    options = {"l2": L2, **options}
    if isinstance(expected, str):
        with pytest.raises(swaypoint.InputError, match=expected) as caught:
            swaypoint.cooks_distance(model(), data(), **options)
        assert "\n" not in str(caught.value)
        return
    ranking = swaypoint.cooks_distance(model(), data(), **options)
    if isinstance(expected, int):
        assert len(ranking) == expected
        assert np.isfinite(ranking.values).all()
        return
    np.testing.assert_allclose(ranking.values, expected, rtol=2e-4)


def test_the_table_is_as_long_as_it_says():
    assert len(CASES) > 100
    assert len({case[0] for case in CASES}) == len(CASES)


# -- whose positions --------------------------------------------------------------------------------

CHOSEN = SHUFFLED[:40]
INNER = list(range(30, 5, -2))


@pytest.mark.parametrize(
    ("data", "own"),
    [
        (lambda: Subset(TensorDataset(X, Y), CHOSEN), CHOSEN),
        (lambda: Subset(Subset(TensorDataset(X, Y), CHOSEN), INNER), [CHOSEN[i] for i in INNER]),
        (lambda: DataLoader(Subset(TensorDataset(X, Y), CHOSEN), 8, shuffle=True), CHOSEN),
        (lambda: DataLoader(TensorDataset(X, Y), 8, sampler=SubsetRandomSampler(CHOSEN)), sorted(CHOSEN)),
        (lambda: DataLoader(Points(lambda i: (X[CHOSEN[i]], Y[CHOSEN[i]], CHOSEN[i]), 40), 8), CHOSEN),
        (lambda: (X, Y), list(range(N))),
    ],
    ids=["subset", "subset of a subset", "shuffled subset", "sampled subset", "positions beside", "a pair"],
)
def test_points_are_called_what_they_are_where_they_come_from(data, own):
    ranking = swaypoint.cooks_distance(net(), data(), l2=L2)
    assert ranking.own_index.tolist() == own
    assert ranking.index.tolist() == list(range(len(own)))
    order = ranking.top(5)
    assert order.own_index.tolist() == [own[i] for i in order.index]
    np.testing.assert_array_equal(ranking.label, Y[own])
    assert ("own_index" in ranking.to_arrow().column_names) == (own != list(range(len(own))))


def test_a_shuffled_frame_keeps_its_index():
    inputs, labels = frames()
    shuffled = inputs.iloc[SHUFFLED], labels.iloc[SHUFFLED]
    of_model = swaypoint.cooks_distance(net(), shuffled, l2=L2)
    np.testing.assert_allclose(of_model.values, THREE[SHUFFLED], rtol=2e-4)
    assert of_model.own_index.tolist() == list(inputs.index[SHUFFLED])
    assert of_model.top(3).to_arrow()["own_index"].to_pylist() == of_model.top(3).own_index.tolist()
    fitted = swaypoint.cooks_distance_from_features(*shuffled)
    assert fitted.own_index.tolist() == of_model.own_index.tolist()
    with pytest.raises(swaypoint.InputError, match=r"labels.loc\[inputs.index\]"):
        swaypoint.cooks_distance_from_features(inputs.iloc[SHUFFLED], labels)


# -- models of transformers -------------------------------------------------------------------------


def gpt2(kind: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    options = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "num_labels": 3}
    marks = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    torch.manual_seed(0)
    return getattr(transformers, kind)(transformers.GPT2Config(vocab_size=20, **options, **marks)).eval()


def test_gpt2_is_ranked_by_the_token_that_it_classifies_by():
    model = gpt2("GPT2ForSequenceClassification")
    lengths = torch.arange(N) % 5 + 3
    places = torch.arange(8)
    mask = (places < lengths[:, None]).long()
    tokens = torch.randint(2, 20, (N, 8), generator=torch.Generator().manual_seed(0)) * mask
    data = Points(lambda i: {"input_ids": tokens[i], "attention_mask": mask[i], "labels": Y[i]})
    ranking = swaypoint.cooks_distance(model, data, l2=L2)
    with torch.no_grad():
        hidden = model.transformer(tokens, attention_mask=mask).last_hidden_state
    features = hidden[torch.arange(N), lengths - 1].double()
    rows, hessian = oracles.rows_and_hessian(
        F.cross_entropy, model.score.weight.detach().double(), features, Y
    )
    np.testing.assert_allclose(ranking.values, oracles.cooks_distance(rows, hessian, L2), rtol=1e-3)


def test_a_language_model_has_more_than_one_output_a_point():
    data = Points(lambda i: {"input_ids": torch.arange(2, 9), "labels": Y[i]})
    with pytest.raises(swaypoint.InputError, match=r"the model (fails|returns)"):
        swaypoint.cooks_distance(gpt2("GPT2LMHeadModel"), data, l2=L2)


# -- columns of any units ---------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("powers", [3, 20, 100])
def test_columns_of_very_different_units_count_as_they_should(loss, powers):
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(200, 8))
    units = np.logspace(-powers, powers, 8)
    labels = np.arange(200) % 3 if loss == "cross_entropy" else plain.sum(1) + rng.normal(size=200)
    found = swaypoint.cooks_distance_from_features(plain * units, labels, loss=loss, l2=1e-3)
    expected = _scaled_oracle(plain, 1e-3 / units**2, labels, loss)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5)


def _scaled_oracle(features: np.ndarray, ridge: np.ndarray, labels: np.ndarray, loss: str) -> np.ndarray:
    """Newton's method and Cook's distances where the columns are standardised and the ridge is not."""
    x = torch.from_numpy(np.c_[features, np.ones(len(features))])
    outputs = 3 if loss == "cross_entropy" else 1
    penalty = torch.from_numpy(np.r_[ridge, 0.0]).repeat(outputs)
    y = torch.from_numpy(labels)
    gauge = torch.linalg.svd(torch.ones(outputs, outputs) - outputs * torch.eye(outputs))[0].double()
    gauge = gauge[:, : outputs - 1].contiguous() if outputs > 1 else gauge
    lift = torch.kron(gauge, torch.eye(x.shape[1], dtype=torch.float64))

    def point(z: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(z, target) if outputs > 1 else 0.5 * (z[0] - target) ** 2

    matrix = torch.zeros(outputs, x.shape[1], dtype=torch.float64)
    for _ in range(30):
        rows, hessian = oracles.rows_and_hessian(point, matrix, x, y)
        inner = lift.T @ (hessian + torch.diag(penalty)) @ lift
        scale = inner.diagonal().rsqrt()
        inner = scale.unsqueeze(1) * inner * scale

        def inverse(vectors: torch.Tensor, inner=inner, scale=scale) -> torch.Tensor:
            reduced = scale.unsqueeze(1) * (lift.T @ vectors)
            return lift @ (scale.unsqueeze(1) * torch.linalg.solve(inner, reduced))

        slope = rows.mean(0) + penalty * matrix.flatten()
        matrix = matrix - inverse(slope.unsqueeze(1)).view_as(matrix)
    return (rows.T * inverse(rows.T)).sum(0).numpy()


def test_squares_beyond_float64_are_refused():
    with pytest.raises(
        swaypoint.InputError, match=r"feature 1 of row 0 is .*e\+200.* standardise the columns"
    ):
        swaypoint.cooks_distance_from_features(np.array([[1.0, 2e200], [0.5, 1.0]]), [0, 1])


def test_eigenvalues_are_found_where_the_first_routine_gives_up(monkeypatch):
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double()
    matrix = matrix + matrix.T
    expected = torch.linalg.eigvalsh(matrix)

    def fails(_: torch.Tensor) -> None:
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(torch.linalg, "eigh", fails)
    values, vectors = eigh(1e20 * matrix)
    torch.testing.assert_close(1e-20 * values, expected)
    torch.testing.assert_close((vectors * values) @ vectors.T, 1e20 * matrix)
    with pytest.raises(swaypoint.InputError, match="standardise the columns"):
        eigh(torch.full((2, 2), torch.inf))


# -- many classes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("l2", [0.0, 1e-2])
def test_many_classes_on_few_features_are_as_exact(l2):
    generator = torch.Generator().manual_seed(0)
    features, weight = torch.randn(200, 1, generator=generator), torch.randn(35, 1, generator=generator)
    bias = torch.zeros(35)
    labels = torch.randint(0, 35, (200,), generator=generator)
    solved = Influence(HeadWeights(weight, bias, CrossEntropy(), l2), ArrayBatches(features, labels))
    assert solved.risk.wide
    columns = torch.cat([features, torch.ones(200, 1)], 1).double()
    matrix = torch.cat([weight, bias[:, None]], 1).double()
    rows, hessian = oracles.rows_and_hessian(F.cross_entropy, matrix, columns, labels)
    found = solved.scores(probabilities=True)
    np.testing.assert_allclose(found.cook, oracles.cooks_distance(rows, hessian, l2), rtol=1e-8)
    # Leave-one-out: one Newton step without the point, the whole system solved anew.
    for i in (0, 7, 150):
        own = torch.func.hessian(lambda z, y=labels[i]: F.cross_entropy(z, y))(matrix @ columns[i])
        without = (
            hessian
            + l2 * torch.eye(70)
            - torch.kron(own.contiguous(), torch.outer(columns[i], columns[i])) / 200
        )
        step = torch.linalg.pinv(without, hermitian=True) @ rows[i] / 200
        expected = matrix @ columns[i] + step.view(35, 2) @ columns[i]
        np.testing.assert_allclose(found.probabilities[i], expected.softmax(0), rtol=1e-6)  # float32


# -- from the command line --------------------------------------------------------------------------

FACTORIES = """
import torch
from torch import nn
def good(): return nn.Linear(4, 3)
def needs(classes, width=4): return nn.Linear(width, classes)
def fails(): raise KeyError("no such file")
def text(): return "a model"
def narrow(): return nn.Linear(3, 3)
def two(): return nn.Bilinear(4, 4, 3)
Class = nn.Linear
made = nn.Linear(4, 3)
"""


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("factories:good", ""),
        ("factories:made", ""),
        ("factories:needs", "needs an argument, classes; name a function without arguments"),
        ("factories:Class", "needs an argument, in_features, out_features"),
        ("factories:fails", "fails: KeyError: 'no such file'"),
        ("factories:text", "gave a str; expected a torch.nn.Module"),
        ("factories:narrow", "takes 3 features and gets 4"),
        ("factories:two", "no trainable linear layer"),
        ("factories:none", "cannot import 'factories:none'"),
    ],
)
def test_a_model_of_ones_own_on_the_command_line(tmp_path, monkeypatch, factory, words):
    (tmp_path / "factories.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", features=X.numpy(), labels=Y.numpy())
    result = CliRunner().invoke(app, ["audit", "data.npz", "--model", factory, "--out", "out"])
    if words:
        assert isinstance(result.exception, swaypoint.InputError)
        assert words in str(result.exception)
    else:
        assert result.exit_code == 0, result.output


def test_models_stay_as_they_were():
    model = net(nn.Softmax(1)).train()
    before = copy.deepcopy(model.state_dict())
    swaypoint.cooks_distance(model, XY, l2=L2)
    assert model.training
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name])


# -- what it takes ----------------------------------------------------------------------------------

CHILD = """
import resource, sys
import numpy as np, torch
import swaypoint
from swaypoint.scoring.rank import choose
n, width, classes, gigabytes = (float(x) for x in sys.argv[1:])
rng = np.random.default_rng(0)
features = rng.normal(size=(int(n), int(width))).astype(np.float32)
labels = np.arange(int(n)) % int(classes)
resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 1e9), resource.RLIM_INFINITY))
try:
    ranking = swaypoint.cooks_distance_from_features(features, labels.astype(str))
    print(ranking.diagnostics.solver, np.isfinite(ranking.values).all())
except swaypoint.InputError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "width", "classes", "gigabytes", "words"),
    [
        (500, 2, 330, 1.4, "closed form, Cholesky of 987 parameters True"),  # took 5 GB
        (300, 128, 150, 1.6, "sketch of 160 draws, 19,350 parameters True"),
        (300, 500, 150, 0.9, "needs .* GB and .* are free here; use fewer features"),
    ],
    ids=["many classes", "embeddings", "too little"],
)
def test_what_is_done_fits_into_the_memory_there_is(n, width, classes, gigabytes, words):
    arguments = [str(x) for x in (n, width, classes, gigabytes)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert re.search(words, done.stdout), done.stderr[-500:]


ROOM = """
import resource
import numpy as np
from swaypoint.folder.documents import free_memory
resource.setrlimit(resource.RLIMIT_DATA, (10**9, resource.RLIM_INFINITY))
before = free_memory()
held = np.ones(25_000_000)
print(before, free_memory())
"""


def test_what_is_free_is_less_what_is_held_but_not_what_the_parent_holds():
    held = np.ones(100_000_000)  # 800 MB; a child's ru_maxrss begins with them
    done = subprocess.run([sys.executable, "-c", ROOM], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert before > 0.6e9
    assert before - after == pytest.approx(0.9 * 0.2e9, rel=0.01)
    assert held.all()


def test_float32_that_is_too_coarse_is_not_decomposed(monkeypatch):
    sizes = []
    monkeypatch.setattr(cholesky, "eigh", lambda matrix: sizes.append(matrix.shape))
    features = torch.randn(80, 6, generator=torch.Generator().manual_seed(0)).double()
    features[:, 5] = features[:, 4] + 1e-5 * features[:, 3] ** 2
    weight = 12 * torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    head = HeadWeights(weight, torch.zeros(3), CrossEntropy(), 0.0)
    labels = (features @ weight.double().T).argmax(1)
    solved = Influence(head, ArrayBatches(features, labels))
    assert solved.dtype == torch.float64
    assert sizes == []
