# %% [markdown]
# # Embeddings without a model
#
# You have vectors of any model, or of none (measurements, word counts), and labels; the model is not at
# hand, or not PyTorch. That is enough: the last layer is fitted here, to its exact optimum.

# %%
import numpy as np
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
embeddings = np.tanh(images @ rng.normal(size=(64, 128)) / 40)  # in place of those of your model, (n, D)

wrong = rng.choice(len(labels), 36, replace=False)  # 2 % of the labels are planted wrong
labels[wrong] = (labels[wrong] + rng.integers(1, 10, 36)) % 10

# %% [markdown]
# **Which vectors sway a linear model of them?** One call, and a ranking that is a table:

# %%
import swaypoint

ranking = swaypoint.cooks_distance_from_features(embeddings, labels)
ranking

# %%
print(np.isin(ranking.order[:90], wrong).sum(), "of 36 among the first 90 by Cook's distance")
axes = ranking.plot()

# %% [markdown]
# Whether these numbers can be trusted is part of the ranking ([what the checks mean](../fitness.md)):

# %%
print(ranking.diagnostics)

# %% [markdown]
# **Which labels are probably wrong?** Any classifier may judge, out of fold; here the default, logistic
# regression:

# %%
from swaypoint.sklearn import LabelErrorDetector

detector = LabelErrorDetector().fit(embeddings, labels)
print(np.isin(detector.order_[:90], wrong).sum(), "of 36 among the first 90 by their odds")
print("expected to be wrong:", round(detector.wrong_labels_.expected))

# %% [markdown]
# The two [answer different questions](../questions.md). On vectors such as these both find the planted
# labels; the first also puts forward what is rare, the second leaves it.
#
# For the report, the [review page](../review.md) and the export, the same vectors go into a file, and the
# audit is one command:

# %%
np.savez("embeddings.npz", features=embeddings, labels=labels)

# %%
# !swaypoint audit embeddings.npz --score auto

# %% [markdown]
# `swaypoint review embeddings-audit` then opens the page in which a person decides.
