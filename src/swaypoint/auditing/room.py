"""Whether an audit in memory has the room that it takes, told before anything is trained."""

from __future__ import annotations

import torch

from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset
from swaypoint.errors import InputError
from swaypoint.folder.documents import free_memory
from swaypoint.models.recipes import RECIPES, build
from swaypoint.scoring.rank import choose
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import as_loss

_CLASS_BYTES = 40
"""Of each class of each point: the probabilities of leave-one-out, of the training, and of both at work."""


def check_room(dataset: Dataset, model: str, options: AuditOptions, room: float | None) -> None:
    """Refuse more classes, or a wider last layer of a default model, than there is memory for.

    Args:
        model: its name, resolved.
        room: see :attr:`~swaypoint.auditing.options.Scale.room`.

    Raises:
        InputError: what is needed, what there is, and how to need less.
    """
    free = free_memory() if room is None else min(room, free_memory())
    needed = _CLASS_BYTES * len(dataset) * len(dataset.classes)
    if needed > free:
        raise InputError(
            f"{dataset.name}: the probabilities of {len(dataset.classes):,} classes at {len(dataset):,}"
            f" points take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} may be held; take fewer points"
            " (--limit) or classes, more memory (--max-memory), or stream features in parquet files"
            " (--features)"
        )
    loss = as_loss(options.objective.loss)
    outputs = loss.outputs(len(dataset.classes))
    width = _width(dataset, model, options, outputs)
    if width is not None:
        blank = HeadWeights(torch.zeros(1).expand(outputs, width), torch.zeros(outputs), loss)
        choose(blank, options.of_the_head(), memory=room)


def _width(dataset: Dataset, model: str, options: AuditOptions, outputs: int) -> int | None:
    """Of the last layer, where it is known before anything is trained."""
    if model == "head" and options.model.weights is None:
        return int(dataset.inputs.shape[1])
    if model in RECIPES and options.params is None:
        few = torch.from_numpy(dataset.inputs[:2])
        head = build(RECIPES[model], few, outputs, seed=0).get_submodule("head")
        assert isinstance(head, torch.nn.Linear)
        return head.in_features
    return None
