"""Kinds of test prompts, such as those of a speaker, and the scores that detectors give to two of them."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.figures.results.results import Results
from madkit.statistics.clustered_prompts import prompt_clusters


class TwoKinds(NamedTuple):
    """What a detector gives to the n prompts of two kinds, in the form that `auroc` and its companions take."""

    feature: str
    score: str
    above: str
    """The kind that is asked about, and the one that it is compared with."""
    below: str
    values: NDArray[np.float64]
    labels: NDArray[np.bool_]
    """Whether each prompt is of the first kind."""
    clusters: tuple[NDArray[np.int64], ...]
    """Statements, and names where there are enough."""
    counts: dict[str, int]
    """How many prompts there are of every kind."""


def scores_of_kinds(
    results: Results,
    model: str,
    dataset: str,
    kind_of: Callable[[pd.DataFrame], NDArray[np.object_]],
    pairs: Iterable[tuple[str, str]],
) -> Iterator[TwoKinds]:
    """The scores of pairs of kinds by every detector that learns from no labels, the adapter on, mean over sites.

    Args:
        results: of the runs.
        model: the model's name.
        dataset: the dataset's.
        kind_of: of n test prompts the kind of each (n,).
        pairs: of kinds; one of which there is no prompt is left out.
    """
    own = results.detection[(results.detection["model"] == model) & (results.detection["dataset"] == dataset)]
    own = own[~own["control"] & (own["setting"] != "ceiling")]
    scores = results.scores(model, dataset, set(zip(own["feature"], own["score"], strict=True)))
    scores = scores[~scores["control"]]
    known = list(pairs)
    for (feature, score), part in scores.assign(kind=kind_of(scores)).groupby(["feature", "score"], sort=False):
        counts = {str(kind): int(n) for kind, n in part["kind"].value_counts().items()}
        for above, below in known:
            if {above, below} <= set(counts):
                both = part[part["kind"].isin([above, below])]
                labels = (both["kind"] == above).to_numpy()
                clusters = prompt_clusters(both["statement"], both["name"], labels)
                values = both["value"].to_numpy(float)
                yield TwoKinds(str(feature), str(score), above, below, values, labels, clusters, counts)
