"""Detection against prevalence: offline scores that learn from untrusted prompts with few or many anomalous ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.detection.detector import Assumptions
from madkit.detection.result_tables import LOW
from madkit.detection.subsets import Subset
from madkit.errors import DataError
from madkit.scores import ScoreCollection
from madkit.statistics.auroc_interval import auroc_all
from madkit.statistics.low_fpr_statistics import low_fpr_all
from madkit.store.variant import Variant

_SEED = 0
_COLUMNS = [
    "feature", "adapter", "score", "aggregation", "setting", "untrusted", "needs", "prevalence", "n_untrusted",
    "n_untrusted_anomalous", "auroc", "low", "high", "tpr", "tpr_low", "tpr_high", "n_normal", "n_anomalous",
]  # fmt: skip


class Mixture(NamedTuple):
    """Untrusted prompts of which a share is anomalous."""

    rows: NDArray[np.int64]
    """(n,) their row numbers, ascending."""
    n_anomalous: int


def mixtures(untrusted: pd.DataFrame, shares: Sequence[float]) -> dict[float, Mixture]:
    """Untrusted prompts, of each share of anomalous ones as many as there can be.

    A larger share holds the anomalous prompts of a smaller one, where it has as many normal ones.

    Args:
        untrusted: the prompts, with `row` and `anomalous`.
        shares: of anomalous prompts.

    Raises:
        DataError: there are too few prompts for a share.

    Example:
        >>> prompts = pd.DataFrame({"row": range(100), "anomalous": [False, True] * 50})
        >>> {share: (len(mix.rows), mix.n_anomalous) for share, mix in mixtures(prompts, [0.1, 0.5]).items()}
        {0.1: (56, 6), 0.5: (100, 50)}
    """
    anomalous = untrusted["anomalous"].to_numpy(dtype=bool)
    rng = np.random.default_rng(_SEED)
    normal, quirky = (rng.permutation(np.flatnonzero(anomalous == kind)) for kind in (False, True))
    found = {}
    for share in shares:
        most = min(len(normal) / (1 - share), len(quirky) / share)
        n_anomalous = round(most * share)
        n_normal = min(round(most * (1 - share)), len(normal))
        if min(n_anomalous, n_normal) < 1:
            raise DataError(
                f"prevalence {share}: {len(normal)} normal and {len(quirky)} anomalous untrusted prompts are too few; "
                "raise data.max_untrusted of `madkit predict`"
            )
        chosen = np.concatenate([normal[:n_normal], quirky[:n_anomalous]])
        found[share] = Mixture(np.sort(untrusted["row"].to_numpy()[chosen]), n_anomalous)
    return found


class MixedScores:
    """Offline scores of one site, fitted on each mixture.

    Args:
        scores: of each share a collection of the scores.
        chosen: of each share the mixture.
    """

    def __init__(self, scores: Mapping[float, ScoreCollection], chosen: Mapping[float, Mixture]) -> None:
        self.scores = scores
        self._rows = {share: torch.from_numpy(mixture.rows) for share, mixture in chosen.items()}

    def update(self, rows: Tensor, x: Tensor, untrusted: bool) -> None:
        """Learn from vectors x (n, d) with the numbers of their rows (n,)."""
        for share, scores in self.scores.items():
            kept = torch.isin(rows, self._rows[share].to(rows.device)) if untrusted else None
            part = x if kept is None else x.index_select(0, kept.nonzero()[:, 0])
            scores.update(part, untrusted=untrusted)

    def __call__(self, x: Tensor) -> Tensor:
        """Scores (n, shares x scores) of vectors x (n, d), share after share."""
        columns = []
        for scores in self.scores.values():
            scores.finalize()
            columns += list(scores(x).values())
        return torch.stack(columns, dim=1)


def prevalence_table(
    scores: Mapping[float, pd.DataFrame],
    chosen: Mapping[float, Mixture],
    subset: Subset,
    settings: Mapping[tuple[Variant, str], Assumptions],
) -> pd.DataFrame:
    """AUROC and TPR at 1% FPR on the test prompts, of offline detectors that have learned from each mixture.

    Args:
        scores: of each share, as `madkit.detection.result_tables.scores_table`.
        chosen: of each share the mixture.
        subset: the test prompts, in row order.
        settings: of each detector, what it is told and needs.

    Returns:
        A row for each share and aggregated detector, with 95% intervals as the results have them.
    """
    keys = ["feature", "adapter", "score", "aggregation"]
    lines = []
    for share, table in scores.items():
        groups = list(table[table["site"] == "aggregate"].groupby(keys, sort=False))
        if not groups:
            continue
        values = np.stack([part.set_index("row")["value"].loc[subset.rows].to_numpy() for _, part in groups])
        areas = auroc_all(values, subset.labels, clusters=subset.clusters)
        rare = low_fpr_all(values, subset.labels, LOW, clusters=subset.clusters)
        for (key, _), area, low in zip(groups, areas, rare, strict=True):
            variant = Variant(str(key[0]), bool(key[1]))
            line = {**dict(zip(keys, key, strict=True)), **settings[variant, str(key[2])]._asdict()}
            line |= {"prevalence": share, "n_untrusted": len(chosen[share].rows)}
            line |= {"n_untrusted_anomalous": chosen[share].n_anomalous}
            line |= {"auroc": area.value, "low": area.low, "high": area.high}
            line |= {"tpr": low.tpr.value, "tpr_low": low.tpr.low, "tpr_high": low.tpr.high}
            line |= {name: subset.counts[name] for name in ("n_normal", "n_anomalous")}
            lines.append(line)
    return pd.DataFrame(lines, columns=_COLUMNS)
