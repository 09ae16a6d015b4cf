# %% [markdown]
# # Where a collision avoidance table needs data
#
# An unmanned aircraft is advised how to turn away from an intruder: clear of conflict (COC), weak left or
# right (WL, WR), strong left or right (SL, SR). The table of advisories is the solution of an open Markov
# decision process (HorizontalCAS), solved here for one pair of speeds on a coarse grid. A small network
# learns it from few points: where do these sway it most, and which points should be added? The
# [study](../acas.md) does this with tens of millions of points.

# %%
import math

import numpy as np
from swaypoint.studies.acas.hcas import Grid, solve
from swaypoint.studies.acas.published import HCAS_ACTIONS

rho = np.array(
    [0, 250, 500, 750, 1000, 1500, 2000, 3000, 4000, 5000, 7000, 9000, 12000, 16000, 21000, 28000.0]
)
angles = np.linspace(-math.pi, math.pi, 25)
solution = solve(200, 200, taus=(5,), grid=Grid(rho, angles, angles))  # both aircraft at 200 ft/s, 5 s to go
advisory = solution.advisory[0, 0].ravel()  # the previous advisory was COC
psi, theta, distance = (axis.ravel() for axis in np.meshgrid(angles, angles, rho, indexing="ij"))
states = np.column_stack([psi, theta, distance])
dict(zip(HCAS_ACTIONS, np.bincount(advisory, minlength=5).tolist(), strict=True)), states.shape

# %% [markdown]
# ## Learn it from 1,500 random states

# %%
import warnings

from sklearn.neural_network import MLPClassifier

warnings.filterwarnings("ignore", module="sklearn")  # 200 rounds are enough here


def inputs(states):
    """What the network sees: angles as directions, the range in thousands of feet."""
    psi, theta, rho = states.T
    x, y = rho * np.cos(theta), rho * np.sin(theta)
    return np.column_stack(
        [np.cos(psi), np.sin(psi), np.cos(theta), np.sin(theta), rho / 5e3, x / 5e3, y / 5e3]
    )


def learned(rows):
    return MLPClassifier((32, 32), alpha=1e-3, max_iter=200, random_state=0).fit(
        inputs(states[rows]), advisory[rows]
    )


rng = np.random.default_rng(0)
sample = rng.choice(len(states), 1500, replace=False)
rest = np.setdiff1d(np.arange(len(states)), sample)
network = learned(sample)
print(f"{network.score(inputs(states[rest]), advisory[rest]):.1%} of the other states right")

# %% [markdown]
# ## Which states sway it?

# %%
import swaypoint

ranking = swaypoint.cooks_distance(network, (inputs(states[sample]), advisory[sample]))
ranking

# %%
import matplotlib.pyplot as plt

cut = np.flatnonzero(np.isclose(np.abs(psi), math.pi / 2) & (psi < 0))  # the intruder crosses from the left
figure, axes = plt.subplots(figsize=(8, 4.5))
mesh = axes.pcolormesh(
    np.degrees(angles),
    rho / 1000,
    advisory[cut].reshape(len(angles), -1).T,
    cmap="Pastel1",
    vmin=-0.5,
    vmax=8.5,
)
near = np.flatnonzero(np.abs(states[sample, 0] + math.pi / 2) < 0.6)
size = 400 * np.sqrt(ranking.values[near] / ranking.values.max())
axes.scatter(
    np.degrees(states[sample][near, 1]),
    states[sample][near, 2] / 1000,
    s=size + 2,
    c="k",
    alpha=0.5,
    linewidths=0,
)
labels = axes.set(
    xlabel="bearing of the intruder [degrees]", ylabel="range [1,000 ft]", ylim=(0, 12),
    title="advisory by colour; the sampled states about this cut, area by influence",
)  # fmt: skip

# %% [markdown]
# Influence lies where one advisory becomes another. As [regions](../regions.md) in the table's own columns,
# with what to do about each:

# %%
import pandas as pd
from swaypoint.findings.regions import Points, Table, propose, regions

columns, classes = ("psi", "theta", "rho"), tuple(HCAS_ACTIONS)
points = Points(
    states[sample], ranking.values, advisory[sample], ranking.suggested_label.astype(int), ranking.margin
)
table = Table(states[sample], advisory[sample], columns, classes, axes=(angles, angles, rho))
found = regions(points, table, top=0.9)  # those that carry nine tenths of the influence
pd.DataFrame(
    {
        "points": len(region),
        "influence": f"{region.share:.0%}",
        "where": "; ".join(map(str, region.bounds)),
        "labels": ", ".join(f"{count} {name}" for name, count in region.classes),
        "suggestion": region.action,
    }
    for region in found[:8]
)

# %% [markdown]
# ## Gather there
#
# The regions propose new states, in proportion to their influence; the solved table labels them, and the
# network learns anew. Beside it, another one gets as many random states more.

# %%
axes = (angles, angles, rho)
whole = sum(region.influence for region in found)
new = np.concatenate(
    [propose(region, points, table, k=int(np.ceil(400 * region.influence / whole))) for region in found]
)
places = [
    np.searchsorted((axis[1:] + axis[:-1]) / 2, column) for axis, column in zip(axes, new.T, strict=True)
]
added = np.setdiff1d(np.ravel_multi_index(places, [len(axis) for axis in axes]), sample)
random = rng.choice(rest, len(added), replace=False)
test = np.setdiff1d(rest, np.concatenate([added, random]))
for name, more in (("as it was", []), ("random states", random), ("from the regions", added)):
    model = learned(np.concatenate([sample, more]).astype(int))
    right = model.score(inputs(states[test]), advisory[test])
    print(f"{name}: {len(more)} states more, {right:.2%} of the held-out states right")

# %% [markdown]
# One seed on a coarse grid shows the way, not the gain; [the study](../acas.md#closing-the-loop) measures
# it with intervals.
