"""What the three ways of solving a head's Hessian have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk
from swaypoint.scoring.scores import Facts, Removal, Scores


class HeadSolution(ABC):
    """A head, its data, and an inverse of the Hessian of their mean loss: the closed form
    (:class:`~swaypoint.scoring.closed_form.Influence`), panels
    (:class:`~swaypoint.scoring.panels.TiledInfluence`) or a sketch
    (:class:`~swaypoint.scoring.sketched.SketchedInfluence`).

    Attributes:
        head: as it was solved.
        risk: its mean loss.
        points: n.
    """

    head: HeadWeights
    risk: LinearHeadRisk
    points: int

    @abstractmethod
    def scores(
        self,
        *,
        removal: Removal = "infinitesimal",
        probabilities: bool = False,
        on_chunk: Callable[[int], None] | None = None,
    ) -> Scores:
        """Cook's distance of every point, and the by-products of leave-one-out.

        Args:
            removal, probabilities: see :class:`~swaypoint.scoring.scores.Scores`.
            on_chunk: called with the number of points done after each chunk.

        Raises:
            InputError: this solution has no such removal, or the data changed between two passes.
        """

    @abstractmethod
    def unseen(self, data: FeatureBatches) -> Self:
        """The same solution for points that it was not fitted to: their :meth:`scores` are those of points
        to be added.

        ``cook`` is g^T H^-1 g at the fitted head; with ``removal="finite"`` that of one Newton step with the
        point, r~^T A r~ with r~ = (I + Lambda A)^-1 r (for linear regression n e^2 h / (1 + h)^2, exactly).
        The prediction is out of sample as it stands: ``loo_loss`` is the loss, ``margin`` and
        ``suggested_label`` the head's own. ``leverage`` is what the point would have among the others,
        h / (1 + h) with h = phi^T (Phi^T Phi)^+ phi.
        """

    @abstractmethod
    def facts(self) -> Facts:
        """How the solve went, and where the head stands."""

    @abstractmethod
    def factor(self) -> dict[str, Tensor] | None:
        """``inverse`` (G, k, k), K = H^-1 in reduced coordinates, and the maps into these, see
        :meth:`~swaypoint.scoring.risks.head.LinearHeadRisk.coordinates`; None where K is not at hand."""
