"""Which models the study trains, and how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import numpy as np

from swaypoint.errors import InputError
from swaypoint.models.recipes import RECIPES, ElasticNet, Recipe
from swaypoint.studies.cifar10.images import Flips, Noise

Regulariser = Literal["none", "l1l2"]
Schedule = Literal["cycle", "step", "cosine", "slow"]
ARCHITECTURES = ("resnet20", "vgg19", "efficientnet_b0")
FOLDS = 5
SMALLEST, LARGEST = 8, 32
_SNAPSHOTS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)


@dataclass(frozen=True)
class Cell:
    """One training: what is trained on which labels, and from which seed.

    Attributes:
        noise: the wrong labels.
        schedule: ``"cycle"`` is stochastic gradient descent with a ridge, the others are Adam; ``"slow"``
            goes on at a constant rate without augmentation or decay until the model knows its training set
            by heart (the over-training of the paper).
        side: of the images in pixels, throughout; None: they grow to their own side during the training.
        fold: of :data:`FOLDS`, left out of the training; None: trains on all.
    """

    architecture: str
    noise: Noise
    seed: int
    epochs: int
    regulariser: Regulariser = "none"
    schedule: Schedule = "cycle"
    side: int | None = None
    fold: int | None = None

    @property
    def name(self) -> str:
        noise = f"{self.noise.kind}-{self.noise.share:g}-{self.noise.seed}"
        training = f"{self.regulariser}-{self.schedule}{self.epochs}-{self.seed}"
        side = "" if self.side is None else f"-{self.side}px"
        fold = "" if self.fold is None else f"-fold{self.fold}"
        return f"{self.architecture}-{noise}-{training}{side}{fold}"

    def recipe(self) -> Recipe:
        """How it is trained."""
        recipe = RECIPES[self.architecture]
        # Small images first: on a CPU they buy twice as many epochs for the same time.
        sides = ((16, 0.3), (24, 0.7)) if self.architecture == "resnet20" else ((16, 0.85),)
        recipe = replace(
            recipe,
            mirror=True,
            sides=sides if self.side is None else ((self.side, 1.0),),
            elastic=ElasticNet(1e-5, 1e-3) if self.regulariser == "l1l2" else None,
        )
        if self.schedule == "slow":
            recipe = replace(recipe, augment=False, mirror=False, decay=0.0)
            return replace(recipe, optimizer="adam", rate=1e-3, schedule="constant")
        if self.schedule != "cycle":
            return replace(recipe, optimizer="adam", rate=2e-3, decay=1e-4, schedule=self.schedule)
        return recipe

    def snapshots(self) -> tuple[int, ...]:
        """Epochs, counted from 1, after which an over-training is looked at on its way."""
        if self.schedule != "slow":
            return ()
        return tuple(sorted({max(1, round(share * self.epochs)) for share in _SNAPSHOTS} - {self.epochs}))


def cell_of(
    *,
    architecture: str,
    noise: tuple[float, int, str],
    seed: int,
    epochs: int,
    regulariser: str,
    schedule: str,
    side: int | None = None,
) -> Cell:
    """A cell from words, checked.

    Raises:
        InputError: there is no such architecture, kind of noise, regulariser or schedule; the choices are
            named.
    """
    share, noise_seed, kind = noise
    for name, value, known in (
        ("architecture", architecture, ARCHITECTURES),
        ("kind of flips", kind, get_args(Flips)),
        ("regulariser", regulariser, get_args(Regulariser)),
        ("schedule", schedule, get_args(Schedule)),
    ):
        if value not in known:
            raise InputError(f"no {name} {value!r}; expected {', '.join(known)}")
    if not 0.0 < share < 1.0:
        raise InputError(f"noise is {share}; expected a share, 0 < share < 1")
    if side is not None and not SMALLEST <= side <= LARGEST:
        raise InputError(f"side is {side}; expected {SMALLEST} to {LARGEST} pixels")
    return Cell(
        architecture,
        Noise(share, noise_seed, cast(Flips, kind)),
        seed,
        epochs,
        cast(Regulariser, regulariser),
        cast(Schedule, schedule),
        side,
    )


def fold_of(n: int) -> np.ndarray:
    """Which of :data:`FOLDS` each of n points is left out by, ``(n,)``."""
    return np.random.default_rng(5).permutation(n) % FOLDS
