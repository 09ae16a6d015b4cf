"""The measures of fitness of a trained model, beside how well its Cook's distances find wrong labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.fitness import collapse_of, damping_sensitivity, effective_number
from swaypoint.scoring.rank import factorises
from swaypoint.scoring.refit import refit_ridge
from swaypoint.scoring.scores import Scores
from swaypoint.studies.cifar10.learning import Learned
from swaypoint.studies.cifar10.scores import head_of, recommended_of
from swaypoint.studies.detection import Found


def fitness_row(learned: Learned, influence: Influence, scores: Scores) -> dict[str, Any]:
    """Measures of :mod:`swaypoint.scoring.fitness`, detection by Cook's distance and by the loss as the
    model is, by Cook's distance after a remedy, a head refitted with a ridge (None of one too large for it),
    and by the recommended score. ``scores`` are of the finite removal."""
    facts, form, cook = influence.facts(), collapse_of(influence), scores.first_order
    assert cook is not None
    noise = cook.mean() / len(cook)
    return {
        "epoch": learned.facts.get("epoch", learned.cell.epochs),
        "training_accuracy": learned.facts["accuracy"]["training"],
        "test_accuracy": learned.facts["accuracy"]["test"],
        "within": form.within,
        "equiangularity": form.equiangularity,
        "saturated": facts.saturated,
        "stationarity": 2.0 * facts.decrement / noise,
        "condition": facts.condition,
        "effective": effective_number(cook) / len(cook),
        "damping": damping_sensitivity(influence),
        "mean_loss": float(scores.loss.mean()),
        **_detection("cook", cook, learned.wrong),
        **_detection("loss", scores.loss, learned.wrong),
        **_remedied(learned),
        **_detection("auto", recommended_of(learned, scores), learned.wrong),
    }


def _remedied(learned: Learned) -> dict[str, float | None]:
    data = ArrayBatches(learned.features, learned.given)
    if not factorises(head_of(learned)):
        return dict.fromkeys(("ridge", "remedied_auroc", "remedied_average_precision"))
    influence = Influence(refit_ridge(head_of(learned), data).head, data, dtype=torch.float64)
    found = _detection("remedied", influence.scores().cook, learned.wrong)
    return {"ridge": influence.head.l2, **found}


def _detection(name: str, score: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    measures = Found.of(score, wrong).measures()
    return {f"{name}_{measure}": measures[measure] for measure in ("auroc", "average_precision")}
