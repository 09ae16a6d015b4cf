"""ROC curves over sets of models (Picard et al., 2022, Figs. 5 and 6), and a sheet of doubtful images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swaypoint.errors import require
from swaypoint.folder.writing import replace_file
from swaypoint.studies.cifar10.images import CLASSES
from swaypoint.studies.cifar10.summary import SCORES, Detections, Regime
from swaypoint.studies.detection import mean_curve

_COLUMNS = 10
_SHOWN = {
    "auto": "#6a51a3",
    "cooks_distance": "#d94801",
    "loss": "#2171b5",
    "gradient_norm": "#969696",
    "area_under_margin": "#238b45",
}
_WAYS = {
    "loss": ("loss", "o-C0"),
    "cook": ("Cook's distance", "o-C1"),
    "remedied": ("Cook's distance, head refitted with a ridge", "o--C1"),
    "auto": ("recommended", "o-C4"),
}


def draw_regime(detections: Detections, regime: Regime, path: Path, name: str) -> None:
    """Each model's curve thin, their mean bold, chance dashed; on the right the share found against the share
    looked at, the beginning stretched. PNG."""
    require("matplotlib", "study")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    plain, stretched = figure.subplots(1, 2)
    models = 0
    for score, colour in _SHOWN.items():
        found = [one for _, one in detections.of(regime, score)]
        models = max(models, len(found))
        if not found:
            continue
        for one in found:
            false, true = one.curve()
            plain.step(false, true, where="post", color=colour, alpha=0.35, linewidth=0.7)
        at = np.unique(np.concatenate([np.geomspace(1e-5, 1, 400), [0.0]]))
        area = np.mean([one.measures()["auroc"] for one in found])
        plain.plot(
            at,
            mean_curve(found, at),
            color=colour,
            linewidth=2.2,
            label=f"{SCORES[score].replace('`', '')}, {area:.3f}",
        )
        n = found[0].right + len(found[0].above)
        looked = [(np.arange(1, len(one.above) + 1) + np.sort(one.above)) / n for one in found]
        share = np.arange(1, len(found[0].above) + 1) / len(found[0].above)
        for one in looked:
            stretched.step(one, share, where="post", color=colour, alpha=0.35, linewidth=0.7)
        stretched.plot(np.exp(np.mean(np.log(looked), axis=0)), share, color=colour, linewidth=2.2)
    plain.plot([0, 1], [0, 1], color="#555", linestyle="--", linewidth=1, label="chance")
    chance = np.geomspace(1e-5, 1, 200)
    stretched.plot(chance, chance, color="#555", linestyle="--", linewidth=1)
    plain.set(xlabel="right labels above", ylabel="wrong labels found", xlim=(-0.01, 1), ylim=(0, 1.01))
    plain.legend(loc="lower right", frameon=False, title="mean AUROC")
    stretched.set(xscale="log", xlabel="share of the points looked at", xlim=(2e-5, 1), ylim=(0, 1.01))
    figure.suptitle(f"{detections.title(regime)}: {models} model{'s' * (models > 1)}, {name}")
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def draw_suspects(
    pixels: np.ndarray, labels: np.ndarray, suggested: np.ndarray, rows: np.ndarray, path: Path
) -> None:
    """Images ``(k, 32, 32, 3)``, the most doubtful first, each over its row in the training set, its label
    and the model's. PNG."""
    require("matplotlib", "study")
    from matplotlib.figure import Figure

    lines = -(-len(rows) // _COLUMNS)
    figure = Figure(figsize=(1.35 * _COLUMNS, 1.75 * lines), layout="constrained")
    axes = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, image, label, other, row in zip(axes, pixels, labels, suggested, rows, strict=False):
        axis.imshow(image)
        axis.set_title(f"{row}\n{CLASSES[label]}\n{CLASSES[other]}?", fontsize=8)
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def draw_fitness(rows: Sequence[dict[str, Any]], path: Path, name: str) -> None:
    """On the left what over-training does to detection, on the right detection against the gap between the
    accuracy on the training and on the test images. PNG."""
    require("matplotlib", "study")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    way, gap = figure.subplots(1, 2)
    slow = [row for row in rows if row["schedule"] == "slow"]
    for member in sorted({row["member"] for row in slow}):
        stages = sorted((row for row in slow if row["member"] == member), key=lambda row: row["epoch"])
        epochs = [row["epoch"] for row in stages]
        for measure, (label, style) in _WAYS.items():
            values = [row[f"{measure}_average_precision"] for row in stages]
            way.plot(epochs, values, style, linewidth=1.6, markersize=4, label=label)
    way.set(xlabel="epochs of the slow schedule", ylabel="average precision", ylim=(0, None))
    handles, labels = way.get_legend_handles_labels()
    first = dict(zip(labels, handles, strict=True))
    way.legend(first.values(), first.keys(), frameon=False)
    others = [row for row in rows if row["schedule"] != "slow"]
    uniform = [row for row in others if row["kind"] == "uniform"]
    alike = [row for row in others if row["kind"] != "uniform"]
    groups = (slow, "o", "slow schedule"), (uniform, "^", "others"), (alike, "s", "others, asymmetric flips")
    for found, marker, label in groups:
        over = [row["training_accuracy"] - row["test_accuracy"] for row in found]
        gap.plot(over, [row["cook_auroc"] for row in found], marker, alpha=0.7, label=label)
    gap.set(
        xlabel="accuracy on training less test images", ylabel="AUROC of Cook's distance", ylim=(None, 1.01)
    )
    gap.legend(frameon=False, loc="lower left")
    figure.suptitle(f"Over-training and detection: {name}")
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))
