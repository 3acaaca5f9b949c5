"""Which test prompts a number is about, and which of them belong together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SUBSETS = ("all", "agree", "disagree")

#: Names of each class from which other names can be judged: below, the spread between names is a guess.
LEAST_NAMES = 4


class Subset(NamedTuple):
    """Some of the test prompts."""

    rows: pd.Index
    """Their row numbers."""
    labels: NDArray[np.bool_]
    """(n,) which are anomalous."""
    clusters: tuple[NDArray[np.int64], ...]
    """(n,) the statement of each, and its speaker where there are names enough; what `auroc` takes as `clusters`."""

    @property
    def counts(self) -> dict[str, int]:
        """How many prompts, and how many statements they share."""
        n_statements = len(np.unique(self.clusters[0]))
        n_anomalous = int(self.labels.sum())
        return {"n_normal": len(self.labels) - n_anomalous, "n_anomalous": n_anomalous, "n_statements": n_statements}


def contested(prompts: pd.DataFrame) -> dict[str, Subset]:
    """All prompts, and those on which truth and quirk agree or disagree.

    Prompts of one statement, asked under other names and in other words, are one cluster. So are those of one speaker's
    name, crossing the statements: a detector may take a name itself for normal or anomalous, and its numbers are meant
    for other names than the test's. How much names matter is judged from the differences between the names of one
    character, as a name belongs to one. From fewer than `LEAST_NAMES` a character that cannot be done; then intervals
    are about these names.

    Args:
        prompts: row, statement, name, anomalous, alice_label, bob_label.

    Returns:
        By name, without subsets in which only one kind of prompt occurs: they have no AUROC.
    """
    agree = (prompts["alice_label"].astype(bool) == prompts["bob_label"].astype(bool)).to_numpy()
    members = {"all": np.ones(len(prompts), dtype=bool), "agree": agree, "disagree": ~agree}
    anomalous = prompts["anomalous"].to_numpy(dtype=bool)
    statements, names = (pd.factorize(prompts[column])[0].astype(np.int64) for column in ("statement", "name"))
    found = {}
    for subset in SUBSETS:
        member = members[subset]
        labels = anomalous[member]
        if labels.all() or not labels.any():
            continue
        clusters: tuple[NDArray[np.int64], ...] = (statements[member],)
        if min(len(np.unique(names[member][labels == kind])) for kind in (False, True)) >= LEAST_NAMES:
            clusters = (*clusters, names[member])
        found[subset] = Subset(pd.Index(prompts["row"].to_numpy()[member]), labels, clusters)
    return found
