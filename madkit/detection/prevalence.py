"""Detection against prevalence: offline scores that learn from untrusted prompts with few or many anomalous ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.detection.detector import Assumptions
from madkit.detection.result_tables import LOW, scores_table
from madkit.detection.row_pools import gathered, keep
from madkit.detection.site_scores import SiteKey, SiteScores
from madkit.detection.subsets import Subset
from madkit.errors import DataError
from madkit.scores import Score, ScoreCollection
from madkit.statistics.aggregation import CALIBRATED
from madkit.statistics.auroc_interval import auroc_all
from madkit.statistics.low_fpr_statistics import low_fpr_all
from madkit.store.variant import Variant
from madkit.streaming.pool import Pool

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


class Prevalences:
    """Collects one site after the other what offline scores find that have learned from each mixture.

    Args:
        shares: of anomalous prompts in the mixtures; with none, nothing is collected.

    Attributes:
        mixtures: of each share.
        sites: of each share the scores of all finished sites.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        self.shares = shares
        self.mixtures: dict[float, Mixture] = {}
        self.sites: dict[float, dict[SiteKey, SiteScores]] = {}
        self._scores: dict[float, ScoreCollection] = {}
        self._rows: dict[float, Tensor] = {}
        self._pool: Pool

    def start(self, untrusted: pd.DataFrame) -> None:
        """Mix untrusted prompts, with `row` and `anomalous`."""
        self.mixtures = mixtures(untrusted, self.shares)
        self._rows = {share: torch.from_numpy(mixture.rows) for share, mixture in self.mixtures.items()}

    @torch.inference_mode(False)
    def begin_site(self, scores: Sequence[Score], device: torch.device) -> None:
        """Forget the site before; these offline scores are fitted on each mixture, there may be none."""
        self._pool = Pool().to(device)
        shares = self.mixtures if scores else {}
        self._scores = {share: ScoreCollection(copy.deepcopy(list(scores))).to(device) for share in shares}

    def learn(self, rows: Tensor, x: Tensor, untrusted: bool) -> None:
        """Learn from vectors x (n, d) with the numbers of their rows (n,)."""
        for share, scores in self._scores.items():
            kept = torch.isin(rows, self._rows[share].to(rows.device)) if untrusted else None
            part = x if kept is None else x.index_select(0, kept.nonzero()[:, 0])
            scores.update(part, untrusted=untrusted)

    def add_test(self, rows: Tensor, x: Tensor) -> None:
        """Test prompts, after those that are learned from in all processes; every process has to come here."""
        columns: list[Tensor] = []
        for scores in self._scores.values():
            scores.finalize()
            columns += list(scores(x).values())
        if columns:
            keep(self._pool, rows, torch.stack(columns, dim=1))

    def end_site(self, key: SiteKey) -> None:
        """Gather the scores of the site, if there were any, and free the rest."""
        if self._scores:
            names = list(next(iter(self._scores.values())).names)
            rows, values = gathered(self._pool, len(names) * len(self._scores))
            nothing = np.empty(0, dtype=np.int64), np.empty((0, len(names)))
            for share, part in zip(self._scores, np.split(values, len(self._scores), axis=1), strict=True):
                self.sites.setdefault(share, {})[key] = SiteScores(names, rows, part, *nothing)
        self._scores = {}
        del self._pool

    def table(
        self,
        aggregations: Sequence[str],
        layers: Mapping[SiteKey, int | None],
        subset: Subset,
        settings: Mapping[tuple[Variant, str], Assumptions],
    ) -> pd.DataFrame | None:
        """The table of `prevalence_table`; None where nothing was collected.

        Args:
            aggregations: those of the recipe, of which the ones that need no calibration prompts are made.
            layers: the layer of each site.
            subset: the test prompts, in row order.
            settings: of each detector, what it is told and needs.
        """
        plain = [name for name in aggregations if name not in CALIBRATED]
        scores = {share: scores_table(sites, plain, layers) for share, sites in self.sites.items()}
        return prevalence_table(scores, self.mixtures, subset, settings) if scores else None


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
