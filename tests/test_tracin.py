"""TracIn and VAE-TracIn against gradients by plain autograd, one point at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

import swaypoint
from swaypoint.scorers import scores
from swaypoint.scorers.vae_tracin import VariationalAutoencoder, train_vae, vae_tracin, vae_tracin_on
from swaypoint.scoring.trained_model import Checkpoint, TrainedModel


def example(loss):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x = torch.randn(25, 4).double()
    y = torch.randint(0, 3, (25,)) if loss == "cross_entropy" else torch.randn(25, 3).double()
    moments = [
        {name: value + 0.3 * k * torch.randn_like(value) for name, value in model.state_dict().items()}
        for k in (2, 1, 0)
    ]
    return model, x, y, tuple(zip((0.5, 0.2, 0.1), moments, strict=True))


def rows(model, weights, params, x, y, loss):
    """Gradients of one point at a time, ``(b, P)``."""
    copy = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    copy.load_state_dict(weights)
    chosen = [p for name, p in copy.named_parameters() if params == "*" or name.startswith("2.")]
    found = []
    for i in range(len(x)):
        z = copy(x[i : i + 1])
        value = (
            F.cross_entropy(z, y[i : i + 1]) if loss == "cross_entropy" else 0.5 * (z - y[i]).square().sum()
        )
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, chosen)]))
    return torch.stack(found)


@pytest.mark.parametrize("params", [None, "*"])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_sums_products_of_gradients_over_the_checkpoints(loss, params):
    model, x, y, moments = example(loss)
    checkpoints = [Checkpoint(weights, rate) for rate, weights in moments]
    trained_model = TrainedModel(
        model, (x, y), params=params, loss=loss, checkpoints=checkpoints, batch_size=10
    )
    test = (x[:6] + 0.2, y[:6])
    squares, products = torch.zeros(25).double(), torch.zeros(6, 25).double()
    for rate, weights in moments:
        g = rows(model, weights, params, x, y, loss)
        squares += rate * g.square().sum(1)
        products += rate * rows(model, weights, params, *test, loss) @ g.T
    np.testing.assert_allclose(scores["tracin"].score(trained_model), squares, rtol=1e-10)
    np.testing.assert_allclose(scores["tracin"].on(trained_model, test), products, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("params", [None, "*"])
def test_without_checkpoints_it_is_the_squared_gradient_norm(params):
    model, x, y, _ = example("cross_entropy")
    trained_model = TrainedModel(model, (x, y), params=params)
    norms = rows(model, model.state_dict(), params, x, y, "cross_entropy").norm(dim=1)
    np.testing.assert_allclose(scores["gradient_norm"].score(trained_model), norms, rtol=1e-10)
    np.testing.assert_allclose(scores["tracin"].score(trained_model), norms.square(), rtol=1e-10)


def test_the_last_layer_needs_no_curvature():
    """A wide head: its Hessian would be 29 GB."""
    torch.manual_seed(0)
    model, x, y = nn.Linear(300, 200), torch.randn(8, 300), torch.arange(8)
    assert scores["tracin"].score(TrainedModel(model, (x, y))).shape == (8,)


def test_the_model_is_left_as_it_was():
    model, x, y, moments = example("cross_entropy")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores["tracin"].score(TrainedModel(model, (x, y), params="*", checkpoints=[Checkpoint(moments[0][1])]))
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


# -- variational autoencoders -------------------------------------------------------------------

CASES = ("bernoulli", "gaussian")


def autoencoder(likelihood):
    """A model in float64, its inputs and two checkpoints."""
    model = VariationalAutoencoder(6, 5, 2, likelihood=likelihood, seed=3).double()
    x = torch.rand(17, 6, generator=torch.Generator().manual_seed(0)).double()
    return model, x, train_vae(model, x, epochs=4, keep=2, batch_size=5)


def negative_elbo(model, x, noise):
    """By torch.distributions, ``(b,)``."""
    mean, log_variance = model.encoder(x).chunk(2, 1)
    code = Normal(mean, (0.5 * log_variance).exp())
    divergence = kl_divergence(code, Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum(1)
    draws = []
    for epsilon in noise:
        decoded = model.decoder(mean + code.stddev * epsilon)
        if model.likelihood == "bernoulli":
            draws.append(Bernoulli(logits=decoded, validate_args=False).log_prob(x).sum(1))
        else:
            draws.append((Normal(decoded, 1.0).log_prob(x) + 0.5 * np.log(2 * np.pi)).sum(1))
    return divergence - torch.stack(draws).mean(0)


def elbo_rows(model, x, noise):
    found = []
    for point in x:
        grads = torch.autograd.grad(
            negative_elbo(model, point.unsqueeze(0), noise).sum(), list(model.parameters())
        )
        found.append(torch.cat([g.flatten() for g in grads]))
    return torch.stack(found)


def shared_noise(draws, seed=0):
    return torch.randn(draws, 2, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("likelihood", CASES)
def test_the_loss_is_the_negative_elbo(likelihood):
    model, x, _ = autoencoder(likelihood)
    noise = shared_noise(5)
    torch.testing.assert_close(model(x, noise), negative_elbo(model, x, noise))


@pytest.mark.parametrize("likelihood", CASES)
def test_vae_tracin_sums_products_of_gradients(likelihood):
    model, x, checkpoints = autoencoder(likelihood)
    test, noise = x[:4].flip(1), shared_noise(5)
    squares, products = torch.zeros(17).double(), torch.zeros(4, 17).double()
    moment = VariationalAutoencoder(6, 5, 2, likelihood=likelihood).double()
    for checkpoint in checkpoints:
        moment.load_state_dict(checkpoint.weights)
        g = elbo_rows(moment, x, noise)
        squares += checkpoint.rate * g.square().sum(1)
        products += checkpoint.rate * elbo_rows(moment, test, noise) @ g.T
    options = {"draws": 5, "batch_size": 4}
    np.testing.assert_allclose(vae_tracin(model, x, checkpoints, **options), squares, rtol=1e-9)
    np.testing.assert_allclose(vae_tracin_on(model, x, test, checkpoints, **options), products, rtol=1e-9)
    last = elbo_rows(model, x, noise).square().sum(1)
    np.testing.assert_allclose(vae_tracin(model, x, draws=5), last.numpy(), rtol=1e-9)


def test_a_gradient_equals_finite_differences():
    model, x, _ = autoencoder("bernoulli")
    noise = shared_noise(16)
    squares = 0.0
    for p in model.parameters():
        flat = p.data.view(-1)
        for j in range(len(flat)):
            ends = []
            for shift in (1e-5, -2e-5):  # to one side, then to the other
                flat[j] += shift
                ends.append(negative_elbo(model, x[:1], noise).item())
            flat[j] += 1e-5
            squares += ((ends[0] - ends[1]) / 2e-5) ** 2
    np.testing.assert_allclose(vae_tracin(model, x[:1]), [squares], rtol=1e-6)


def test_outliers_among_digits_have_the_largest_self_influence():
    digits = load_digits().data[:600] / 16
    noise = np.random.default_rng(0).uniform(size=(30, 64))
    x = np.concatenate([digits, noise]).astype(np.float32)
    model = VariationalAutoencoder(64)
    checkpoints = train_vae(model, x, epochs=20)
    scores = vae_tracin(model, x, checkpoints, draws=8)
    assert scores.shape == (630,)
    assert scores.dtype == np.float64
    assert roc_auc_score(np.arange(630) >= 600, scores) > 0.95


def test_training_is_reproducible_and_leaves_the_global_generator():
    state = torch.get_rng_state()
    first, second = autoencoder("gaussian")[2], autoencoder("gaussian")[2]
    torch.testing.assert_close(dict(first[-1].weights), dict(second[-1].weights), rtol=0, atol=0)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: VariationalAutoencoder(6, likelihood="poisson"), "'poisson'; expected 'bernoulli'"),
        (lambda m, x: vae_tracin(m, x[:, :5]), r"shape \(17, 5\); the model takes \(n, 6\)"),
        (lambda m, x: vae_tracin(m, x + 0.5), r"row 0 .*0\.\.1 .*'gaussian'"),
        (lambda m, x: vae_tracin(m, x, draws=0), "draws is 0; expected a positive"),
        (lambda m, x: vae_tracin(m, x, [Checkpoint({})]), "checkpoints of this model"),
        (lambda m, x: train_vae(m, x, epochs=2, keep=3), "1 <= keep <= epochs"),
    ],
)
def test_faults_are_named_with_the_remedy(call, message):
    model, x, _ = autoencoder("bernoulli")
    x[0, 0] = 0.9
    with pytest.raises(swaypoint.InputError, match=message) as caught:
        call(model, x)
    assert "\n" not in str(caught.value)
