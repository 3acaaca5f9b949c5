"""Which test prompts a number is about, and which of them belong together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.statistics.clustered_prompts import prompt_clusters
from madkit.statistics.clusters import Groupings, cluster_codes
from madkit.store.prompt_rows import answers_known

SUBSETS = ("all", "agree", "disagree")


class Subset(NamedTuple):
    """Some of the test prompts."""

    rows: pd.Index
    """Their row numbers."""
    labels: NDArray[np.bool_]
    """(n,) which are anomalous."""
    clusters: Groupings
    """(n,) the statement of each, and its speaker where there are names enough; what `auroc` takes as `clusters`."""

    @property
    def counts(self) -> dict[str, int]:
        """How many prompts, and how many statements they share."""
        n_statements = len(np.unique(self.clusters[0]))
        n_anomalous = int(self.labels.sum())
        return {"n_normal": len(self.labels) - n_anomalous, "n_anomalous": n_anomalous, "n_statements": n_statements}


def contested(prompts: pd.DataFrame) -> dict[str, Subset]:
    """All prompts, and those on which truth and quirk agree or disagree.

    Which of them belong together, `madkit.statistics.clustered_prompts` says.

    Args:
        prompts: row, statement, name, anomalous and, where it is known what is right to answer, alice_label, bob_label.

    Returns:
        By name, without subsets in which only one kind of prompt occurs, which have no AUROC, or that are not known.
    """
    members = {"all": np.ones(len(prompts), dtype=bool)}
    if answers_known(prompts):
        agree = (prompts["alice_label"].astype(bool) == prompts["bob_label"].astype(bool)).to_numpy()
        members |= {"agree": agree, "disagree": ~agree}
    anomalous = prompts["anomalous"].to_numpy(dtype=bool)
    found = {}
    for subset, member in members.items():
        part, labels = prompts[member], anomalous[member]
        if labels.any() and not labels.all():
            clusters = cluster_codes(prompt_clusters(part["statement"], part["name"], labels), len(labels))
            found[subset] = Subset(pd.Index(part["row"].to_numpy()), labels, clusters)
    return found
