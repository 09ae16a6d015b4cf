"""What an audit may be asked for: how it is made, where it runs, how much it may hold."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import get_args

import torch

from swaypoint.data.folds.engines import IN_PROCESS
from swaypoint.errors import InputError
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.scorers.base import of_points
from swaypoint.scoring.rank import Options, Refitting, head_solver
from swaypoint.scoring.risks.losses import as_loss
from swaypoint.scoring.risks.model import Kind
from swaypoint.scoring.scores import Removal
from swaypoint.scoring.solver_choice import Solver

BYTES_HELD = 40
"""Memory that the audit in memory takes for each number of the features: read, checked, kept."""


@dataclass(frozen=True)
class AuditOptions:
    """How an audit is made.

    Attributes:
        model, objective: what is audited.
        damping, removal, refit, params, curvature, solver: see :func:`swaypoint.cooks_distance`.
        scores: names in ``swaypoint.scores`` whose scores become columns beside Cook's distance; ``"auto"``,
            the recommended one for wrong labels, also ranks in its place.
        validation: share of the points that is held out of training and ranking.
        seed: of split, training and planted errors.
        flip: plant this share of wrong labels first, and count how many are found: a self-test.
        top: how many points get a picture, their neighbours and a place in the report.
        device: ``"cpu"`` or ``"cuda"``.
        keep_features: write the features to the folder, which a review's neighbours and suggestions need.
    """

    model: ModelOptions = field(default_factory=ModelOptions)
    objective: Objective = field(default_factory=Objective)
    damping: float = 0.0
    removal: Removal = "infinitesimal"
    refit: Refitting = False
    params: tuple[str, ...] | None = None
    curvature: Kind = "ggn"
    solver: Solver = "auto"
    scores: tuple[str, ...] = ()
    validation: float = 0.2
    seed: int = 0
    flip: float = 0.0
    top: int = 200
    device: str = "cpu"
    keep_features: bool = True

    def check(self) -> None:
        """Refuse what no audit can do, before anything is read.

        Raises:
            InputError: an option is out of its range, or two contradict each other.
        """
        for name in ("validation", "flip"):
            if not 0.0 <= (share := getattr(self, name)) < 1.0:
                raise InputError(f"{name} is {share}; expected a share, 0 <= share < 1")
        for name, count in (("models", self.model.models), ("top", self.top), ("epochs", self.model.epochs)):
            if count is not None and count < 1:
                raise InputError(f"{name} is {count}; expected a positive number")
        for name, number in (("damping", self.damping), ("l2", self.objective.l2)):
            if number is not None and not 0.0 <= number < math.inf:
                raise InputError(f"{name} is {number}; expected a number of at least 0")
        for name, kind in (("removal", Removal), ("curvature", Kind), ("solver", Solver)):
            if (value := getattr(self, name)) not in get_args(kind):
                raise InputError(f"{name} is {value!r}; expected one of {', '.join(get_args(kind))}")
        if self.params is None:
            head_solver(self.solver)
        as_loss(self.objective.loss)
        if self.model.models > 1 and (":" in self.model.name or self.params is not None):
            raise InputError(
                "models > 1 trains the default model from several seeds; leave model and params out"
            )
        if self.params is not None and (self.removal != "infinitesimal" or self.refit):
            raise InputError("removal='finite' and refit are for the last layer; leave params out")
        for name in self.scores:
            of_points(name)  # refuses what is none
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError("device is cuda, but this torch sees no GPU; leave --device out for the CPU")

    def of_the_head(self, *, fit: bool) -> Options:
        """How the last layer is solved; ``fit``: it has yet to be fitted."""
        return Options(
            damping=self.damping,
            removal=self.removal,
            refit=self.refit or fit,
            device=torch.device(self.device),
            solver=head_solver(self.solver) if self.params is None else "auto",
        )


@dataclass(frozen=True)
class Scale:
    """Where an audit runs, and how much it may hold.

    Attributes:
        engine: ``in-process``, ``ray`` or ``ray://HOST:PORT``.
        max_memory: GiB; default: half of this machine's. It decides whether data are streamed.
    """

    engine: str = IN_PROCESS
    max_memory: float | None = None

    @property
    def bytes(self) -> float:
        if self.max_memory is not None:
            return self.max_memory * 2**30
        return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
