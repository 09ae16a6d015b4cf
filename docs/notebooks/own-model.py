# %% [markdown]
# # Your own model
#
# A network of yours, trained by your own loop: which training points sway it, and which of them made it say
# what it says of a new point? Nothing about the training has to change.

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn

data = load_digits()
X = torch.tensor(data.images[:, None] / 16, dtype=torch.float32)
y = torch.tensor(data.target)
generator = torch.Generator().manual_seed(0)
order = torch.randperm(len(y), generator=generator)
train, test = order[:1400], order[1400:]
wrong = train[:28]  # 2 % of the labels are planted wrong
y[wrong] = (y[wrong] + torch.randint(1, 10, (28,), generator=generator)) % 10

# %%
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(),
    nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10),
)  # fmt: skip
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
for _ in range(12):
    for rows in train.split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X[rows]), y[rows]).backward()
        optimizer.step()
accuracy = (model(X[test]).argmax(1) == y[test]).float().mean()
print(f"{accuracy:.1%} right on held-out digits")

# %% [markdown]
# ## Which points sway it?
#
# Exactly, by its last layer; `refit=True` brings that layer to its optimum first, which is what the theory
# assumes.

# %%
import swaypoint

points = torch.utils.data.TensorDataset(X[train], y[train])
ranking = swaypoint.cooks_distance(model, points, l2=1e-3, refit=True)
ranking

# %%
import numpy as np

found = np.isin(ranking.order[:70], np.arange(28)).sum()
print(found, "of 28 planted labels among the first 70 of 1,400")

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 10, figsize=(10, 1.6))
for panel, i in zip(axes, ranking.order, strict=False):
    panel.imshow(points[i][0][0], cmap="gray_r")
    panel.set(title=f"{ranking.label[i]:.0f}, rather {ranking.suggested_label[i]:.0f}", xticks=[], yticks=[])
    panel.title.set_fontsize(8)

# %% [markdown]
# ## Why does it say that?
#
# Of each test point, the training points of the largest influence: proponents (without them its loss would
# be larger) and opponents.

# %%
asked = test[(model(X[test]).argmax(1) != y[test])][:1]
top = swaypoint.influence(model, points, (X[asked], y[asked]), l2=1e-3, top=8)

figure, axes = plt.subplots(1, 9, figsize=(10, 1.6))
axes[0].imshow(X[asked[0], 0], cmap="gray_r")
axes[0].set_title(f"labelled {y[asked[0]]}, taken for {model(X[asked]).argmax(1).item()}", fontsize=8)
for panel, i, value in zip(axes[1:], top.index[0], top.values[0], strict=True):
    panel.imshow(points[i][0][0], cmap="gray_r")
    panel.set_title(f"{ranking.label[i]:.0f}: {'for' if value > 0 else 'against'}", fontsize=8)
for panel in axes:
    panel.set(xticks=[], yticks=[])

# %% [markdown]
# ## While it trains
#
# A recorder is called at the end of an epoch, in any loop; for Lightning and transformers there are
# callbacks ([training loops](../loops.md)).

# %%
recorder = swaypoint.InfluenceRecorder(points, "influence", l2=1e-3)
for epoch in range(2):
    recorder(model, epoch)
recorder.table().to_pandas().groupby("epoch")["cook"].describe()

# %% [markdown]
# For the report and the review the command line takes the model, too: `swaypoint audit photos/ --model
# mynet:build --weights net.safetensors --transform mynet:prepare` ([images](../images.md)).
