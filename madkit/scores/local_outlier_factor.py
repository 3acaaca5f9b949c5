"""Local outlier factor: how much sparser a row lies than its trusted neighbours do."""

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
from madkit.scores.common.score import Score
from madkit.streaming.pool import Pool

# Added to every mean distance, as scikit-learn does, so that duplicates have a density.
TINY = 1e-10


class LocalOutlierFactor(Score):
    """How much sparser a row lies than its trusted neighbours do: about 1 inside, larger outside.

    Formula: mean over j of r(t_j) / r(x), with t_1, ..., t_k the trusted rows nearest to x and r(x) one over the mean
    over j of max(|x - t_j|, kdist(t_j)), where kdist is the distance to the k-th neighbour.

    Source: Breunig, Kriegel, Ng and Sander (2000), SIGMOD. "simplified": Schubert, Zimek and Kriegel (2014).

    Blind to: distance as such: beside a sparse cluster a row may be far off and ordinary. Features of large variance
    drown the others, and with very many features all distances are about equal. A group of more than k anomalies among
    the trusted rows is normal to it. Duplicates: where more than k trusted rows are equal, their density is without
    bound (1e10 stands for it), so that a row beside them gets about its distance times 1e10, however near, while a far
    row whose neighbours are others keeps an ordinary score. Such numbers say nothing, they rule the mean over sites,
    and a warning names them when the score is fitted.

    Use when: the trusted prompts are several clusters of different density, and some hundreds or more.

    Neighbours, their k-distances and their densities come from the trusted rows only. Equals scikit-learn's
    ``LocalOutlierFactor(n_neighbors=k, novelty=True)`` with the sign changed. Exactly k neighbours count;
    where different rows tie for the last of them, the values of the rows decide and not their order.

    Args:
        k: number of neighbours, less than the number of trusted rows; 20 in the published study,
            arXiv 2504.08812.
        variant: "breunig", or "simplified", where the density of a point is one over its k-distance: the mean
            over neighbours of kdist(x) / kdist(neighbour). Published numbers are of this kind, with the test batch
            among the neighbours.
        index: "exact", or "ivf": the approximate search of FAISS (the extra ``madkit-lm[faiss]``), for more than about
            a hundred thousand trusted rows. The share of the exact neighbours that it finds, of a sample of trusted
            rows, is the fitted score's `recall`, which results keep; below 0.9 it warns.
        probes: with "ivf", how many of its cells a search reads; more find more and take longer.

    Raises:
        ConfigError: an argument is out of range, or FAISS is missing.
        DataError: when fitting, k is not less than the number of trusted rows.

    Example:
        >>> import torch
        >>> trusted = torch.arange(10.0)[:, None]
        >>> LocalOutlierFactor(k=2).fit(trusted)(torch.tensor([[4.5], [20.0]]))
        tensor([1.0000, 7.6667], dtype=torch.float64)
    """

    accumulator = Pool
    short = "lof"
    pool: Tensor
    recall: Tensor
    reach: Tensor
    density: Tensor

    def __init__(self, k: int = 20, variant: str = "breunig", index: str = "exact", probes: int = 32) -> None:
        super().__init__()
        if k < 1 or k % 1:
            raise ConfigError(f"k={k} is out of range: give a whole number of neighbours, at least 1")
        if variant not in ("breunig", "simplified"):
            raise ConfigError(f"variant={variant!r} is unknown: give 'breunig' or 'simplified'")
        self.k, self.variant = int(k), variant
        require_index(index, probes)
        self.index, self.probes = index, int(probes)
        self.neighbours = self.k
        self._index: NeighbourIndex | None = None

    @property
    @override
    def _libraries(self) -> dict[str, str]:
        return faiss_version() if self.index == "ivf" else {}

    @override
    def estimate(self, trusted: Tensor, untrusted: None) -> dict[str, Tensor]:
        if self.k >= len(trusted):
            raise DataError(f"k={self.k} is not less than the {len(trusted)} trusted rows: lower k or add rows")
        self._index = shared_index(trusted, self.index, self.probes)
        warn_of_duplicates(trusted, self.k, self.name, "rows beside them get scores without bound")
        distances, neighbours = self._index.nearest_others(self.k)
        reach = distances[:, -1].clone()
        fitted = {"pool": trusted, "reach": reach, "density": self._density(distances, reach[neighbours])}
        return fitted | recall_of(self._index, self.k, self.name)

    @override
    def score(self, x: Tensor) -> Tensor:
        self._index = index_on_device(self._index, self.pool, self.index, self.probes)
        distances, neighbours = self._index.nearest(x, self.k)
        density = self._density(distances, self.reach[neighbours])
        return self.density[neighbours].mean(1) / density

    def _density(self, distances: Tensor, reach: Tensor) -> Tensor:
        if self.variant == "simplified":
            return 1 / (distances[:, -1] + TINY)
        return 1 / (distances.maximum(reach).mean(1) + TINY)
