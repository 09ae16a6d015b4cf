# %% [markdown]
# # Pictures
#
# A folder of pictures, one subfolder a class: which of them lie in the wrong one? Here 600 scanned digits
# are written as PNG files, and twelve are put into the folder of another class. Put the path of your own
# folder in the place of `"digits"`, and leave the first cell out.

# %%
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

data = load_digits()
rng = np.random.default_rng(0)
wrong = set(rng.choice(600, 12, replace=False).tolist())
for i in range(600):
    label = (data.target[i] + rng.integers(1, 10)) % 10 if i in wrong else data.target[i]
    folder = Path("digits") / str(label)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((data.images[i] * 255 / 16).astype("uint8")).save(folder / f"scan-{i:04d}.png")

# %% [markdown]
# ## Rank
#
# One call trains a small network on four fifths of the pictures and ranks all of them. `scores=("auto",)`
# ranks by the odds that the label is wrong; without it [Cook's distance](../cooks-distance.md) ranks, which
# asks [another question](../questions.md).

# %%
import swaypoint

audit = swaypoint.audit("digits", "digits-audit", options=swaypoint.AuditOptions(scores=("auto",)))
audit

# %% [markdown]
# Of the twelve, so many stand among the first twenty:

# %%
first = audit.examples()["name"].to_pylist()[:20]
sum(int(name[-8:-4]) in wrong for name in first)

# %% [markdown]
# The scores of all pictures are a table, in the order of the files:

# %%
scores = audit.scores().to_pandas()
scores.sort_values("rank")[
    ["index", "label", "suggested_label", "auto", "p_wrong", "cook", "margin", "kind"]
].head()

# %% [markdown]
# ## Decide, and export
#
# `swaypoint review digits-audit` opens the page in which a person looks and decides, one key a picture.
# Here somebody does the same in a spreadsheet: the first three are put right.

# %%
import pandas as pd

names = audit.manifest().data.classes
top = scores.sort_values("rank").head(3)
ids = audit.items()[1]["id"].to_numpy()
right = [names[int(label)] for label in top["suggested_label"]]
pd.DataFrame({"id": ids[top.index], "verdict": "mislabeled", "new_label": right}).to_csv(
    "verdicts.csv", index=False
)

# %%
# !swaypoint import digits-audit verdicts.csv --from csv --reviewer ada
# !swaypoint export digits-audit --to imagefolder --policy relabel --out digits-clean
# !cat digits-clean/changes.csv

# %% [markdown]
# Larger pictures, other networks, a network of yours: [images](../images.md), [pretrained
# models](../pretrained.md), [your own model](own-model.py).
