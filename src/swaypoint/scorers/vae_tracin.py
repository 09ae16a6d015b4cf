"""VAE-TracIn: which training points a variational autoencoder has learned most from (Kong & Chaudhuri,
NeurIPS 2021). There are no labels, so these are plain functions, not entries of ``swaypoint.scores``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swaypoint.data.batches import as_tensor
from swaypoint.errors import InputError
from swaypoint.scoring.trained_model import Checkpoint, with_weights

Likelihood = Literal["bernoulli", "gaussian"]


class VariationalAutoencoder(nn.Module):
    """A small variational autoencoder (Kingma & Welling, ICLR 2014): one hidden tanh layer each way, a
    standard normal prior and a diagonal normal encoder.

    Args:
        width: D, of the inputs.
        hidden, latent: of the hidden layers and of the code.
        likelihood: ``"bernoulli"`` for inputs in 0..1, or ``"gaussian"`` of unit variance.
        seed: of the initial weights.

    Raises:
        InputError: the likelihood is unknown.
    """

    def __init__(
        self,
        width: int,
        hidden: int = 64,
        latent: int = 8,
        *,
        likelihood: Likelihood = "bernoulli",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if likelihood not in get_args(Likelihood):
            raise InputError(f"likelihood is {likelihood!r}; expected 'bernoulli' or 'gaussian'")
        self.width, self.latent, self.likelihood = width, latent, likelihood
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latent))
            self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, width))

    def forward(self, inputs: Tensor, noise: Tensor) -> Tensor:
        """-ELBO of each point, E_q[-log p(x | z)] + KL(q(z | x) || N(0, I)), without constants.

        Args:
            inputs: ``(b, D)``.
            noise: standard normal, ``(m, latent)`` for all points alike or ``(b, m, latent)``; the
                expectation is the mean over the m draws z = mean + deviation * noise.

        Returns:
            ``(b,)``.
        """
        mean, log_variance = self.encoder(inputs).chunk(2, dim=-1)
        codes = mean.unsqueeze(1) + (0.5 * log_variance).exp().unsqueeze(1) * noise
        decoded, wanted = self.decoder(codes), inputs.unsqueeze(1)
        if self.likelihood == "bernoulli":
            surprise = F.softplus(decoded) - wanted * decoded
        else:
            surprise = 0.5 * (decoded - wanted).square()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1)
        return surprise.sum(2).mean(1) + divergence


def train_vae(
    model: VariationalAutoencoder,
    inputs: Any,
    *,
    epochs: int = 20,
    keep: int = 4,
    rate: float = 3e-3,
    batch_size: int = 64,
    seed: int = 0,
) -> tuple[Checkpoint, ...]:
    """Train ``model`` in place by Adam on the mean -ELBO, one draw a point and step.

    Args:
        inputs: ``(n, D)``, in 0..1 for the Bernoulli likelihood.
        keep: checkpoints, evenly spaced over the epochs; the last is the trained model.
        seed: of the order and of the noise.

    Returns:
        The checkpoints, oldest first, with the learning rate as theirs.

    Raises:
        InputError: the inputs do not fit the model, or ``keep`` is not in 1..epochs.
    """
    if not 1 <= keep <= epochs:
        raise InputError(f"keep is {keep} and epochs is {epochs}; expected 1 <= keep <= epochs")
    points, generator = _points(model, inputs), torch.Generator().manual_seed(seed)
    kept = {round(epochs * (k + 1) / keep) for k in range(keep)}
    optimizer, checkpoints = torch.optim.Adam(model.parameters(), lr=rate), []
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(points), generator=generator).split(batch_size):
            noise = torch.randn(len(rows), 1, model.latent, generator=generator).to(points)
            optimizer.zero_grad()
            model(points[rows.to(points.device)], noise).mean().backward()
            optimizer.step()
        if epoch in kept:
            weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            checkpoints.append(Checkpoint(weights, rate))
    optimizer.zero_grad()
    return tuple(checkpoints)


def vae_tracin(
    model: VariationalAutoencoder,
    inputs: Any,
    checkpoints: Sequence[Checkpoint] = (),
    *,
    draws: int = 16,
    seed: int = 0,
    batch_size: int = 64,
) -> np.ndarray:
    """sum_t rate_t ||g_t(x)||^2 with g the gradient of -ELBO by all parameters; large: look at it first.

    Kong & Chaudhuri, 2021, Section 3: TracIn with the -ELBO as loss, its expectation a mean over
    ``draws`` of the encoder's noise. All points and checkpoints share one sample, so that points differ
    by what they are and not by their draws.

    Args:
        model: left as it is.
        inputs: ``(n, D)``.
        checkpoints: of its training; without any, the model as it is, at rate 1.
        batch_size: gradients held at a time.

    Returns:
        ``(n,)`` float64.

    Raises:
        InputError: the inputs or a checkpoint do not fit the model, or ``draws`` is not positive.
    """
    points, noise = _points(model, inputs), _noise(model, draws, seed)
    total = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    for rate, moment in _moments(model, checkpoints):
        squares = [rows.double().square().sum(1) for rows in _gradients(moment, points, noise, batch_size)]
        total += rate * torch.cat(squares)
    return total.cpu().numpy()


def vae_tracin_on(
    model: VariationalAutoencoder,
    inputs: Any,
    test: Any,
    checkpoints: Sequence[Checkpoint] = (),
    *,
    draws: int = 16,
    seed: int = 0,
    batch_size: int = 64,
) -> np.ndarray:
    """sum_t rate_t g_t(x')^T g_t(x); positive: training on x has lowered the -ELBO of x' (a proponent).

    Args:
        test: x', ``(n_test, D)``; their gradients are held all at once.

    The others, and what is raised, as for :func:`vae_tracin`.

    Returns:
        ``(n_test, n)`` float64.
    """
    points, queries, noise = _points(model, inputs), _points(model, test), _noise(model, draws, seed)
    total = torch.zeros(len(queries), len(points), dtype=torch.float64, device=points.device)
    for rate, moment in _moments(model, checkpoints):
        held = torch.cat(list(_gradients(moment, queries, noise, batch_size)))
        products = [(held @ rows.T).double() for rows in _gradients(moment, points, noise, batch_size)]
        total += rate * torch.cat(products, 1)
    return total.cpu().numpy()


def _gradients(
    model: VariationalAutoencoder, points: Tensor, noise: Tensor, batch_size: int
) -> Iterator[Tensor]:
    """Gradients of the points' -ELBO by all parameters in their order, ``(b, P)``."""
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def loss(weights: dict[str, Tensor], point: Tensor) -> Tensor:
        value: Tensor = torch.func.functional_call(model, weights, (point.unsqueeze(0), noise))
        return value.squeeze(0)

    rows = torch.func.vmap(torch.func.grad(loss), (None, 0))
    for batch in points.split(batch_size):
        yield torch.cat([part.flatten(1) for part in rows(weights, batch).values()], 1)


def _moments(
    model: VariationalAutoencoder, checkpoints: Sequence[Checkpoint]
) -> Iterator[tuple[float, VariationalAutoencoder]]:
    if not checkpoints:
        yield 1.0, model
    for checkpoint in checkpoints:
        yield checkpoint.rate, with_weights(model, checkpoint.weights)


def _noise(model: VariationalAutoencoder, draws: int, seed: int) -> Tensor:
    if draws < 1:
        raise InputError(f"draws is {draws}; expected a positive number")
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(draws, model.latent, generator=generator).to(next(model.parameters()))


def _points(model: VariationalAutoencoder, inputs: Any) -> Tensor:
    """Checked inputs where the model is, in its dtype."""
    points = as_tensor(inputs, "inputs").to(next(model.parameters()))
    if points.ndim != 2 or points.shape[1] != model.width or len(points) == 0:
        raise InputError(
            f"inputs have shape {tuple(points.shape)}; the model takes (n, {model.width}), at least one row"
        )
    outside = ~points.isfinite() if model.likelihood == "gaussian" else ~((points >= 0) & (points <= 1))
    if bool(outside.any()):
        row = int(outside.any(1).nonzero()[0])
        wanted = (
            "finite" if model.likelihood == "gaussian" else "in 0..1 (rescale, or use likelihood='gaussian')"
        )
        raise InputError(f"inputs of row {row} are out of range; expected values {wanted}")
    return points
