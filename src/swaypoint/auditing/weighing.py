"""What the findings of an audit in memory cost, while its features and its last layer are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.scored import Scored
from swaypoint.errors import InputError, shortened
from swaypoint.findings import Finding
from swaypoint.findings.cost import affordable, costs
from swaypoint.findings.kept import Weighing
from swaypoint.folder.manifest import TRAIN
from swaypoint.models.predictor import Predictor

_MOST = 12  # of findings: the most severe


def weighing(predictor: Predictor, scored: Scored, options: AuditOptions) -> Weighing | None:
    """Adds to a finding ``training_records``, how many of its records were trained on,
    ``held_out_loss_change``, by influence, and ``held_out_loss_change_refit``; see
    :class:`~swaypoint.findings.cost.Cost`. None where nothing is held out of one model's training by its last
    layer, and of streamed data.
    """
    held_out = predictor.validation
    if scored.streamed is not None or scored.folds is not None or options.params is not None:
        return None
    if held_out is None:
        return None
    trained = scored.columns["split"] == TRAIN
    place = np.cumsum(trained) - 1

    def weigh(findings: Sequence[Finding]) -> tuple[list[Mapping[str, float]], list[str]]:
        further: list[dict[str, float]] = [{} for _ in findings]
        members = [place[np.unique(one.index[trained[one.index]])] for one in findings]
        asked = [i for i, group in enumerate(members) if 0 < len(group) < trained.sum()]
        if not asked:
            return list(further), []
        count, points, head = len(asked), int(trained.sum()), scored.head
        what = f"what {count} {'findings cost' if count > 1 else 'finding costs'}"
        if not affordable(head, points):
            size = f"{points:,} points and {head.outputs * head.width:,} weights"
            return list(further), [f"{what}: fits of {size} take more than a few seconds, or much memory"]
        chosen = asked[:_MOST]
        try:
            found = costs(head, predictor.train, held_out, [members[i] for i in chosen])
            for i, one in zip(chosen, found, strict=True):
                further[i] = {
                    "training_records": float(len(members[i])),
                    "held_out_loss_change": one.influence,
                    "held_out_loss_change_refit": one.refit,
                }
        except (InputError, RuntimeError) as error:  # torch says so where memory is short: the audit stands
            return list(further), [f"{what}: {shortened(str(error))}"]
        left = len(asked) - len(chosen)
        return list(further), [
            f"what {left} further findings cost: too many for a few seconds"
        ] if left else []

    return weigh
