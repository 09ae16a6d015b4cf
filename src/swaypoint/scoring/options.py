"""What may be asked of a solve, wherever it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch

from swaypoint.errors import InputError
from swaypoint.scoring.risks.model import Kind
from swaypoint.scoring.scores import Removal, check_removal
from swaypoint.scoring.solver_choice import solvers

HEAD_SOLVERS = ("auto", "exact", "sketch")
Refitting = bool | Literal["ridge"]


@dataclass(frozen=True)
class Solving:
    """How influence is solved for.

    Attributes:
        damping: added to the diagonal of the Hessian, beside the ridge.
        removal: ``"infinitesimal"`` (the paper) or ``"finite"`` (one Newton step without the point;
            for linear regression the statisticians' numerator, exactly).
        refit: True first brings the head to the optimum of its (convex) objective on these features;
            ``"ridge"`` also chooses the ridge, see :func:`swaypoint.scoring.refit.refit_ridge`.
        params: None takes the last layer, in closed form. A name or patterns of the model's
            parameters (``"*"``, ``("layer4.*", "fc.*")``) take those, by automatic differentiation, where
            the model is and in its precision; the ridge and ``damping`` then cover all of them, and the
            by-products (``loo_loss``, ``margin``, ``leverage``, ``suggested_label``) stay the last layer's.
        curvature: with ``params``: ``"ggn"``, the generalised Gauss-Newton matrix, positive
            semi-definite also where the training has not converged; ``"hessian"``, the paper's, which
            needs a model at a minimum; or ``"empirical_fisher"``.
        solver: of the last layer: ``"exact"``, the closed form (beyond 12,000 interacting parameters in
            panels, see :mod:`swaypoint.scoring.panels`: minutes to hours); ``"sketch"``, an estimate with
            standard errors (see :mod:`swaypoint.scoring.sketched`); ``"auto"``: the first up to 12,000, then
            the second. With ``params``: a name in :data:`swaypoint.scoring.solver_choice.solvers`.
        device: of the last layer's linear algebra; None: where the head is.
    """

    damping: float = 0.0
    removal: Removal = "infinitesimal"
    refit: Refitting = False
    params: str | Sequence[str] | None = None
    curvature: Kind = "ggn"
    solver: str = "auto"
    device: torch.device | str | None = None

    def check(self) -> None:
        """Refuse what cannot be asked, before anything is computed; what hangs on the model and its ridge
        is refused where these are known.

        Raises:
            InputError: an option is none of those there are, or two do not go together.
        """
        check_removal(self.removal)
        if self.params is not None:
            if self.removal != "infinitesimal" or self.refit:
                raise InputError("removal='finite' and refit are for the last layer; leave params out")
            solvers.named(self.solver)
        elif self.solver not in HEAD_SOLVERS:
            known = ", ".join(map(repr, HEAD_SOLVERS))
            raise InputError(
                f"solver is {self.solver!r}; the last layer takes {known}; others go with params"
            )

    def of_the_head(self, *, fit: bool = False) -> Self:
        """The same for the last layer alone, which is solved beside any ``params`` too; ``fit``: it has yet
        to be fitted."""
        solver = self.solver if self.params is None else "auto"
        return replace(self, params=None, solver=solver, refit=self.refit or fit)
