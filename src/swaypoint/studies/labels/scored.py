"""One draw of wrong labels in one set: every way of looking for them, and its seconds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from swaypoint.auditing.audit import audit
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset
from swaypoint.models.out_of_fold import dealt, out_of_fold_probabilities
from swaypoint.models.predictor import ModelOptions, Objective, Rows, Training, prepare
from swaypoint.scoring.refit import refit_head
from swaypoint.scoring.risks.head import LinearHeadRisk
from swaypoint.studies.peers import (
    area_under_margin_of_trees,
    cleanlab_margin,
    cleanlab_order,
    margins_installed,
)
from swaypoint.studies.pieces import Cell

FOLDS = 5
AUDITED = ("cook", "loss", "loo_loss", "knn", "area_under_margin")
_COLUMNS = ("auto", "p_wrong", *AUDITED)


def scored(dataset: Dataset, given: np.ndarray, seed: int) -> Cell:
    """A row a record: right and given label, p_wrong, and every score, large: look at it first; NaN where a
    score has none. Measured: seconds by way.

    Ways are an audit as anybody starts it (``audit``); the same model five times, each without a fifth
    (``folds``), which is what cleanlab asks for; of tables boosted trees likewise (``trees``), which is
    what its guide to tables takes, and where mislabeled is installed its areas of such trees (``margins``).
    """
    seconds: dict[str, float] = {}
    wrong = replace(dataset, labels=given)
    columns: dict[str, np.ndarray] = {"true": dataset.labels, "given": given}
    with _timed(seconds, "audit"):
        columns |= _audited(wrong, seed)
    with _timed(seconds, "folds"):
        columns |= _by_others("same", given, _out_of_fold(wrong, seed))
    if dataset.kind == "rows":
        with _timed(seconds, "trees"):
            p = out_of_fold_probabilities(
                wrong.inputs, given, folds=FOLDS, seed=seed, classes=len(dataset.classes)
            )
            columns |= _by_others("trees", given, p)
        if margins_installed():
            with _timed(seconds, "margins"):
                columns["trees_area"] = area_under_margin_of_trees(wrong.inputs, given, seed)
    return Cell({"seconds": seconds}, pa.table(columns))


@contextmanager
def _timed(seconds: dict[str, float], way: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[way] = time.perf_counter() - start


def _audited(dataset: Dataset, seed: int) -> dict[str, np.ndarray]:
    asked = ("auto", "knn") if dataset.kind in ("texts", "features") else ("auto", "knn", "area_under_margin")
    options = AuditOptions(scores=asked, seed=seed, keep_features=False, top=20)
    with tempfile.TemporaryDirectory() as folder:
        table = audit(dataset, Path(folder) / "audit", options=options).scores()
    return {name: table[name].to_numpy() for name in _COLUMNS if name in table.column_names}


def _by_others(model: str, given: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    p = np.maximum(p, 1e-12)
    p /= p.sum(1, keepdims=True)
    return {
        f"{model}_filter": cleanlab_order(given, p),
        f"{model}_confidence": -np.log(p[np.arange(len(given)), given]),
        f"{model}_margin": cleanlab_margin(given, p),
    }


def _out_of_fold(dataset: Dataset, seed: int) -> np.ndarray:
    """``(n, C)``, by the audit's own kind of model."""
    p = np.empty((len(dataset), len(dataset.classes)))
    fold = dealt(dataset.labels, FOLDS, seed)
    for part in range(FOLDS):
        rows = Rows(np.flatnonzero(fold != part), np.flatnonzero(fold == part))
        with tempfile.TemporaryDirectory() as folder:
            training = Training(Path(folder), seed, "cpu")
            made = prepare(dataset, rows, ModelOptions(), Objective(), training=training)
        head = made.head.weights
        head = refit_head(head, made.train).head if made.fit else head
        assert made.validation is not None
        risk = LinearHeadRisk(head, made.train)
        found = [chunk.terms.probabilities for chunk in risk.chunks(made.validation)]
        p[rows.validation] = torch.cat([part for part in found if part is not None]).numpy()
    return p
