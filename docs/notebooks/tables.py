# %% [markdown]
# # A table
#
# A table as it was exported: numbers with gaps, categories, dates, an identifier. Which of its labels are
# probably wrong, and which rows sway the model? The table is made: 800 customers, of which some left; 16 of
# them are then given the other label.

# %%
import numpy as np
import pandas as pd

rng = np.random.default_rng(0)
n = 800
table = pd.DataFrame(
    {
        "customer": [f"C{i:05d}" for i in range(n)],
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 2000, n), "D"),
        "plan": rng.choice(["basic", "plus", "family"], n, p=[0.5, 0.3, 0.2]),
        "calls": rng.poisson(2, n),
        "bill": rng.gamma(4, 12, n).round(2),
    }
)
years = (pd.Timestamp("2026-01-01") - table["since"]).dt.days / 365
odds = 2.5 * table["calls"] + 0.06 * table["bill"] - 1.5 * years - 3 * (table["plan"] == "family") - 2
truth = np.where(odds + rng.normal(size=n) > 0, "left", "stayed")
table.loc[rng.random(n) < 0.05, "bill"] = np.nan
wrong = rng.choice(n, 16, replace=False)
table["outcome"] = truth
table.loc[wrong, "outcome"] = np.where(truth[wrong] == "left", "stayed", "left")
table.head()

# %% [markdown]
# ## Rank

# %%
import swaypoint

options = swaypoint.AuditOptions(scores=("auto",))
audit = swaypoint.audit(
    table, "customers-audit", options=options, read=swaypoint.ReadOptions(label="outcome")
)
audit

# %% [markdown]
# What was made of the columns, in words:

# %%
for column, done in audit.manifest().data.treatments.items():
    print(f"{column}: {done}")

# %%
scores = audit.scores().to_pandas()
order = scores.sort_values("rank")["index"]
for k in (16, 32, 64):
    print(np.isin(order[:k], wrong).sum(), "of 16 planted labels among the first", k)

# %% [markdown]
# ## How many are wrong in all?
#
# The audit's own estimate, without a single verdict; it is no bound, as people err where models do.

# %%
suspected = audit.manifest().suspected
print(f"about {suspected.expected:.0f} are expected to be wrong; look at the first {suspected.first}")

# %% [markdown]
# ## Where does the model depend on few rows?
#
# A table's influence can be grouped by where it lies, see [regions](../regions.md) and [the ACAS
# notebook](acas.py).

# %%
# !swaypoint regions customers-audit
