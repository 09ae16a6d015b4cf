# %% [markdown]
# # A team's review
#
# Three people review one audit. One is always right, one takes every tenth wrong label for right, one errs
# both ways. What is agreed, what is in conflict, how many wrong labels are left, and may they stop? The
# reviewers are simulated, so that the truth is known; with people, `swaypoint review AUDIT --store
# postgresql://…` has each of them at their own screen.

# %%
import swaypoint

options = swaypoint.AuditOptions(scores=("auto",), flip=0.1)  # 10 % of the labels are planted wrong
audit = swaypoint.audit("sklearn:wine", "wines-audit", options=options)
audit

# %% [markdown]
# ## Verdicts
#
# Each reviewer works down the first quarter of the ranking. The log is a database that is only ever added
# to, one event a verdict.

# %%
from swaypoint.review.cleaning.simulated import Erring, replay
from swaypoint.review.cleaning.source import read_source
from swaypoint.review.items import Items
from swaypoint.review.log.store import open_store
from swaypoint.review.log.verdicts import Review

items = Items(audit)
source = read_source(items)
truth = [items.classes[label] for label in source.given[source.ranked]]

store = open_store("wines-audit/review.sqlite")
team = {"ada": Erring(), "bela": Erring(misses=0.1), "carl": Erring(misses=0.05, alarms=0.05)}
for name, erring in team.items():
    store.append(replay(items, truth, len(items) // 4, actor=name, erring=erring))
review = Review(items.run, store.since(items.run))

# %% [markdown]
# ## Do they agree?
#
# Beyond chance, by Cohen's kappa of each pair and Fleiss' of all:

# %%
from itertools import combinations

import pandas as pd
from swaypoint.review.log.agreement import cohen, conflicts, fleiss

for one, other in combinations(team, 2):
    print(f"{one} and {other}: {cohen(review, one, other).value:.2f}")
print(f"all three: {fleiss(review).value:.2f}")

# %% [markdown]
# What they differ on keeps its label until somebody settles it; on the page these are a queue of their own.

# %%
pd.DataFrame(
    {
        "index": items.scores["index"][items.position(conflict.item)],
        "given": items.label(items.position(conflict.item)),
        "suggested": items.suggested(items.position(conflict.item)),
        **{name: f"{d.verdict} {d.label or ''}" for name, d in conflict.decisions.items()},
    }
    for conflict in conflicts(review)
)

# %% [markdown]
# Ada, who leads, looks at each of them and settles it:

# %%
from dataclasses import replace

settled = {conflict.item for conflict in conflicts(review)}
for event in replay(items, truth, len(items) // 4, actor="ada"):
    if event.item in settled:
        again = f"{event.id}-again"
        store.append([replace(event, id=again, action=again, resolves=True)])
review = Review(items.run, store.since(items.run))
len(conflicts(review))

# %% [markdown]
# ## May they stop?
#
# What the top of the ranking held says little of the rest. A random sample of it does, judged like
# everything else; the bounds hold at any moment, however often somebody looks.

# %%
from swaypoint.review.cleaning.simulated import judged
from swaypoint.review.log.dealing import dealt, draw

store.append([draw(items, "ada", "sample")])
order = dealt(items, Review(items.run, store.since(items.run)))[:80]
events = store.append(judged(items, truth, order, actor="ada", way="sample"))

# %%
# !swaypoint progress wines-audit

# %% [markdown]
# ## The cleaner set, and what an auditor is given

# %%
# !swaypoint export wines-audit --to csv --policy relabel --out cleaner.csv
# !swaypoint verify wines-audit
# !swaypoint handover wines-audit

# %%
pd.read_csv("cleaner.changes.csv")[["source", "label_before", "label_after", "verdict"]].head()

# %% [markdown]
# Whether it was worth it: `swaypoint compare wines-audit` trains on both sets
# ([review](../review.md#was-it-worth-it)).
