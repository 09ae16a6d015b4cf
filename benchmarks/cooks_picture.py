"""The picture of docs/cooks-distance.md: ``python -m benchmarks.cooks_picture docs/cooks-distance.svg``.

A line through twelve points and one more, with and without that one; Cook's distance as statsmodels has it.
"""

from __future__ import annotations

import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import statsmodels.api as sm

MARKED = (
    ("a surprise, little leverage", 0.5, 1.8),
    ("leverage, no surprise", 1.9, 1.9 * 0.9 + 0.1),
    ("a surprise with leverage", 1.9, 0.55),
)


def main(path: str) -> None:
    mpl.rcParams |= {"svg.hashsalt": "swaypoint", "font.size": 10}
    x = np.linspace(0.05, 0.95, 12)
    y = 0.9 * x + 0.1 + np.random.default_rng(3).normal(0, 0.07, 12)
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharex=True, sharey=True, layout="constrained")
    ends = np.array([-0.1, 2.1])
    without = np.polyfit(x, y, 1)
    for axis, (title, at, value) in zip(axes, MARKED, strict=True):
        xs, ys = np.append(x, at), np.append(y, value)
        distance = sm.OLS(ys, sm.add_constant(xs)).fit().get_influence().cooks_distance[0][-1]
        axis.plot(ends, np.polyval(without, ends), "--", color="#888888", label="fitted without it")
        axis.plot(ends, np.polyval(np.polyfit(xs, ys, 1), ends), color="#0a5fa5", label="fitted with it")
        axis.plot(x, y, "o", color="#444444", markersize=4)
        axis.plot([at], [value], "o", color="#c43c00", markersize=9)
        axis.set(title=f"{title}: D = {distance:.2f}", xticks=[], yticks=[], ylim=(-0.1, 2.2))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
