"""What the study found, as tables: score by regime, and fitness against detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swaypoint.scoring.agreement import spearman
from swaypoint.studies.detection import MEASURES, Found, intervals
from swaypoint.studies.markdown import markdown

REGIME = ("architecture", "kind", "share", "regulariser", "schedule", "epochs", "side")
FITNESS = (
    "gap",
    "within",
    "equiangularity",
    "saturated",
    "stationarity",
    "effective",
    "damping",
    "mean_loss",
)
Regime = tuple[Any, ...]

_ARCHITECTURES = {"resnet20": "ResNet-20", "vgg19": "VGG-19", "efficientnet_b0": "EfficientNet-B0"}
SCORES = {
    "auto": "recommended (`--score auto`)",
    "cooks_distance": "Cook's distance (the paper)",
    "finite_removal": "Cook's distance, finite removal",
    "loss": "loss",
    "leave_one_out_loss": "leave-one-out loss",
    "margin": "margin",
    "confidence": "confidence",
    "gradient_norm": "gradient norm",
    "tracin": "TracIn over the training",
    "representer_l2": "representer value",
    "forgetting": "forgetting events",
    "area_under_margin": "area under the margin",
    "knn": "10 nearest neighbours",
    "cleanlab_left_out": "cleanlab on leave-one-out probabilities",
    "cleanlab": "cleanlab on 5-fold probabilities",
    "out_of_fold_loss": "out-of-fold loss",
    "out_of_fold_cook": "out-of-fold Cook's distance",
}


@dataclass(frozen=True)
class Detections:
    """What each model's scores found: rows of ``detections.parquet``."""

    rows: tuple[dict[str, Any], ...]

    @classmethod
    def from_rows(cls, rows: Sequence[dict[str, Any]]) -> Detections:
        return cls(tuple(rows))

    def regimes(self) -> list[Regime]:
        """In order of architecture, share and the rest."""
        return sorted({tuple(row[name] for name in REGIME) for row in self.rows}, key=str)

    def of(self, regime: Regime, score: str, *, member: str = "one") -> list[tuple[dict[str, Any], Found]]:
        """Rows of single models (``"one"``), of several together (``"all"``) or of folds."""
        return [
            (row, Found(np.array(row["above"]), row["right"]))
            for row in self.rows
            if tuple(row[name] for name in REGIME) == regime
            and row["score"] == score
            and (row["member"] == member or (member == "one" and row["member"].isdigit()))
        ]

    def slug(self, regime: Regime) -> str:
        """For a file name."""
        known = [part for part in regime if part is not None]
        return "-".join(f"{part:g}" if isinstance(part, float) else str(part) for part in known)

    def title(self, regime: Regime) -> str:
        """In words."""
        architecture, kind, share, regulariser, schedule, epochs, side = regime
        words = {"l1l2": ", L1 + L2 on the head", "none": ""}[regulariser]
        slow = ", slow schedule" if schedule == "slow" else ""
        trained = f"{epochs} epochs" if side is None else f"{epochs} epochs of {side} x {side} pixels"
        return f"{_ARCHITECTURES[architecture]}, {100 * share:g} % {kind} flips{words}{slow}, {trained}"


def brief(detections: Detections) -> str:
    """What fits a terminal: a line a score and regime."""
    parts = []
    for regime in detections.regimes():
        parts += [f"{detections.title(regime)}: {_models(detections, regime)}", ""]
        rows = []
        for member, of in _MEMBERS.items():
            for score in SCORES:
                found = [one for _, one in detections.of(regime, score, member=member)]
                if found:
                    mean = _means(found)
                    shares = [f"{mean[name]:.3f}" for name in ("auroc", "average_precision")]
                    rows.append([of, score, *shares, f"{mean['inspected_90']:.1%}"])
        parts += [markdown(["of", "score", "AUROC", "precision", "for 90 %"], rows), ""]
    return "\n".join(parts)


_MEMBERS = {"one": "one model", "all": "models together", "folds": "five folds"}


def tables(detections: Detections, fitness: Sequence[dict[str, Any]]) -> str:
    """Everything as Markdown."""
    parts = [regime_tables(detections, level=2), ""]
    if fitness:
        parts += ["## Fitness for influence", "", fitness_table(fitness), ""]
    return "\n".join(parts)


def overview(detections: Detections) -> str:
    """A line a regime: the recommended score of single models beside the two bases and the best other."""
    names = ["", "models", *(SCORES[score] for score in _BESIDE), "best other"]
    lines = []
    for regime in detections.regimes():
        found = {score: [one for _, one in detections.of(regime, score)] for score in SCORES}
        means = {score: _means(models) for score, models in found.items() if models}
        others = {score: mean for score, mean in means.items() if score != "auto"}
        precise = max(others, key=lambda score: others[score]["average_precision"])
        quick = min(others, key=lambda score: others[score]["inspected_90"])
        best = f"{others[precise]['average_precision']:.3f} ({SCORES[precise]})"
        best += f"; {others[quick]['inspected_90']:.2%} ({SCORES[quick]})"
        beside = [means[score] for score in _BESIDE]
        cells = [f"{mean['average_precision']:.3f}; {mean['inspected_90']:.2%}" for mean in beside]
        lines.append([detections.title(regime), str(len(found["auto"])), *cells, best])
    return markdown(names, lines)


_BESIDE = ("auto", "cooks_distance", "loss")


def regime_tables(detections: Detections, *, level: int, curves: str = "roc-") -> str:
    """A heading, the models, the curves and a table for each regime.

    Args:
        level: of the headings.
        curves: what the names of the pictures begin with.
    """
    parts = []
    for regime in detections.regimes():
        link = f"[ROC curves]({curves}{detections.slug(regime)}.png)."
        parts += [f"{'#' * level} {detections.title(regime)}", f"{_models(detections, regime)} {link}"]
        parts.append(_table(detections, regime))
    return "\n\n".join(parts)


def _models(detections: Detections, regime: Regime) -> str:
    rows = [row for row, _ in detections.of(regime, "cooks_distance")]
    flips = sorted({row["noise_seed"] for row in rows})
    accuracies = ", ".join(f"{row['accuracy']:.2%}" for row in rows)
    models = "1 model" if len(rows) == 1 else f"{len(rows)} models"
    draws = "1 draw" if len(flips) == 1 else f"{len(flips)} draws"
    return f"{models}, {draws} of wrong labels; test accuracy {accuracies}."


def _table(detections: Detections, regime: Regime) -> str:
    rows = []
    for member, of in _MEMBERS.items():
        for score, name in SCORES.items():
            found = [found for _, found in detections.of(regime, score, member=member)]
            if found:
                rows.append([of, name, *_cells(found)])
    names = ["", "score", "AUROC", "average precision", "look at, to find 50 %", "90 %", "95 %"]
    return markdown(names, rows)


def _means(found: Sequence[Found]) -> dict[str, float]:
    measures = [one.measures() for one in found]
    return {name: float(np.mean([one[name] for one in measures])) for name in MEASURES}


def _cells(found: list[Found]) -> list[str]:
    spread = intervals(found)
    cells = []
    for name, mean in _means(found).items():
        low, high = spread[name]
        if name in ("auroc", "average_precision"):
            cells.append(f"{mean:.3f} ({low:.3f} to {high:.3f})")
        else:
            cells.append(f"{mean:.2%} ({low:.2%} to {high:.2%})")
    return cells


def fitness_table(rows: Sequence[dict[str, Any]]) -> str:
    """A line a model, and below each measure its rank correlation with the detection by Cook's distance."""
    names = [
        "model",
        "epoch",
        "training",
        "test",
        *FITNESS,
        "AUROC Cook",
        "AUROC loss",
        "AUROC remedied",
        "AUROC auto",
    ]
    rows = [row | {"gap": row["training_accuracy"] - row["test_accuracy"]} for row in rows]
    lines = []
    for row in rows:
        kind = "" if row["kind"] == "uniform" else f" {row['kind']}"
        model = (
            f"{_ARCHITECTURES[row['architecture']]}, {100 * row['share']:g} %{kind}, {row['schedule']},"
            f" {row['regulariser']}, {row['member']}"
        )
        measures = [_known(row[name], ".3g") for name in FITNESS]
        aurocs = [_known(row[f"{name}_auroc"], ".4f") for name in ("cook", "loss", "remedied", "auto")]
        accuracies = [f"{row[name]:.1%}" for name in ("training_accuracy", "test_accuracy")]
        lines.append([model, str(row["epoch"]), *accuracies, *measures, *aurocs])
    # Flips between like classes are harder to find, whatever the model.
    uniform = [row for row in rows if row["kind"] == "uniform"]
    correlations = [_correlation(uniform, name) for name in FITNESS]
    title = "rank correlation with AUROC of Cook, uniform flips"
    lines.append([title, "", "", "", *correlations, "", "", "", ""])
    return markdown(names, lines)


def _known(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _correlation(rows: Sequence[dict[str, Any]], name: str) -> str:
    known = [row for row in rows if row[name] is not None]
    if len(known) < 3:
        return ""
    of = [np.array([row[column] for row in known]) for column in (name, "cook_auroc")]
    return f"{spearman(*of):+.2f}"
