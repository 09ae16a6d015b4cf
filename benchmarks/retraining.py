"""The truth table: every score and the group influences against actual retraining without the points.

A tanh network (all parameters) and a softmax regression (the last layer), both at a minimum in float64.
Each point or group is removed and the model retrained from there to a gradient norm of 1e-10, the objective
and its derivatives being written plainly with torch.func. Figures are Spearman correlations with the truth:

- self: the score with the increase of the point's own loss when it is removed;
- test: its influence on test points with the change of their losses, per test point over the removed
  points, in the mean over test points.

For groups also the error of the predicted changes relative to the true ones (root mean square, median over
groups).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor, nn

from benchmarks.machine import describe
from swaypoint.errors import InputError
from swaypoint.scorers import scores
from swaypoint.scorers.groups import group_influence
from swaypoint.scoring.risks.model import Kind
from swaypoint.scoring.trained_model import Checkpoint, TrainedModel

N, N_TEST, POINTS, GROUPS, TOLERANCE = 400, 150, 60, 20, 1e-10


@dataclass(frozen=True)
class Problem:
    """A model at a minimum of mean cross-entropy + (ridge / 2) ||theta||^2, and its data."""

    name: str
    model: nn.Module
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    ridge: float
    params: str | None
    checkpoints: list[Checkpoint]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return ("hessian",) if self.params is None else ("hessian", "ggn")

    def losses(self, theta: Tensor, data: tuple[Tensor, Tensor]) -> Tensor:
        named = dict(self.model.named_parameters())
        parts = theta.split([p.numel() for p in named.values()])
        values = {name: part.view_as(p) for (name, p), part in zip(named.items(), parts, strict=True)}
        return F.cross_entropy(
            torch.func.functional_call(self.model, values, (data[0],)), data[1], reduction="none"
        )

    def minimise(self, theta: Tensor, left_out: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
        """The minimum reached from ``theta`` without some points, and the Hessian's eigenvalues there.

        Newton steps, with the Hessian kept while the gradient falls by three; |eigenvalues|, so that saddles
        repel; halved while the objective would rise.
        """
        weights = torch.ones(N, dtype=torch.float64)
        if left_out is not None:
            weights[torch.from_numpy(left_out)] = 0.0

        def objective(theta: Tensor) -> Tensor:
            mean = (weights * self.losses(theta, self.train)).sum() / N
            return mean + 0.5 * self.ridge * theta.square().sum()

        slope, curvature = torch.func.grad(objective), torch.func.hessian(objective)
        previous, eigen = torch.inf, None
        for _ in range(500):
            gradient = slope(theta)
            norm = float(gradient.norm())
            if norm <= TOLERANCE:
                return theta, torch.linalg.eigvalsh(curvature(theta))
            if eigen is None or norm > previous / 3:
                eigen = torch.linalg.eigh(curvature(theta))
            values, vectors = eigen
            step = vectors @ ((vectors.T @ gradient) / values.abs().clamp_min(0.1 * self.ridge))
            value, length = float(objective(theta)), 1.0
            while length > 1e-8 and float(objective(theta - length * step)) > value + 1e-14:
                length *= 0.5
            theta, previous = theta - length * step, norm
        raise RuntimeError(f"{self.name}: the gradient is {norm:.1e} after 500 steps; use a larger ridge")

    def trained(self, curvature: Kind) -> TrainedModel:
        return TrainedModel(
            self.model,
            self.train,
            params=self.params,
            l2=self.ridge,
            curvature=curvature,
            checkpoints=self.checkpoints,
        )


def problem(
    name: str,
    data: tuple[np.ndarray, np.ndarray],
    layers: Callable[[int, int], nn.Module],
    ridge: float,
    params: str | None,
) -> tuple[Problem, Tensor]:
    """300 steps of gradient descent, ten checkpoints, and on to the minimum; its theta."""
    torch.manual_seed(0)
    rows = np.random.default_rng(0).permutation(len(data[1]))[: N + N_TEST]
    x, y = torch.from_numpy(data[0][rows]).double(), torch.from_numpy(data[1][rows]).long()
    x = (x - x[:N].mean(0)) / x[:N].std(0).clamp_min(1e-3)
    model = layers(x.shape[1], int(y.max()) + 1).double()
    rate, checkpoints = 0.2, []
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, weight_decay=ridge)
    for step in range(1, 301):
        optimizer.zero_grad()
        F.cross_entropy(model(x[:N]), y[:N]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 30 == 0:
            weights = {key: value.clone() for key, value in model.state_dict().items()}
            checkpoints.append(Checkpoint(weights, rate))
    made = Problem(name, model, (x[:N], y[:N]), (x[N:], y[N:]), ridge, params, checkpoints)
    theta, values = made.minimise(nn.utils.parameters_to_vector(model.parameters()).detach())
    nn.utils.vector_to_parameters(theta, model.parameters())
    if float(values[0]) < 0:
        raise RuntimeError(f"{name} is at a saddle: lowest eigenvalue {float(values[0]):.1e}")
    with torch.no_grad():
        accuracy = float((model(x[N:]).argmax(1) == y[N:]).double().mean())
    print(
        f"\n{name}: n = {N}, {N_TEST} test points, {len(theta)} parameters, ridge {ridge:g}, test accuracy"
        f" {accuracy:.1%}, eigenvalues of the Hessian {float(values[0]):.1e} to {float(values[-1]):.1e}"
    )
    return made, theta


def coherent_groups(subject: Problem, rng: np.random.Generator) -> list[np.ndarray]:
    """A random point and those of its class that are nearest to it: 10 to 30 % of the class."""
    x, y = subject.train
    groups = []
    for centre in rng.choice(N, GROUPS, replace=False):
        own = (y == y[centre]).nonzero()[:, 0]
        size = max(2, int(rng.uniform(0.1, 0.3) * len(own)))
        groups.append(own[(x[own] - x[centre]).norm(dim=1).argsort()[:size]].numpy())
    return groups


def truth(subject: Problem, theta: Tensor, removals: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Changes of the test losses ``(removals, n_test)`` and the mean change of the removed points' own."""
    start = time.perf_counter()
    on_test, on_self, lowest = [], [], torch.inf
    before, own = subject.losses(theta, subject.test), subject.losses(theta, subject.train)
    for removed in removals:
        refit, values = subject.minimise(theta, removed)
        lowest = min(lowest, float(values[0]))
        on_test.append(subject.losses(refit, subject.test) - before)
        on_self.append((subject.losses(refit, subject.train) - own)[torch.from_numpy(removed)].mean())
    print(
        f"  {len(removals)} retrainings without {min(map(len, removals))} to {max(map(len, removals))}"
        f" points: {time.perf_counter() - start:.0f} s, lowest eigenvalue at the end {lowest:.1e}",
        flush=True,
    )
    return torch.stack(on_test).numpy(), torch.stack(on_self).numpy()


def agreement(predicted: np.ndarray, true: np.ndarray) -> float:
    """Spearman over removals, in the mean over test points; both (removals, n_test)."""
    return float(np.mean([spearmanr(p, t).statistic for p, t in zip(predicted.T, true.T, strict=True)]))


def compare_scores(subject: Problem, theta: Tensor, rng: np.random.Generator) -> None:
    chosen = rng.choice(N, POINTS, replace=False)
    on_test, on_self = truth(subject, theta, [np.array([i]) for i in chosen])
    names = [f"{what}, {kind}" for kind in subject.kinds for what in ("self", "test")]
    print(f"  {'score':26}" + "".join(f"{name:>15}" for name in names))
    for name, score in scores.items():
        figures, notes = "", set()
        for kind in subject.kinds:
            trained = subject.trained(kind)
            for function, arguments in ((score.score, ()), (score.on, (subject.test,))):
                figure = "-"
                if function is not None:
                    try:
                        values = function(trained, *arguments)
                    except InputError as error:
                        notes.add(str(error))
                    else:
                        truths = on_self[:, None] if values.ndim == 1 else on_test
                        figure = f"{agreement(np.atleast_2d(values)[:, chosen].T, truths):.3f}"
                figures += f"{figure:>15}"
        print(f"  {name:26}{figures}   {'; '.join(notes)}".rstrip(), flush=True)


def compare_groups(subject: Problem, theta: Tensor, rng: np.random.Generator) -> None:
    groups = coherent_groups(subject, rng)
    on_test, _ = truth(subject, theta, groups)
    print(f"  {'groups':26}{'test':>8}{'error':>8}")
    for order, kind in [(order, kind) for kind in subject.kinds for order in (1, 2, "newton")]:
        if order == 2 and kind == "ggn":
            continue
        trained, predicted, failed = subject.trained(kind), [], 0
        for group in groups:
            try:
                predicted.append(group_influence(trained, group, subject.test, order=order))  # type: ignore[arg-type]
            except InputError:  # without the group the Hessian is indefinite: counted below
                predicted.append(np.full(N_TEST, np.nan))
                failed += 1
        values = np.stack(predicted)
        kept = np.isfinite(values[:, 0])
        errors = np.linalg.norm(values - on_test, axis=1) / np.linalg.norm(on_test, axis=1)
        name = f"{'order ' if order != 'newton' else ''}{order}, {kind}"
        note = f"   no answer for {failed} of {GROUPS} groups, figures over the others" if failed else ""
        print(f"  {name:26}{agreement(values[kept], on_test[kept]):8.3f}{np.median(errors[kept]):8.3f}{note}")


def perceptron(inputs: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, classes))


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The digits 0 to 4, 8 x 8 pixels in blocks of 2 x 2."""
    x, y = load_digits(return_X_y=True)
    blocks = x.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(len(x), 16)
    return blocks[y < 5], y[y < 5]


def main() -> None:
    start = time.perf_counter()
    print(describe())
    for name, data, layers, ridge, params in (
        ("tanh network 30-8-2, breast cancer", load_breast_cancer(return_X_y=True), perceptron, 0.01, "*"),
        ("softmax regression 16-5, digits", digits(), nn.Linear, 0.01, None),
    ):
        subject, theta = problem(name, data, layers, ridge, params)
        rng = np.random.default_rng(1)
        compare_scores(subject, theta, rng)
        compare_groups(subject, theta, rng)
    print(f"\n{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
