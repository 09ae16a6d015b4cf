# %% [markdown]
# # A regression
#
# Real values in the place of classes: which of them are probably wrong, and which points bend the fit? The
# data are 442 patients of scikit-learn's diabetes set; ten of the values are entered with the decimal point
# in the wrong place.

# %%
import numpy as np
from sklearn.datasets import load_diabetes

data = load_diabetes(as_frame=True)
table = data.frame.copy()
rng = np.random.default_rng(0)
wrong = rng.choice(len(table), 10, replace=False)
table.loc[wrong, "target"] = table.loc[wrong, "target"] / 10

# %% [markdown]
# ## Least squares, as statisticians know it
#
# A fitted estimator of scikit-learn is taken as it is. `removal="finite"` is the leave-one-out form, and
# `ranking.statistical` the Cook's distance that statsmodels prints.

# %%
import swaypoint
from sklearn.linear_model import LinearRegression

X, y = table.drop(columns="target"), table["target"]
model = LinearRegression().fit(X, y)
ranking = swaypoint.cooks_distance(model, (X, y), removal="finite")
ranking

# %%
import matplotlib.pyplot as plt

residual = y - model.predict(X)
figure, axes = plt.subplots(figsize=(7, 4))
axes.scatter(
    ranking.leverage, residual, s=2000 * ranking.statistical + 4, alpha=0.5, label="area: Cook's distance"
)
axes.scatter(
    ranking.leverage[wrong], residual[wrong], s=60, facecolors="none", edgecolors="C3", label="planted"
)
axes.set(xlabel="leverage", ylabel="residual")
legend = axes.legend()

# %% [markdown]
# Only what is far from the rest in its columns *and* off in its value bends the fit.
#
# ## The audit
#
# A small network in the place of the straight line, the points that it was not trained on, a report, the
# review. `auto`, the studentised residual, is what finds wrong values; Cook's distance finds what bends the
# fit.

# %%
options = swaypoint.AuditOptions(scores=("auto",), objective=swaypoint.Objective(loss="squared_error"))
audit = swaypoint.audit(table, "diabetes-audit", options=options, read=swaypoint.ReadOptions(label="target"))
audit

# %%
scores = audit.scores().to_pandas()
for column in ("auto", "cook"):
    first = scores.sort_values(column, ascending=False)["index"][:44]
    print(f"{np.isin(first, wrong).sum()} of 10 planted values among the first 44 by {column}")

# %% [markdown]
# A value that was small before, divided by ten, is still a possible one: what is within the noise no score
# finds.
