"""SiteDetectors: what is fitted of a monitor: a score at each site, and how they become one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.derived import DerivedFeature, DerivedSite
from madkit.detection.data import Feed, SiteBlocks
from madkit.detection.detector import Detector
from madkit.errors import DataError
from madkit.scores import Score
from madkit.statistics import aggregate
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant
from madkit.streaming.validation import sparse_rows

#: What is said of a prompt before the scores at its sites, in one table with them.
COLUMNS = ("score", "p_value", "alarm", "sites")
_BLOCK = 4096


@dataclass
class SiteDetector:
    """A fitted score at a site.

    Args:
        site: the site, and the vectors that it is made of.
        score: the score.
        made: how vectors are made of stored ones; None where they are one stored feature.
    """

    site: DerivedSite
    score: Score
    made: DerivedFeature | None = None

    def __call__(self, sources: list[Tensor]) -> Tensor:
        """Scores (b,) float64 of prompts whose source vectors are (b, d_i)."""
        return self.score(sources[0] if self.made is None else self.made(sources))

    def to(self, device: torch.device) -> None:
        """Take what is fitted to a device."""
        self.score.to(device)
        if self.made is not None:
            self.made.to(device)


@dataclass
class SiteDetectors:
    """The fitted scores of all sites.

    Args:
        sites: one for each site.
        aggregation: how scores at all sites become one; see `madkit.statistics.aggregate`.
        widths: the lengths of the vectors of sparse sites, by feature.
        scale: scores (k, sites) of the trusted prompts by which sites are measured: others than those that the scores
            were fitted on, and than those that p-values are taken among, so that these keep their promise.
    """

    sites: list[SiteDetector]
    aggregation: str
    widths: dict[Variant, dict[str, int]]
    scale: NDArray[np.float64]

    @property
    def names(self) -> list[str]:
        """Names of the sites."""
        return [each.site.name for each in self.sites]

    def site_scores(self, vectors: Mapping[Variant, Mapping[str, Tensor]]) -> Tensor:
        """Scores (b, sites) float64 of b prompts, from their vectors by feature and site."""
        columns = [each([self._vectors(vectors[v], v, name) for v, name in each.site.sources]) for each in self.sites]
        return torch.stack(columns, dim=1)

    def total(self, site_scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """One score (n,) for each prompt, from those at all sites (n, sites)."""
        return aggregate(self.aggregation, site_scores, self.scale)

    def to(self, device: torch.device) -> None:
        """Take what is fitted to a device."""
        for each in self.sites:
            each.to(device)

    def _vectors(self, vectors: Mapping[str, Tensor], variant: Variant, site: str) -> Tensor:
        width = self.widths.get(variant, {}).get(site)
        if width is None:
            return vectors[site]
        return sparse_rows(vectors[f"{site}.indices"].long(), vectors[f"{site}.values"], width)


def fit_sites(
    detector: Detector, stores: Mapping[Variant, FeatureStore], device: torch.device
) -> tuple[list[SiteDetector], NDArray[np.float64]]:
    """Fit a detector at each site on the stored trusted prompts, and score the held-out ones.

    Args:
        detector: a feature and a score; it stays as it is.
        stores: of the features that it reads, with the splits ``trusted`` and ``calibration``.
        device: where to compute.

    Returns:
        The fitted scores, and those (m, sites) of the prompts of the split ``calibration``.

    Raises:
        DataError: a site is called like another column of the table of scores.
    """
    sites = _sites(detector, stores)
    if taken := [site.name for site in sites if site.name in COLUMNS]:
        raise DataError(f"site {taken[0]!r} is called like a column of the scores ({', '.join(COLUMNS)}): rename it")
    fitted, columns = [], []
    for site in sites:
        score = copy.deepcopy(detector.score).to(device)
        made = copy.deepcopy(detector.derived).to(device) if detector.derived is not None else None
        feeds = [Feed("trusted", "trusted"), Feed("calibration", "calibration")]
        if made is not None and made.accumulator is not None:
            feeds.insert(0, Feed("source", "trusted"))
        each = SiteDetector(site, score, made)
        held_out: list[Tensor] = []
        blocks = SiteBlocks(detector.variant, site, stores, feeds, _BLOCK, 0, 1)
        for block in (blocks[i] for i in range(len(blocks))):
            sources = [x.to(device) for x in block["sources"]]
            if block["role"] == "source" and made is not None:
                made.update(sources)
            elif block["role"] == "trusted":
                score.update(sources[0] if made is None else made(sources, trusted=True))
            else:
                score.finalize()
                held_out.append(each(sources).cpu())
        fitted.append(each)
        columns.append(torch.cat(held_out))
    return fitted, torch.stack(columns, dim=1).numpy()


def _sites(detector: Detector, stores: Mapping[Variant, FeatureStore]) -> list[DerivedSite]:
    if detector.derived is not None:
        return detector.derived.sites(stores)
    store = stores[detector.variant]
    return [DerivedSite(site, store.layers[site], ((detector.variant, site),)) for site in store.sites]
