"""Agreement with peers on all parameters of a perceptron, where definitions coincide.

Run it where pyDVL, captum, kronfluence and scipy are installed beside swaypoint; one that is missing is
left out. :mod:`benchmarks.peers` has time and quality, of more of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.machine import describe
from benchmarks.whole_model import workload
from swaypoint.scorers import scores
from swaypoint.scoring.risks.model import Kind
from swaypoint.scoring.trained_model import TrainedModel

Problem = tuple[nn.Module, Tensor, Tensor]


def swaypoint_(problem: Problem, damping: float, curvature: Kind, solver: str) -> np.ndarray:
    model, x, y = problem
    trained = TrainedModel(
        model, (x, y), params="*", damping=damping, curvature=curvature, solver=solver, batch_size=1000
    )
    score = scores["cooks_distance"].score
    assert score is not None
    return score(trained)


def pydvl_direct(problem: Problem, damping: float) -> np.ndarray:
    from pydvl.influence.torch import DirectInfluence

    return _pydvl(problem, DirectInfluence(problem[0], F.cross_entropy, regularization=damping))


def pydvl_ekfac(problem: Problem, damping: float) -> np.ndarray:
    from pydvl.influence.torch import EkfacInfluence

    ekfac = EkfacInfluence(problem[0], update_diagonal=True, hessian_regularization=damping)
    return _pydvl(problem, ekfac)


def _pydvl(problem: Problem, influence: object) -> np.ndarray:
    from pydvl.influence.torch.base import TorchBatch, TorchGradientProvider

    model, x, y = problem
    loader = DataLoader(TensorDataset(x, y), batch_size=1000)
    influence = influence.fit(loader)  # type: ignore[attr-defined]
    names = {name: p for name, p in model.named_parameters() if p.requires_grad}
    provider = TorchGradientProvider(model, F.cross_entropy, restrict_to=names)
    values = []
    for xs, ys in loader:
        factors = influence.influence_factors(xs, ys)
        values.append((factors * provider.flat_grads(TorchBatch(xs, ys))).sum(1))
    return torch.cat(values).detach().numpy()


def captum_naive(problem: Problem, damping: float) -> np.ndarray:
    from captum.influence._core.influence_function import NaiveInfluenceFunction

    model, x, y = problem
    influence = NaiveInfluenceFunction(
        model,
        DataLoader(TensorDataset(x, y), batch_size=len(x)),
        checkpoint="",
        checkpoints_load_func=lambda *_: 0,
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        projection_dim=sum(p.numel() for p in model.parameters()),
        hessian_inverse_tol=0.0,
        hessian_reg=damping * len(x),  # captum's Hessian is that of the sum
        batch_size=len(x),
        show_progress=False,
    )
    return influence.self_influence(DataLoader(TensorDataset(x, y), batch_size=1000)).numpy() * len(x)


def kronfluence_ekfac(problem: Problem, damping: float) -> np.ndarray:
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    class Classification(Task):
        def compute_train_loss(
            self, batch: tuple[Tensor, Tensor], model: nn.Module, sample: bool = False
        ) -> Tensor:
            logits = model(batch[0])
            labels = torch.multinomial(logits.detach().softmax(1), 1).flatten() if sample else batch[1]
            return F.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch: tuple[Tensor, Tensor], model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    import copy

    task, data = Classification(), TensorDataset(problem[1], problem[2])
    with tempfile.TemporaryDirectory() as folder:
        model = prepare_model(copy.deepcopy(problem[0]), task)
        analyzer = Analyzer("run", model, task, cpu=True, output_dir=folder, disable_tqdm=True)
        options = {"per_device_batch_size": 1000, "overwrite_output_dir": True}
        analyzer.fit_all_factors("factors", data, factor_args=FactorArguments(strategy="ekfac"), **options)
        analyzer.compute_self_scores(
            "scores",
            "factors",
            data,
            per_device_train_batch_size=1000,
            score_args=ScoreArguments(damping_factor=damping),
        )
        return analyzer.load_self_scores("scores")["all_modules"].numpy()


def compare(name: str, run: Callable[[], np.ndarray], ours: np.ndarray) -> None:
    try:
        values = run()
    except ImportError as error:
        print(f"{name:34} left out ({error})")
        return
    except Exception as error:  # a peer that fails is a result too
        print(f"{name:34} failed: {type(error).__name__}: {str(error).splitlines()[0][:100]}")
        return
    apart = np.median(np.abs(values / ours - 1))
    print(f"{name:34} Spearman {spearmanr(values, ours).statistic:.5f}   median difference {apart:.1e}")


def ekfac_of_one_gradient(problem: Problem, damping: float) -> np.ndarray:
    """EK-FAC as pyDVL defines it: from one gradient a point, of sum_c sqrt(p_c) log p_c.

    Its outer product has terms between classes that the Gauss-Newton matrix has not: that, and no error of
    either, is the difference between the two.
    """
    model, x, y = problem
    layers = [module for module in model if isinstance(module, nn.Linear)]
    inputs, outputs = [], []

    def record(_: nn.Module, received: tuple[Tensor, ...], output: Tensor) -> None:
        inputs.append(received[0].detach())
        outputs.append(output)

    handles = [layer.register_forward_hook(record) for layer in layers]
    logits = model(x)
    for handle in handles:
        handle.remove()
    logs = logits.log_softmax(1)
    pseudo = torch.autograd.grad((logs * logs.detach().exp().sqrt()).sum(), outputs, retain_graph=True)
    own = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), outputs)
    total = torch.zeros(len(x))
    for received, slope, gradient in zip(inputs, pseudo, own, strict=True):
        received = torch.cat([received, torch.ones(len(x), 1)], 1)
        left = torch.linalg.eigh(slope.T @ slope)[1]
        right = torch.linalg.eigh(received.T @ received)[1]
        rotated, own_rotated = slope @ left, gradient @ left
        values = torch.einsum("no,ni->oi", rotated**2, (received @ right) ** 2) / len(x)
        total += torch.einsum("no,ni,oi->n", own_rotated**2, (received @ right) ** 2, 1 / (values + damping))
    return total.numpy()


def agreement() -> None:
    print("agreement on 5-8-8-8-8-8-8-5, 1,000 points, damping 0.1")
    problem = workload(1000, steps=300, hidden=8)
    hessian = swaypoint_(problem, 0.1, "hessian", "exact")
    ekfac = swaypoint_(problem, 0.1, "ggn", "ekfac")
    compare("pyDVL, direct (Hessian)", lambda: pydvl_direct(problem, 0.1), hessian)
    compare("captum, naive (Hessian)", lambda: captum_naive(problem, 0.1), hessian)
    compare("pyDVL, EK-FAC", lambda: pydvl_ekfac(problem, 0.1), ekfac)
    compare(
        "  ours of pyDVL's gradient", lambda: pydvl_ekfac(problem, 0.1), ekfac_of_one_gradient(problem, 0.1)
    )
    compare("kronfluence, EK-FAC", lambda: kronfluence_ekfac(problem, 0.1), ekfac)


if __name__ == "__main__":
    print(describe())
    agreement()
