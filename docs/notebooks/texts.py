# %% [markdown]
# # Texts
#
# Texts with a label each: which labels are probably wrong? The texts are the first paragraphs of SciPy's
# own documentation, and the label is the part of SciPy that a function belongs to: real sentences, some of
# which could belong to two parts. In the place of `table` goes a frame or a file of yours.

# %%
import inspect
from importlib import import_module

import numpy as np
import pandas as pd

rows, seen = [], set()
for part in ("fft", "interpolate", "linalg", "ndimage", "optimize", "signal", "sparse", "spatial", "stats"):
    module = import_module(f"scipy.{part}")
    for name in module.__all__:
        text = inspect.getdoc(getattr(module, name, None)) or ""
        text = " ".join(line for line in text.split("\n")[:12] if line and "(" not in line)
        if len(text) > 60 and text not in seen:
            seen.add(text)
            rows.append({"text": text, "part": part})
table = pd.DataFrame(rows)

rng = np.random.default_rng(0)
wrong = rng.choice(len(table), len(table) // 50, replace=False)  # 2 % get another label
others = table["part"].unique()
for i in wrong:
    table.loc[i, "part"] = rng.choice(others[others != table.loc[i, "part"]])
table["part"].value_counts()

# %% [markdown]
# ## Rank
#
# Words and their letters become 256 numbers a text, and a head is fitted to them ([how](../texts.md)):
# seconds, and nothing is downloaded.

# %%
import swaypoint

options = swaypoint.AuditOptions(scores=("auto",))
read = swaypoint.ReadOptions(label="part", text="text")
audit = swaypoint.audit(table, "texts-audit", options=options, read=read)
audit

# %%
scores = audit.scores().to_pandas()
first = scores.sort_values("rank")["index"].head(2 * len(wrong))
print(np.isin(first, wrong).sum(), "of", len(wrong), "planted labels among the first", len(first))

# %% [markdown]
# What else stands there is worth a look, too: texts that another part of SciPy could have.
#
# ## Which words speak for the label, and which against?
#
# The page `texts-audit/report.html` underlines them in every text; the numbers behind it, of the first one:

# %%
from swaypoint.report.words import Words

classes = audit.manifest().data.classes
one = scores.sort_values("rank").iloc[0]
label, suggested = int(one["label"]), int(one["suggested_label"])
words = Words.of(audit)
text = table["text"][int(one["index"])]
(marked,) = words.marked({"text": text}, words.direction(label, suggested))
column = f"for {classes[label]}, against {classes[suggested]}"
said = pd.DataFrame(
    [(part.text.lower(), part.value) for part in marked.parts if part.sign], columns=["word", column]
)
said = said.groupby("word").sum()
said.loc[said[column].abs().sort_values(ascending=False).index].head(10)

# %% [markdown]
# Better features than counted words come from a pretrained model, `--model st:FOLDER` or `hf:FOLDER`:
# [pretrained models](../pretrained.md).
