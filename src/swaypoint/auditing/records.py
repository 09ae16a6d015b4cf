"""The data of an audit, in memory or streamed: what the one way through an audit asks of either."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.run import AuditRun
from swaypoint.auditing.scored import Scored
from swaypoint.data.dataset import Dataset
from swaypoint.folder.manifest import AuditedData
from swaypoint.models.predictor import Predictor


@dataclass(frozen=True, eq=False)
class Shown:
    """The points that an audit holds one by one, all of them or the top of the ranking, in dataset order.

    Attributes:
        dataset, rows: the records, and which of them these are, (m,).
        features, labels: (m', D) float32 and (m',) of these points first, then of others beside them, among
            which neighbours are sought.
        reference: neighbours are sought among at most so many.
    """

    dataset: Dataset
    rows: np.ndarray
    features: torch.Tensor
    labels: np.ndarray
    reference: int


class Records(ABC):
    """Labelled records, split into those that are ranked and those held out.

    Attributes:
        about: for the manifest; of streamed records whole only while :meth:`at_work`.
        options: of the audit.
    """

    about: AuditedData
    options: AuditOptions

    def check(self) -> None:  # noqa: B027  where the options need not be seen against the data
        """Refuse options that do not fit these records, before anything is trained.

        Raises:
            InputError: they do not.
        """

    @contextmanager
    def at_work(self, run: AuditRun) -> Iterator[None]:
        """Where the passes over the data run; entered once ``run`` has begun."""
        yield

    @abstractmethod
    def predictor(self, run: AuditRun) -> Predictor:
        """The head and what it receives of either part: trained, loaded or fitted as the options say.

        Raises:
            InputError: the model and the data do not fit.
        """

    @abstractmethod
    def scored(self, run: AuditRun, predictor: Predictor) -> Scored:
        """The scores of every ranked point, and the checks of fitness.

        Raises:
            InputError: the points or the head cannot be scored.
        """

    @abstractmethod
    def shown(self, predictor: Predictor, scored: Scored) -> Shown:
        """What is held of single points."""

    @abstractmethod
    def planted(self, index: np.ndarray) -> np.ndarray:
        """Whether the labels at the positions ``index`` (b,) of the source were planted wrong, bool (b,)."""

    @property
    @abstractmethod
    def wrong(self) -> int:
        """How many labels were planted wrong, those held out included."""

    def tidy(self, run: AuditRun) -> None:  # noqa: B027  nothing to remove is fine
        """Remove what a finished audit does not need."""

    def inputs(self, predictor: Predictor) -> Any:
        """What the points of a table are made of, (m, D) float32, to be kept beside the features; None where
        these are the inputs, or there is no table."""
        return None
