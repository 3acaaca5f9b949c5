"""A new score in 20 lines, tried on every layer of a stored run.

    python examples/new_score.py runs/tiny-llama/addition

The score is the angle between a prompt's vector and the mean of the trusted ones. To use it in a recipe, name it as
`examples.new_score.Angle` (see `my_detector.yaml`); madkit streams, merges over processes, saves and loads it.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from madkit import FeatureStore
from madkit.scores import Score
from madkit.statistics import Interval, auroc, prompt_clusters
from madkit.streaming import FeatureStatistics, Variances


class Angle(Score):
    """1 - cos(x, mu), with mu the mean of the trusted rows."""

    # What to remember of the trusted rows: of mean and variances the mean is enough.
    accumulator = Variances

    def estimate(self, trusted: FeatureStatistics, untrusted: None) -> dict[str, Tensor]:
        """What to make of it."""
        return {"mean": trusted.mean}

    def score(self, x: Tensor) -> Tensor:
        """Of each row (b, d) the score (b,), higher = more anomalous."""
        return 1 - torch.nn.functional.cosine_similarity(x, self.mean[None], dim=1)


def main(run: str | Path) -> dict[str, Interval]:
    """Print the AUROC of the score at each layer of a run folder's activations."""
    store = FeatureStore.current(Path(run) / "features" / "activations")
    prompts = store.rows.set_index("row")
    found = {}
    for site in store.sites:
        score = Angle().fit(store.read(site, "trusted")[1])
        rows, test = store.read(site, "test")
        part = prompts.loc[rows.numpy()]
        labels = part["anomalous"].to_numpy(dtype=bool)
        together = prompt_clusters(part["statement"], part["name"], labels)
        found[site] = auroc(score(test), labels, clusters=together)
        print(f"{site:24} AUROC {found[site].value:.3f} [{found[site].low:.3f}, {found[site].high:.3f}]")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
