"""Exact Euclidean nearest neighbours in bounded memory, at about the speed of a low-precision matrix product.

Candidates come from a product of all rows with all rows in bfloat16 or float32, whose error is bounded. Where that
leaves doubt the search is repeated with more digits, and at last with all rows that could be meant. The distances of
the candidates are always float64, and from differences where a product would lose digits.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from madkit.scores.common.distance_bounds import Centred, chosen_products, lower_bounds, precisions, rounding
from madkit.scores.common.memo import memory, place, shared

# Numbers of one block of work: 64 MiB in float64.
BLOCK = 2**23
# Candidates beyond k that usually contain everything within rounding error of the k-th.
SPARE = 16
# With fewer features than this, a product of chosen pairs saves nothing over differences.
FEW = 32
# Squared distances below this share of the squared lengths lose too many digits in a product.
CLOSE = 1e-3


class Neighbours(NamedTuple):
    """For each of m rows its k nearest: `distances` (m, k) float64, ascending, and `indices` (m, k) int64."""

    distances: Tensor
    indices: Tensor


class Index:
    """Rows to be searched, (n, d) float64, and what every search needs of them."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        # Norms far from the origin would swamp the differences in a product.
        self.centre = rows.mean(0)
        self.centred = Centred(rows - self.centre)

    def nearest(self, queries: Tensor, k: int) -> Neighbours:
        """Find the k rows nearest to each query; of equally distant ones the lower index comes first.

        Within a `sharing` block one search serves all who ask for the same neighbours, or for fewer of them.

        Args:
            queries: (m, d) float64.
            k: from 1 to n.
        """
        return self._remembered(queries, k, len(self.rows))

    def nearest_others(self, k: int) -> Neighbours:
        """The same for the rows themselves: a row is no neighbour of its own, but a duplicate of it is.

        Args:
            k: from 1 to n - 1.
        """
        return self._remembered(None, k, len(self.rows) - 1)

    def _remembered(self, queries: Tensor | None, k: int, limit: int) -> Neighbours:
        found = memory()
        if found is None:
            return self._search(queries, k)
        key = id(self), place(queries)
        known = found.results.get(key)
        if known is None or known[0].indices.shape[1] < k:
            known = self._search(queries, min(max(k, found.neighbours), limit)), (self, queries)
            found.results[key] = known
        return Neighbours(*(part[:, :k] for part in known[0]))

    def _search(self, queries: Tensor | None, k: int) -> Neighbours:
        rows = self.rows if queries is None else queries
        whole = self.centred if queries is None else Centred(queries - self.centre, self.centred.scale)
        found = Neighbours(rows.new_empty(len(rows), k), rows.new_empty(len(rows), k, dtype=torch.int64))
        numbers = torch.arange(len(rows), device=rows.device)
        for block in numbers.split(max(1, BLOCK // len(self.rows))) if len(rows) else ():
            left = block
            for dtype in precisions(rows.device):
                low = lower_bounds(whole.part(left), self.centred, dtype)
                if queries is None:
                    low[torch.arange(len(left), device=left.device), left] = torch.inf
                some, sure = self._refined(rows[left], whole.part(left), low, k)
                found.distances[left], found.indices[left] = some
                left, low = left[~sure], low[~sure]
                if not len(left):
                    break
            for i, bounds in zip(left.tolist(), low, strict=True):
                found.distances[i], found.indices[i] = self._all(rows[i], bounds, found.distances[i])
        return found

    def _refined(self, queries: Tensor, centred: Centred, low: Tensor, k: int) -> tuple[Neighbours, Tensor]:
        """The k nearest of the rows with the smallest bounds, and where no other row can be among them."""
        n = len(self.rows)
        width = min(k + SPARE, n)
        bounds, candidates = low.topk(width, dim=1, largest=False)
        candidates, order = candidates.sort(dim=1)
        itself = bounds.gather(1, order) == torch.inf
        squared, order = self._squared(queries, centred, candidates, itself).sort(dim=1, stable=True)
        found = Neighbours(squared[:, :k].sqrt(), candidates.gather(1, order)[:, :k])
        if width == n:
            return found, torch.ones(len(queries), dtype=torch.bool, device=queries.device)
        return found, squared[:, k - 1] / self.centred.scale**2 < bounds[:, -1]

    def _squared(self, queries: Tensor, centred: Centred, candidates: Tensor, itself: Tensor) -> Tensor:
        """Squared distances (m, w) float64 of queries to their candidates; infinite where `itself`."""
        if queries.shape[1] < FEW:
            squared = (self.rows[candidates] - queries[:, None]).square().sum(2)
            return squared.masked_fill(itself, torch.inf)
        lengths = centred.squares[:, None] + self.centred.squares[candidates]
        squared = lengths - 2 * chosen_products(centred.rows, self.centred.rows, candidates)
        squared.masked_fill_(itself, torch.inf)
        # Rows with a very near candidate, or with two at the same distance, are done again from differences.
        gaps = squared.sort(dim=1).values.diff(dim=1)
        tied = gaps <= 2 * rounding(queries.shape[1], torch.float64) * lengths.amax(1, keepdim=True)
        again = (squared < CLOSE * lengths).any(1) | tied.any(1)
        for i in again.nonzero()[:, 0].tolist():
            squared[i] = (self.rows[candidates[i]] - queries[i]).square().sum(1)
        return squared.masked_fill_(itself, torch.inf)

    def _all(self, query: Tensor, bounds: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """Distances and indices of the nearest to one query among all rows that may be as near as those `found`."""
        near = (bounds <= (found[-1] / self.centred.scale).square()).nonzero()[:, 0]
        step = max(1, BLOCK // self.rows.shape[1])
        exact = torch.cat([(self.rows[part] - query).square().sum(1) for part in near.split(step)])
        exact, order = exact.sort(stable=True)
        return exact[: len(found)].sqrt(), near[order[: len(found)]]


@shared
def index(rows: Tensor) -> Index:
    """The index of rows (n, d) float64."""
    return Index(rows)


def current(found: Index | None, rows: Tensor) -> Index:
    """The index of a score that keeps `rows`: the one `found` so far, unless there is none or the rows have moved."""
    return found if found is not None and found.rows.device == rows.device else Index(rows)
