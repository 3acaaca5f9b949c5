"""Approximate nearest neighbours by FAISS: rows in cells, of which a search opens the nearest few."""

from __future__ import annotations

import warnings
from importlib import metadata
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.scores.common.centred_rows import CentredRows
from madkit.scores.common.memo import shared
from madkit.scores.common.neighbours import SPARE, NeighbourIndex, Neighbours

#: Indices by name, as scores take them.
INDICES = ("exact", "ivf")
#: Rows from which a cell is learned at least; FAISS warns of fewer.
PER_CELL = 39
#: Trusted rows on which the recall is measured.
SAMPLE = 256
#: Recall below which a score warns.
LOW = 0.9
#: Rows whose candidates are compared at a time.
ROWS = 2**13


def require_index(index: str, probes: int) -> None:
    """Check the options of a search.

    Raises:
        ConfigError: an index that does not exist, a package that is missing, or a number that is out of range.
    """
    if index not in INDICES:
        raise ConfigError(f"index={index!r} is unknown: give {' or '.join(map(repr, INDICES))}")
    if probes < 1 or probes % 1:
        raise ConfigError(f"probes={probes} is out of range: give a whole number of cells, at least 1")
    if index == "ivf":
        _faiss()


def faiss_version() -> dict[str, str]:
    """What a saved score with an approximate index needs again: another version may learn other cells."""
    return {"faiss-cpu": metadata.version("faiss-cpu")}


class IvfIndex(NeighbourIndex):
    """An inverted file (Johnson, Douze and Jegou 2019, arXiv 1702.08734): k-means cells, the nearest of which are read.

    Candidates come from FAISS in float32; their distances are float64, as those of an exact search. A query for which
    FAISS finds fewer than k rows is searched exactly.

    Args:
        rows: (n, d) float64.
        probes: how many cells a search opens; all of them make it exact but for rounding of candidates.
    """

    def __init__(self, rows: Tensor, probes: int) -> None:
        super().__init__(rows)
        faiss = _faiss()
        n, d = rows.shape
        # About four times the square root of n, as its authors advise.
        cells = max(1, min(int(4 * n**0.5), n // PER_CELL))
        self._cells = faiss.IndexIVFFlat(faiss.IndexFlatL2(d), d, cells)
        self._cells.nprobe = min(probes, cells)
        # One thread: the same cells whatever else the machine does. A search is the same with any number.
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            self._cells.train(_float32(self.centred))
        finally:
            faiss.omp_set_num_threads(threads)
        self._cells.add(_float32(self.centred))

    @override
    def found(self, queries: CentredRows, itself: Tensor | None, k: int) -> Neighbours:
        blocks = torch.arange(len(queries), device=self.rows.device).split(ROWS)
        parts = [
            self._found(queries.part(block), None if itself is None else itself[block], k)
            for block in (blocks if len(queries) else ())
        ]
        if not parts:
            return super().found(queries, itself, k)
        return Neighbours(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def recall(self, k: int) -> float:
        """The share of the k nearest other rows that are found, of up to `SAMPLE` rows that are searched exactly too.

        A row counts that is no further than the k-th nearest one.
        """
        k = min(k, len(self.rows) - 1)
        if not k:
            return 1.0
        sample = min(len(self.rows), SAMPLE)
        chosen = torch.arange(sample, device=self.rows.device) * len(self.rows) // sample
        asked = self.centred.part(chosen), chosen, k
        found, exact = self.found(*asked), super().found(*asked)
        return float((found.distances <= exact.distances[:, -1:] * (1 + 1e-12)).double().mean())

    def _found(self, queries: CentredRows, itself: Tensor | None, k: int) -> Neighbours:
        width = min(k + SPARE, len(self.rows))
        numbers = torch.from_numpy(self._cells.search(_float32(queries), width)[1]).to(self.rows.device)
        # In ascending order, so that ties go to the lower index; no row, and the query itself, are infinitely far.
        numbers = numbers.sort(dim=1).values
        wanted = numbers >= 0 if itself is None else (numbers >= 0) & (numbers != itself[:, None])
        candidates = numbers.clamp(min=0)
        squared, order = self._squared(queries, candidates, wanted).sort(dim=1, stable=True)
        nearest = Neighbours(squared[:, :k].sqrt(), candidates.gather(1, order)[:, :k])
        lacking = (~torch.isfinite(nearest.distances[:, -1]) | queries.far).nonzero()[:, 0]
        if len(lacking):
            own = None if itself is None else itself[lacking]
            nearest.distances[lacking], nearest.indices[lacking] = super().found(queries.part(lacking), own, k)
        return nearest


@shared
def shared_index(rows: Tensor, index: str, probes: int) -> NeighbourIndex:
    """The index of rows (n, d) float64."""
    return IvfIndex(rows, probes) if index == "ivf" else NeighbourIndex(rows)


def index_on_device(known: NeighbourIndex | None, rows: Tensor, index: str, probes: int) -> NeighbourIndex:
    """Return a known index of rows, or make one where there is none or the rows have moved to another device."""
    return known if known is not None and known.rows.device == rows.device else shared_index(rows, index, probes)


def recall_of(known: NeighbourIndex, k: int, name: str) -> dict[str, Tensor]:
    """Of an approximate index what a score keeps of it: ``recall``, a scalar. Of an exact one nothing."""
    if not isinstance(known, IvfIndex):
        return {}
    recall = known.recall(k)
    if recall < LOW:
        warnings.warn(
            f"{name} finds {recall:.0%} of the {k} nearest trusted rows, of {len(known.rows)}: raise probes",
            stacklevel=2,
        )
    return {"recall": known.rows.new_tensor(recall)}


def _float32(rows: CentredRows) -> Any:
    """A row that is too far for float32 is at the centre there."""
    return rows.copy(torch.float32)[0].cpu().contiguous().numpy()


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "index='ivf' needs the package faiss-cpu: pip install 'madkit-lm[faiss]', or choose index='exact'"
        ) from error
    return faiss
