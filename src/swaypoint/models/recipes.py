"""How the default models are built and trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from swaypoint.models import airbench
from swaypoint.models.mirrored import mirrors_alike
from swaypoint.models.networks import MLP, VGG19, EfficientNetB0, ResNet20, Standardize


@dataclass(frozen=True)
class ElasticNet:
    """l1 ||W||_1 + l2/2 ||W||^2 on the weights of the layers whose names start with one of ``layers``,
    added to the loss (Zou & Hastie, 2005); biases are left out."""

    l1: float
    l2: float
    layers: tuple[str, ...] = ("head",)

    def penalty(self, model: nn.Module) -> Tensor:
        """Of ``model`` as it is, a scalar."""
        total = torch.zeros(())
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and name.startswith(self.layers):
                total = total.to(weight.device) + self.l1 * weight.abs().sum()
                total = total + 0.5 * self.l2 * weight.square().sum()
        return total


@dataclass(frozen=True)
class Tuning:
    """What a recipe takes from the data and the network that it is for.

    Attributes:
        start: sets what a fresh model takes from the training part's inputs.
        adapt: the recipe for such inputs and targets (the training part's).
        groups: the model's parameters for an optimiser (model, rate, decay), with rates and decays of their
            own; the head's first, of which ``decay`` is the ridge.
        shift: the part of the side that images are shifted by at most.
    """

    start: Callable[[nn.Module, Tensor], None]
    adapt: Callable[[Recipe, Tensor, Tensor], Recipe]
    groups: Callable[[nn.Module, float, float], list[dict[str, Any]]]
    shift: int


@dataclass(frozen=True)
class Recipe:
    """How a default model is built and trained.

    Attributes:
        optimizer: ``"adamw"`` decouples the decay, which is then no ridge of the objective; ``"muon"`` is
            :class:`~swaypoint.models.muon.Muon`.
        rate: the peak.
        decay: the ridge of the objective on every weight but not on biases and norms; where there is a
            ``tuning``, on the head's.
        augment: shift images by up to an eighth of their side.
        mirror: also mirror half of them.
        schedule: ``"cycle"`` (up, then down to nothing; Smith & Topin, 2018), ``"cosine"`` (down to
            nothing), ``"step"`` (a tenth after half and after three quarters of the steps),
            ``"triangle"`` (from a fifth up in the first 0.23 of the steps, then straight down to nothing),
            or ``"constant"``.
        sides: smaller sides in pixels that images are brought to before the last epochs see them whole:
            (side, share of the epochs that it ends at), ascending; a quarter of the pixels costs a
            quarter of the time.
        elastic: a further penalty.
        most_steps: of an epoch, see :meth:`for_points`; None: as many as it takes.
        mixed: multiply in bfloat16, where that is faster.
        tuning: to the data.
    """

    name: str
    build: Callable[[Standardize, int], nn.Module]
    epochs: int
    batch_size: int
    optimizer: Literal["sgd", "adam", "adamw", "muon"]
    rate: float
    decay: float
    augment: bool
    mirror: bool = False
    schedule: Literal["cycle", "cosine", "step", "triangle", "constant"] = "cycle"
    sides: tuple[tuple[int, float], ...] = ()
    elastic: ElasticNet | None = None
    most_steps: int | None = None
    mixed: bool = False
    tuning: Tuning | None = None

    def for_points(self, points: int) -> Recipe:
        """What trains on so many points: where an epoch would take more than ``most_steps``, batches are
        larger, and the rate grows by the square root of what they grow by, as Adam's should (Malladi et al.,
        2022); docs/tables.md has what that does to the accuracy.

        >>> PERCEPTRON.for_points(8192) == PERCEPTRON, PERCEPTRON.for_points(80_000).batch_size
        (True, 640)
        """
        steps = -(-points // self.batch_size)
        if self.most_steps is None or steps <= self.most_steps:
            return self
        times = -(-steps // self.most_steps)
        return replace(self, batch_size=times * self.batch_size, rate=math.sqrt(times) * self.rate)

    def adapted(self, inputs: Tensor, targets: Tensor) -> Recipe:
        """The recipe for a training part of these inputs and targets."""
        coarse = inputs.ndim == 4 and min(inputs.shape[1:3]) < _COARSE
        recipe = replace(self, mixed=False) if coarse else self
        if recipe.tuning is not None:
            return recipe.tuning.adapt(recipe, inputs, targets)
        return recipe.for_points(len(targets))

    def side(self, epoch: int, epochs: int) -> int | None:
        """Of the images in ``epoch`` (from 0); None: as they are."""
        return next((side for side, end in self.sides if epoch < round(end * epochs)), None)


_POINTS, _MOST_EPOCHS, _FEWEST_STEPS = 40_000, 20, 200
_BATCHES, _SMALL_BATCH, _FEW_BATCHES, _LEAST = 80, 64, 8, 8


def adapted(recipe: Recipe, inputs: Tensor, targets: Tensor) -> Recipe:
    """``recipe``, made for 40,000 images, for other images (n, H, W, 3).

    Fewer are seen more often, by the root of their number (up to 20 times, and at least so often that there
    are 200 steps), in smaller batches (80 an epoch, of 64 images or more; of less than 512 eight an epoch,
    of 8 or more) at a rate that falls with the root of their size; more are seen less often, but four
    times. The first 0.35 of the epochs see half of the side, those up to 0.8 see 3/4. Half of the images
    are mirrored where :func:`~swaypoint.models.mirrored.mirrors_alike`.
    """
    points, side = len(inputs), min(int(inputs.shape[1]), airbench.LARGEST)
    small = max(_LEAST, min(_SMALL_BATCH, points // _FEW_BATCHES))
    batch = max(small, min(recipe.batch_size, points // _BATCHES))
    while points > 1 and points % batch == 1:  # a batch norm learns nothing of one image
        batch += 1
    epochs = round(recipe.epochs * (_POINTS / points) ** 0.5)
    epochs = max(4, min(epochs, _MOST_EPOCHS), math.ceil(_FEWEST_STEPS / math.ceil(points / batch)))
    return replace(
        recipe,
        epochs=epochs,
        batch_size=batch,
        rate=recipe.rate * (batch / recipe.batch_size) ** 0.5,
        sides=((side // 2, 0.35), (3 * side // 4, 0.8)) if side >= _GROWN else (),
        mirror=mirrors_alike(inputs, targets),
    )


_COARSE = 16
"""Pixels at the side from which on bfloat16 does no harm: of digits of 8 x 8 two in 36 wrong labels are
missed by its rounding."""
_GROWN = 24
"""Pixels at the side that images must have to begin smaller."""
AIRBENCH = Recipe(
    "airbench",
    airbench.Airbench,
    14,
    250,
    "sgd",
    0.3,
    0.1,
    augment=True,
    schedule="triangle",
    mixed=True,
    tuning=Tuning(airbench.start, adapted, airbench.groups, shift=16),
)
RESNET20 = Recipe("ResNet-20", ResNet20, 15, 128, "sgd", 0.1, 5e-4, augment=True, mixed=True)
VGG_19 = Recipe("VGG-19", VGG19, 15, 128, "sgd", 0.05, 5e-4, augment=True, mixed=True)
EFFICIENTNET_B0 = replace(VGG_19, name="EfficientNet-B0", build=EfficientNetB0)
PERCEPTRON = Recipe("MLP", MLP, 60, 64, "adam", 3e-3, 1e-3, augment=False, most_steps=128)
RECIPES = {
    "airbench": AIRBENCH,
    "resnet20": RESNET20,
    "vgg19": VGG_19,
    "efficientnet_b0": EFFICIENTNET_B0,
    "mlp": PERCEPTRON,
}


def build(recipe: Recipe, inputs: Tensor, outputs: int, *, seed: int) -> nn.Module:
    """A fresh model of ``recipe``; its standardisation is taken from ``inputs`` (the training part):
    (n, D) float, or (n, H, W, 3) uint8."""
    if inputs.ndim == 4:
        sample = inputs[:: max(1, len(inputs) // 5000)].float() / 255
        mean, std = sample.mean((0, 1, 2)).view(3, 1, 1), sample.std((0, 1, 2)).view(3, 1, 1)
    else:
        mean, std = inputs.double().mean(0).float(), inputs.double().std(0, correction=0).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = recipe.build(Standardize(mean, std), outputs)
    if recipe.tuning is not None:
        recipe.tuning.start(model, inputs)
    return model
