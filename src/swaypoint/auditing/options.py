"""What an audit may be asked for: how it is made, where it runs, how much it may hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import get_args

from swaypoint.data.folds.engines import IN_PROCESS
from swaypoint.data.hardware import AUTO, device_of
from swaypoint.errors import InputError
from swaypoint.folder.documents import machine_memory
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.models.pretrained.base import find, is_pretrained
from swaypoint.scorers.base import of_points
from swaypoint.scoring.options import Solving
from swaypoint.scoring.risks.losses import as_loss
from swaypoint.scoring.risks.model import Kind

_HELD_OUT = 0.2
BYTES_HELD = 40
"""Memory that the audit in memory takes for each number of the features: read, checked, kept."""


@dataclass(frozen=True)
class AuditOptions(Solving):
    """How an audit is made: what is solved for, see :class:`~swaypoint.scoring.options.Solving`, and of what.

    Attributes:
        model, objective: what is audited.
        scores: names in ``swaypoint.scores`` whose scores become columns beside Cook's distance; ``"auto"``,
            the recommended one for wrong labels, also ranks in its place.
        validation: share of the points that the model is not trained on; default: a fifth, or none where the
            data have splits beside ``train``.
        folds: K, to train K models, each without one of K folds of the points, instead of holding some out:
            every point is scored by the models that hold it and by the one that has not seen it, see
            :mod:`swaypoint.auditing.cross_fit`. None: one model.
        seed: of split, training and planted errors.
        flip: plant this share of wrong labels first, and count how many are found: a self-test.
        top: how many points get a picture, their neighbours and a place in the report.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``: a GPU where torch sees one, else the CPU; the manifest
            says which.
        keep_features: write the features to the folder, which a review's neighbours and suggestions need.
    """

    model: ModelOptions = field(default_factory=ModelOptions)
    objective: Objective = field(default_factory=Objective)
    params: tuple[str, ...] | None = None
    scores: tuple[str, ...] = ()
    validation: float | None = None
    folds: int | None = None
    seed: int = 0
    flip: float = 0.0
    top: int = 200
    device: str = AUTO
    keep_features: bool = True

    def held_out(self, *, splits: bool) -> float:
        """The share of the points to train on that is held out; ``splits``: there are others already."""
        if self.validation is not None:
            return self.validation
        return 0.0 if splits or self.folds is not None else _HELD_OUT

    def check(self) -> None:
        """Refuse what no audit can do, before anything is read.

        Raises:
            InputError: an option is out of its range, or two contradict each other.
        """
        for name in ("validation", "flip"):
            share = getattr(self, name)
            if share is not None and not 0.0 <= share < 1.0:
                raise InputError(f"{name} is {share}; expected a share, 0 <= share < 1")
        for name, count in (("models", self.model.models), ("top", self.top), ("epochs", self.model.epochs)):
            if count is not None and count < 1:
                raise InputError(f"{name} is {count}; expected a positive number")
        self._check_folds()
        for name, number in (("damping", self.damping), ("l2", self.objective.l2)):
            if number is not None and not 0.0 <= number < math.inf:
                raise InputError(f"{name} is {number}; expected a number of at least 0")
        if self.curvature not in get_args(Kind):
            raise InputError(f"curvature is {self.curvature!r}; expected one of {', '.join(get_args(Kind))}")
        as_loss(self.objective.loss)
        self._check_models()
        super().check()
        for name in self.scores:
            of_points(name)  # refuses what is none
        device_of(self.device)

    def _check_folds(self) -> None:
        if self.folds is None:
            return
        if self.folds < 2:
            raise InputError(f"folds is {self.folds}; expected 2 or more, or leave it out for one model")
        if self.validation:
            raise InputError(
                "folds leave each point out of one model's training, and nothing else is held out; leave"
                " validation out"
            )
        if self.model.models > 1 or len(self.model.each()) > 1:
            raise InputError(
                "folds train one model several times, and several models were asked for; leave folds out, or"
                " audit one model after the other"
            )

    def _check_models(self) -> None:
        each = self.model.each()
        if self.model.models > 1 and (":" in self.model.name or len(each) > 1 or self.params is not None):
            raise InputError(
                "models > 1 trains the default model from several seeds; leave model and params out"
            )
        if len(each) > 1 and self.params is not None:
            raise InputError("params are of one model; name one")
        for one in each:
            if is_pretrained(one.name):
                find(one.name, one.transform)  # refuses what is none, before anything is read


@dataclass(frozen=True)
class Scale:
    """Where an audit runs, and how much it may hold.

    Attributes:
        engine: ``in-process``, ``ray`` or ``ray://HOST:PORT``.
        max_memory: GiB; default: half of this machine's. It decides whether data are streamed, and, where it
            is given, by which method the last layer is solved, for which 1 GiB is the least.
        threads: of torch, numpy and scikit-learn in this process, while the audit runs; default: as many as
            they take anyway.
        minutes: about how long an audit in memory may take: as many records as that allows are audited, a
            sample of every class in proportion; default: all of them.
    """

    engine: str = IN_PROCESS
    max_memory: float | None = None
    threads: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.max_memory is not None and not self.max_memory >= 0.0:
            raise InputError(f"max_memory is {self.max_memory}; expected a number of GiB, 0 or more")
        if self.minutes is not None and not 0.0 < self.minutes < math.inf:
            raise InputError(f"minutes is {self.minutes}; expected a positive number")

    @property
    def bytes(self) -> float:
        if self.max_memory is not None:
            return self.max_memory * 2**30
        return 0.5 * machine_memory()

    @property
    def room(self) -> float | None:
        """Bytes that a step beside the data may take; None: what is free."""
        return None if self.max_memory is None else max(self.max_memory, 1.0) * 2**30
