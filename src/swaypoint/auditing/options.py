"""What an audit may be asked for: how it is made, where it runs, how much it may hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from swaypoint.data.folds.engines import IN_PROCESS
from swaypoint.folder.documents import machine_memory
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.scoring.options import Solving


@dataclass(frozen=True)
class AuditOptions(Solving):
    """How an audit is made: what is solved for, see :class:`~swaypoint.scoring.options.Solving`, and of what.

    Attributes:
        model, objective: what is audited.
        scores: names in ``swaypoint.methods`` whose scores become columns beside Cook's distance; ``"auto"``,
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
    params: tuple[str, ...] | None = None
    scores: tuple[str, ...] = ()
    validation: float = 0.2
    seed: int = 0
    flip: float = 0.0
    top: int = 200
    device: str = "cpu"
    keep_features: bool = True


BYTES_HELD = 40
"""Memory that the audit in memory takes for each number of the features: read, checked, kept."""


@dataclass(frozen=True)
class Scale:
    """Where an audit runs, and how much it may hold.

    Attributes:
        engine: ``in-process``, ``ray`` or ``ray://HOST:PORT``.
        max_memory: GiB; default: half of this machine's. It decides whether data are streamed; streamed and
            held data are split into training and held-out points in different ways.
    """

    engine: str = IN_PROCESS
    max_memory: float | None = None

    @property
    def bytes(self) -> float:
        if self.max_memory is not None:
            return self.max_memory * 2**30
        return 0.5 * machine_memory()
