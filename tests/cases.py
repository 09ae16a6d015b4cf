"""Models, data and optima that several test files share, and the fixtures that run over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swaypoint.models.predictor import ModelOptions
from swaypoint.scoring.risks.model import ModelRisk
from swaypoint.scoring.trained_model import TrainedModel

# -- any parameters of any model --------------------------------------------------------------------


class Tied(nn.Module):
    """Embedding, attention and a head that shares the embedding's weight."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.block = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.5, batch_first=True)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.block(self.embed(tokens)).mean(1))


def perceptron():
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4))


def convolution():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8, 3))


def tokens(generator):
    return torch.randint(0, 7, (23, 5), generator=generator)


CASES = {
    "perceptron": (perceptron, lambda g: torch.randn(23, 3, generator=g), "cross_entropy", 4, "*"),
    "one layer": (perceptron, lambda g: torch.randn(23, 3, generator=g), "cross_entropy", 4, ("3.*",)),
    "regression": (
        perceptron,
        lambda g: torch.randn(23, 3, generator=g),
        "squared_error",
        4,
        ("0.w*", "3.*"),
    ),
    "convolution": (convolution, lambda g: torch.randn(23, 1, 4, 4, generator=g), "cross_entropy", 3, "*"),
    "tied attention": (Tied, tokens, "cross_entropy", 7, "*"),
}


@pytest.fixture(params=CASES)
def case(request):
    make, inputs, loss, outputs, parameters = CASES[request.param]
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = make().double().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    x = inputs(generator)
    x = x.double() if x.is_floating_point() else x
    y = torch.randint(0, outputs, (23,), generator=generator)
    if loss == "squared_error":
        y = torch.randn(23, outputs, generator=generator).double()
    risk = ModelRisk(model, (x, y), loss=loss, parameters=parameters, l2=0.1, damping=0.2, batch_size=10)
    return model, x, y, loss, risk


def as_function(model, risk, x):
    """Logits as a function of the chosen parameters, written plainly; and their value."""
    named = dict(model.named_parameters())
    chosen = {name: named[name] for name in risk.names}
    theta = torch.cat([p.detach().flatten() for p in chosen.values()])

    def logits(theta):
        values, start = {}, 0
        for name, p in chosen.items():
            values[name] = theta[start : start + p.numel()].view_as(p)
            start += p.numel()
        return torch.func.functional_call(model, values, (x,))

    return logits, theta


def trained(layers, ridge, seed=0):
    """A small network near a stationary point of mean loss + (ridge / 2) ||theta||^2, in float64."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    x = torch.randn(120, 4, generator=generator).double()
    y = (x[:, 0] * x[:, 1] + 0.5 * torch.randn(120, generator=generator) > 0).long()
    model = nn.Sequential(*layers()).double()
    parameters = list(model.parameters())
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=2000, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = F.cross_entropy(model(x), y) + 0.5 * ridge * sum(p.square().sum() for p in parameters)
        value.backward()
        return value

    optimizer.step(closure)
    return model, x, y


def two_layers():
    return nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)


# -- optima, and what they become without some points -----------------------------------------------


@dataclass(frozen=True)
class Problem:
    """A converged model; ``losses(theta, data)`` written plainly, theta in the order of ``trained``."""

    trained: TrainedModel
    theta: Tensor
    x: Tensor
    y: Tensor
    ridge: float
    losses: Callable[..., Tensor]

    def objective(self, theta: Tensor, weights: Tensor) -> Tensor:
        mean = (weights * self.losses(theta, self.x, self.y)).sum() / len(self.x)
        return mean + 0.5 * self.ridge * theta.square().sum()

    def refit(self, weights: Tensor) -> Tensor:
        return newton(lambda theta: self.objective(theta, weights), self.theta)


def newton(objective: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    """The minimiser next to ``theta`` by damped Newton steps, to a gradient of 1e-12."""
    slope, curvature = torch.func.grad(objective), torch.func.hessian(objective)
    for _ in range(100):
        gradient = slope(theta)
        if float(gradient.norm()) < 1e-12:
            return theta
        values, vectors = torch.linalg.eigh(curvature(theta))
        step = vectors @ ((vectors.T @ gradient) / values.abs().clamp_min(1e-6))
        length = 1.0
        while length > 1e-6 and float(objective(theta - length * step)) > float(objective(theta)) + 1e-15:
            length *= 0.5
        theta = theta - length * step
    assert float(slope(theta).norm()) < 1e-11
    return theta


def points(n: int = 90, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (n,), generator=generator)
    centres = torch.randn(classes, 4, generator=generator)
    return (centres[y] + torch.randn(n, 4, generator=generator)).double(), y


def with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1).to(x)], 1)


def head(classes: int = 3, ridge: float = 0.02, loss: str = "cross_entropy") -> Problem:
    """A linear model, parameters row-major in (C, D + 1)."""
    x, y = points(classes=max(2, classes))
    if classes == 1:
        y[::6] = 1 - y[::6]  # not separable: a minimum without a ridge too

    def losses(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        logits = with_one(x) @ theta.view(classes, 5).T
        if loss == "squared_error":
            return 0.5 * (logits - y).square().sum(1)
        if classes == 1:
            return F.binary_cross_entropy_with_logits(logits[:, 0], y.double(), reduction="none")
        return F.cross_entropy(logits, y, reduction="none")

    if loss == "squared_error":
        y = torch.randn(90, classes, generator=torch.Generator().manual_seed(1)).double() + x[:, :1]
    model = nn.Linear(4, classes).double()
    start = Problem(None, torch.zeros(5 * classes).double(), x, y, ridge, losses)  # type: ignore[arg-type]
    theta = start.refit(torch.ones(90).double())
    with torch.no_grad():
        model.weight.copy_(theta.view(classes, 5)[:, :4])
        model.bias.copy_(theta.view(classes, 5)[:, 4])
    name = "binary_cross_entropy" if classes == 1 and loss == "cross_entropy" else loss
    return Problem(TrainedModel(model, (x, y), loss=name, l2=ridge), theta, x, y, ridge, losses)


def network(curvature: str = "hessian", ridge: float = 0.02) -> Problem:
    """Three tanh units, all 24 parameters, at a minimum."""
    x, y = points()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()

    def losses(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        inner, outer = theta[:15], theta[15:]
        hidden = (x @ inner[:12].view(3, 4).T + inner[12:]).tanh()
        return F.cross_entropy(hidden @ outer[:9].view(3, 3).T + outer[9:], y, reduction="none")

    first = nn.utils.parameters_to_vector(model.parameters()).detach()
    start = Problem(None, first, x, y, ridge, losses)  # type: ignore[arg-type]
    theta = start.refit(torch.ones(90).double())
    nn.utils.vector_to_parameters(theta, model.parameters())
    trained = TrainedModel(model, (x, y), l2=ridge, params="*", curvature=curvature)  # type: ignore[arg-type]
    return Problem(trained, theta, x, y, ridge, losses)


PROBLEMS = {"softmax head": head, "logistic head": lambda: head(1), "network": network}


@cache
def solved(name: str) -> Problem:
    """The one of :data:`PROBLEMS`, fitted once."""
    return PROBLEMS[name]()


@pytest.fixture(params=PROBLEMS)
def problem(request):
    return solved(request.param)


def without(members, n: int = 90) -> Tensor:
    weights = torch.ones(n).double()
    weights[torch.as_tensor(members)] = 0.0
    return weights


def regression(n=80, ridge=0.0, seed=0):
    """Heteroscedastic, so that the sandwich differs from the classical covariance."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, generator=generator).double()
    noise = torch.randn(n, generator=generator).double() * (0.3 + x[:, 0].abs())
    y = 1.0 + x @ torch.tensor([1.0, -2.0, 0.5]).double() + noise
    X = with_one(x)
    theta = torch.linalg.solve(X.T @ X + n * ridge * torch.eye(4).double(), X.T @ y)
    model = nn.Linear(3, 1).double()
    with torch.no_grad():
        model.weight.copy_(theta[:3])
        model.bias.copy_(theta[3:])
    return model, x, y


# -- a network that pictures pass -------------------------------------------------------------------

SIDE, WIDTH = 8, 12
CLASSES = ("cat", "dog", "emu")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.inner, self.last = nn.Linear(3 * SIDE**2, WIDTH), nn.Linear(WIDTH, len(CLASSES))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 10

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.inner(x.flatten(1))))


def net() -> nn.Module:
    return Net()


MODEL = ModelOptions(f"{__name__}:net")
