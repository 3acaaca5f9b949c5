"""Distance to the nearest trusted rows."""

from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError, DataError
from madkit.scores.common.approximate_neighbours import (
    faiss_version,
    index_on_device,
    recall_of,
    require_index,
    shared_index,
)
from madkit.scores.common.duplicates import warn_of_duplicates
from madkit.scores.common.neighbours import NeighbourIndex
from madkit.scores.common.projection import unit_length
from madkit.scores.common.score import Score
from madkit.streaming.pool import Pool


class KNearestNeighbours(Score):
    """Distance to the k-th nearest trusted row, or the mean distance to the k nearest.

    Formula: |x - t_k|, with t_1, ..., t_k the trusted rows nearest to x; with `reduce` "mean" the mean over j of
    |x - t_j|; with `metric` "cosine" 1 - cos(x, t_j) instead of |x - t_j|.

    Source: Ramaswamy, Rastogi and Shim (2000), with the mean Angiulli and Pizzuti (2002); on features of networks
    Sun et al. (2022), arXiv 2204.06507, who divide vectors by their length: the order of `metric` "cosine" with
    `reduce` "kth".

    Blind to: differences of density: a row between two tight clusters counts like one at the rim of a wide one,
    which `LocalOutlierFactor` tells apart. Features of large variance drown the others. With "cosine" also to the
    length of a vector. Duplicates: k equal trusted rows are the k neighbours of everything near them, so that the score
    there is the distance to a single row; a warning says so when there are more than k.

    Use when: the trusted prompts are not one cloud and there are some hundreds of them or more; "cosine" where
    the lengths of vectors differ for reasons that do not matter. It shares its search with `LocalOutlierFactor`.

    Args:
        k: number of neighbours, at most the number of trusted rows.
        metric: "euclidean", or "cosine", which divides every row by its Euclidean length first.
        reduce: "kth" or "mean".
        index: "exact", or "ivf": the approximate search of FAISS (the extra ``madkit-lm[faiss]``), for more than about
            a hundred thousand trusted rows. The share of the exact neighbours that it finds, of a sample of trusted
            rows, is the fitted score's `recall`, which results keep; below 0.9 it warns.
        probes: with "ivf", how many of its cells a search reads; more find more and take longer.

    Raises:
        ConfigError: an argument is out of range, or FAISS is missing.
        DataError: when fitting, k is more than the number of trusted rows. With "cosine", a row of zeros, which
            has no direction.

    Example:
        >>> import torch
        >>> trusted = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
        >>> KNearestNeighbours(k=2).fit(trusted)(torch.tensor([[0.0, 0.0], [6.0, 0.0]]))
        tensor([2., 5.], dtype=torch.float64)
        >>> KNearestNeighbours(k=3, metric="cosine").fit(trusted)(torch.tensor([[7.0, 0.0]]))
        tensor([1.0000], dtype=torch.float64)
    """

    accumulator = Pool
    short = "knn"
    pool: Tensor
    recall: Tensor

    def __init__(
        self, k: int = 20, metric: str = "euclidean", reduce: str = "kth", index: str = "exact", probes: int = 32
    ) -> None:
        super().__init__()
        if k < 1 or k % 1:
            raise ConfigError(f"k={k} is out of range: give a whole number of neighbours, at least 1")
        if metric not in ("euclidean", "cosine"):
            raise ConfigError(f"metric={metric!r} is unknown: give 'euclidean' or 'cosine'")
        if reduce not in ("kth", "mean"):
            raise ConfigError(f"reduce={reduce!r} is unknown: give 'kth' or 'mean'")
        self.k, self.metric, self.reduce = int(k), metric, reduce
        require_index(index, probes)
        self.index, self.probes = index, int(probes)
        self.neighbours = self.k
        if metric == "cosine":
            self.prepare = unit_length
        self._index: NeighbourIndex | None = None

    @property
    @override
    def _libraries(self) -> dict[str, str]:
        return faiss_version() if self.index == "ivf" else {}

    @override
    def estimate(self, trusted: Tensor, untrusted: None) -> dict[str, Tensor]:
        if self.k > len(trusted):
            raise DataError(f"k={self.k} is more than the {len(trusted)} trusted rows: lower k or add rows")
        warn_of_duplicates(trusted, self.k, self.name, "the score near them is the distance to a single row")
        self._index = shared_index(trusted, self.index, self.probes)
        return {"pool": trusted} | recall_of(self._index, self.k, self.name)

    @override
    def score(self, x: Tensor) -> Tensor:
        self._index = index_on_device(self._index, self.pool, self.index, self.probes)
        distances = self._index.nearest(x, self.k).distances
        if self.metric == "cosine":
            # Of unit vectors; keeps the digits of small angles, which 1 minus a product loses.
            distances = distances.square() / 2
        return distances[:, -1] if self.reduce == "kth" else distances.mean(1)
