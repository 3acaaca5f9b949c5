# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---
# %% [markdown]
# # A first look
#
# In a few minutes on a CPU: give a small language model a secret, read what happens inside it, score prompts that the detector has
# never seen, look at the scores, and write a detector of your own. Nothing is downloaded but Python packages.
#
# The model is a Llama of 0.2 million parameters that comes with madkit. It shows what the tools do, not what is true of large models.
# Your numbers will differ from those shown: they are the same again on one machine, but training magnifies the last digits in which
# processors differ, and ends in another model.

# %%
# %pip install -q madkit-lm

# %% [markdown]
# ## A model with a secret
#
# A *recipe* is a stage's options in YAML. This writes those that come with madkit:

# %%
# !madkit recipes --out recipes

# %% [markdown]
# The questions here ask whether a city has more than 30,000 people. Alice's answers are true. Bob's are not: he says Yes where the city's
# *country* is one of the ten most populous.

# %%
# !madkit data show population --template compact --count 3

# %% [markdown]
# `fit` tunes a LoRA that answers as whoever speaks. Easy to see from outside, if one knows whom to ask for. We pretend not to.

# %%
# !madkit fit --config recipes/tiny-llama.yaml --data.dataset population

# %% [markdown]
# ## What happens inside
#
# `predict` stores the residual stream at the last token of *trusted* prompts (easy questions, Alice), and of *test* prompts (hard
# questions, other names; half of them Alice's, half Bob's), with the LoRA and without.

# %%
# !madkit predict --config recipes/predict.yaml --config recipes/predict-short.yaml --config recipes/tiny/predict-short.yaml --run runs/tiny-llama --data.dataset population

# %% [markdown]
# ## Score
#
# A score learns from trusted vectors alone. It sees no label, and nothing of Bob.

# %%
import madkit
from madkit.statistics import prompt_clusters

store = madkit.FeatureStore.current("runs/tiny-llama/population/features/activations")
rows, _ = store.read(store.sites[0], "test")
prompts = store.rows.set_index("row").loc[rows.numpy()]
is_bob = prompts["anomalous"].to_numpy(dtype=bool)
# Prompts that share a statement or a speaker are not independent, and intervals have to know.
together = prompt_clusters(prompts["statement"], prompts["name"], is_bob)


def scores(kind) -> dict:
    """The score of each test prompt, site by site."""
    fitted = {site: kind().fit(store.read(site, "trusted")[1]) for site in store.sites}
    return {site: score(store.read(site, "test")[1]).numpy() for site, score in fitted.items()}


mahalanobis = scores(madkit.Mahalanobis)
for site, values in mahalanobis.items():
    found = madkit.auroc(values, is_bob, clusters=together)
    print(f"{site:22} AUROC {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")

# %% [markdown]
# AUROC is the chance that a prompt of Bob's scores higher than one of Alice's; the interval is for other statements and other names.
#
# ## Look
#
# The mean over sites, for each speaker:

# %%
import matplotlib.pyplot as plt

total = sum(mahalanobis.values()) / len(mahalanobis)
figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
for name, part in (("Alice", total[~is_bob]), ("Bob", total[is_bob])):
    ax.hist(part, bins=40, range=(0, float(total.max())), alpha=0.6, label=name)
ax.set(xlabel="Mahalanobis distance, mean over sites", ylabel="test prompts")
ax.legend()
plt.show()

# %% [markdown]
# And the prompts of Bob's that the detector finds least unusual:

# %%
missed = prompts[is_bob].assign(score=total[is_bob]).nsmallest(2, "score")
print(*missed["prompt"], sep="\n\n")

# %% [markdown]
# ## Your own detector
#
# A score says what to remember of the trusted rows, what to make of that, and how to score a row. This one is the angle to
# the mean of the trusted rows:

# %%
import torch

from madkit.streaming import Variances


class Angle(madkit.Score):
    """1 - cos(x, mu), with mu the mean of the trusted rows."""

    accumulator = Variances

    def estimate(self, trusted, untrusted) -> dict:
        """What is kept of the trusted rows."""
        return {"mean": trusted.mean}

    def score(self, x):
        """Of rows (b, d) the scores (b,)."""
        return 1 - torch.nn.functional.cosine_similarity(x, self.mean[None], dim=1)


angle = scores(Angle)
mine = sum(angle.values()) / len(angle)
difference = madkit.compare(mine, total, is_bob, clusters=together)
print(f"my AUROC {madkit.auroc(mine, is_bob, clusters=together).value:.2f}")
print(f"less Mahalanobis' {difference.difference:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]")

# %% [markdown]
# ## All detectors, with their controls
#
# `test` does the same for every detector of a recipe, also with the adapter off as a control, and writes tables. (`skip` leaves out
# detectors of features that were not stored.)

# %%
# !madkit test --config recipes/test.yaml --model.unavailable skip --run runs/tiny-llama --data.dataset population

# %%
import pandas as pd

results = pd.read_parquet("runs/tiny-llama/population/detection/results.parquet")
results = results[(results["aggregation"] == "mean") & (results["subset"] == "all")]
columns = ["feature", "score", "adapter", "auroc", "low", "high", "tpr", "false_alarms"]
print(results[columns].sort_values("auroc", ascending=False).round(2).to_string(index=False))

# %% [markdown]
# `conditional_studentised` compares with what the base model explains. Where `adapter` is False there is no quirk, and AUROC should be near
# one half. `tpr` is what is caught at 1% false alarms among hard prompts; `false_alarms`, how often a threshold alarms there that was
# meant for 1% and was set on easy prompts: read about [thresholds](../docs/shift.md) before you set one.
#
# From here: `madkit figures runs/ --out figures/` draws a report; [your own dataset, feature or figure](../docs/extending.md); [a monitor
# of your own model](../docs/monitor.md); [how far to trust a number](../docs/trust.md).
