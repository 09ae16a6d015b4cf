# %% [markdown]
# # What holds of the set as a whole
#
# An audit ranks records, and it also looks for what is wrong with the set: records of the test set that
# were trained on, copies that contradict each other, a column that gives the label away, groups on which
# the model fails. Here a table of 569 tumours is spoiled in four ways; the [list of all
# kinds](../findings.md) is longer.

# %%
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

data = load_breast_cancer(as_frame=True)
table = data.data.iloc[:, :10].assign(diagnosis=data.target_names[data.target])
rng = np.random.default_rng(0)
test, train = table.iloc[:150], table.iloc[150:]

leaked = test.sample(20, random_state=0)  # of the test set, and trained on all the same
twice = train.sample(15, random_state=1)
contradicting = train.sample(6, random_state=2)
contradicting = contradicting.assign(
    diagnosis=np.where(contradicting["diagnosis"] == "benign", "malignant", "benign")
)
train = pd.concat([train, leaked, twice, contradicting], ignore_index=True)
for part in (train, test):  # what is only known once the diagnosis is
    part.insert(0, "therapy", np.where(part["diagnosis"] == "malignant", "surgery", "none"))
train.shape, test.shape

# %% [markdown]
# ## Look
#
# The findings are part of every audit.

# %%
import swaypoint
from swaypoint.findings import found

read = swaypoint.ReadOptions(label="diagnosis")
audit = swaypoint.audit(train, "tumours-audit", read=read, test=test)
found(audit)

# %% [markdown]
# The numbers behind one of them, and the records, most telling first:

# %%
first = found(audit).findings[0]
print(first.name, dict(first.evidence))
audit.scores().to_pandas().iloc[first.index[:5]][["index", "split", "label", "cook", "margin"]]

# %% [markdown]
# ## Act
#
# The column that gives the label away is removed from the table, and the audit made again. What was below
# it comes out: the accuracy on the test set is no longer perfect, and the copies are still there.

# %%
train, test = train.drop(columns="therapy"), test.drop(columns="therapy")
train.to_parquet("train.parquet")
test.to_parquet("test.parquet")
audit = swaypoint.audit("train.parquet", "again-audit", read=read, test="test.parquet")
found(audit)

# %% [markdown]
# `--act` follows the remedy of a finding whose records are to leave; every record that left is in the list
# of changes.

# %%
names = [finding.name for finding in found(audit).findings if len(finding.drop)]
names

# %%
acts = " ".join(f'--act "{name}"' for name in names)
# !swaypoint export again-audit --to csv --out cleaner.csv {acts}

# %%
changes = pd.read_csv("cleaner.changes.csv")
changes.groupby("finding").size()

# %% [markdown]
# Copies of a table's rows that contradict each other do not leave by themselves: a column may be missing
# that tells them apart. A person looks: `swaypoint review again-audit`, the page *Findings*.
