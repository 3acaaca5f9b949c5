"""Exact Euclidean nearest neighbours in bounded memory, at about the speed of a low-precision matrix product.

Candidates come from a product of all rows with all rows in bfloat16 or float32, whose error is bounded. Where that
leaves doubt the search is repeated with more digits, and at last with all rows that could be nearer. The distances of
the candidates are always float64, and from differences where a product would lose digits.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from madkit.scores.common.distance_bounds import CentredRows, chosen_products, lower_bounds, precisions, rounding
from madkit.scores.common.memo import argument_key, current_memo

# Numbers of one block of work: 64 MiB in float64.
BLOCK = 2**23
# Numbers of one block of differences: 1 MiB in float64.
CACHED = 2**17
# Candidates beyond k that usually contain everything within rounding error of the k-th.
SPARE = 16
# With fewer features than this, a product of chosen pairs saves nothing over differences.
FEW = 128
# Squared distances below this share of the squared lengths lose too many digits in a product.
CLOSE = 1e-3


class Neighbours(NamedTuple):
    """For each of m rows its k nearest: `distances` (m, k) float64, ascending, and `indices` (m, k) int64."""

    distances: Tensor
    indices: Tensor


class NeighbourIndex:
    """Rows to be searched, (n, d) float64, and what every search needs of them."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        # Norms far from the origin would swamp the differences in a product.
        self.centre = rows.mean(0)
        self.centred = CentredRows(rows - self.centre)

    def nearest(self, queries: Tensor, k: int) -> Neighbours:
        """Find the k rows nearest to each query; of equally distant ones the lower index comes first.

        Within a `sharing` block one search serves all calls for the same neighbours, or for fewer of them.

        Args:
            queries: (m, d) float64.
            k: from 1 to n.
        """
        return self._remembered(queries, k, len(self.rows))

    def nearest_others(self, k: int) -> Neighbours:
        """The same for the rows themselves: a row is not its neighbour, but a duplicate of it is.

        Args:
            k: from 1 to n - 1.
        """
        return self._remembered(None, k, len(self.rows) - 1)

    def _remembered(self, queries: Tensor | None, k: int, limit: int) -> Neighbours:
        memo = current_memo()
        if memo is None:
            return self.search(queries, k)
        key = id(self), argument_key(queries)
        entry = memo.results.get(key)
        if entry is None or entry[0].indices.shape[1] < k:
            entry = self.search(queries, min(max(k, memo.neighbours), limit)), (self, queries)
            memo.results[key] = entry
        return Neighbours(*(part[:, :k] for part in entry[0]))

    def search(self, queries: Tensor | None, k: int) -> Neighbours:
        """Find the k rows nearest to each query, or to each row itself (None), without the memo."""
        if queries is None:
            return self.found(self.rows, self.centred, torch.arange(len(self.rows), device=self.rows.device), k)
        return self.found(queries, CentredRows(queries - self.centre, self.centred.scale), None, k)

    def found(self, queries: Tensor, centred: CentredRows, itself: Tensor | None, k: int) -> Neighbours:
        """Find the k rows nearest to each query, a block of queries at a time.

        Args:
            queries: (m, d) float64.
            centred: the queries about the centre of the rows.
            itself: (m,) the row that each query is, which is not its neighbour; None where it is none.
            k: see `nearest` and `nearest_others`.
        """
        nearest = Neighbours(queries.new_empty(len(queries), k), queries.new_empty(len(queries), k, dtype=torch.int64))
        numbers = torch.arange(len(queries), device=queries.device)
        for block in numbers.split(max(1, BLOCK // len(self.rows))) if len(queries) else ():
            left = block
            for dtype in precisions(queries.device):
                low = lower_bounds(centred.part(left), self.centred, dtype)
                if itself is not None:
                    low[torch.arange(len(left), device=left.device), itself[left]] = torch.inf
                neighbours, sure = self._refined(queries[left], centred.part(left), low, k)
                nearest.distances[left], nearest.indices[left] = neighbours
                left, low = left[~sure], low[~sure]
                if not len(left):
                    break
            for i, bounds in zip(left.tolist(), low, strict=True):
                nearest.distances[i], nearest.indices[i] = self._all(queries[i], bounds, nearest.distances[i])
        return nearest

    def _refined(self, queries: Tensor, centred: CentredRows, low: Tensor, k: int) -> tuple[Neighbours, Tensor]:
        """The k nearest of the rows with the smallest bounds, and where no other row can be among them."""
        n = len(self.rows)
        width = min(k + SPARE, n)
        bounds, candidates = low.topk(width, dim=1, largest=False)
        candidates, order = candidates.sort(dim=1)
        itself = bounds.gather(1, order) == torch.inf
        squared, order = self._squared(queries, centred, candidates, itself).sort(dim=1, stable=True)
        nearest = Neighbours(squared[:, :k].sqrt(), candidates.gather(1, order)[:, :k])
        if width == n:
            return nearest, torch.ones(len(queries), dtype=torch.bool, device=queries.device)
        return nearest, squared[:, k - 1] / self.centred.scale**2 < bounds[:, -1]

    def _squared(self, queries: Tensor, centred: CentredRows, candidates: Tensor, itself: Tensor) -> Tensor:
        """Squared distances (m, w) float64 of queries to their candidates; infinite where `itself`."""
        if queries.shape[1] < FEW:
            return self._differences(queries, candidates).masked_fill_(itself, torch.inf)
        lengths = centred.squares[:, None] + self.centred.squares[candidates]
        squared = lengths - 2 * chosen_products(centred.rows, self.centred.rows, candidates)
        squared.masked_fill_(itself, torch.inf)
        # Rows with a very near candidate, or with two at the same distance, are done again from differences.
        gaps = squared.sort(dim=1).values.diff(dim=1)
        tied = gaps <= 2 * rounding(queries.shape[1], torch.float64) * lengths.amax(1, keepdim=True)
        again = ((squared < CLOSE * lengths).any(1) | tied.any(1)).nonzero()[:, 0]
        squared[again] = self._differences(queries[again], candidates[again])
        return squared.masked_fill_(itself, torch.inf)

    def _differences(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """Squared distances (m, w) float64 of queries (m, d) to the rows chosen for each, (m, w) indices."""
        # A few queries at a time, so that the differences stay in the cache.
        step = max(1, CACHED // max(1, candidates.shape[1] * queries.shape[1]))
        parts = zip(queries.split(step), candidates.split(step), strict=True)
        return torch.cat([(self.rows[chosen] - x[:, None]).square_().sum(2) for x, chosen in parts])

    def _all(self, query: Tensor, bounds: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Distances and indices of the nearest to one query among all rows that may be as near as at `distances`."""
        near = (bounds <= (distances[-1] / self.centred.scale).square()).nonzero()[:, 0]
        step = max(1, BLOCK // self.rows.shape[1])
        exact = torch.cat([(self.rows[part] - query).square().sum(1) for part in near.split(step)])
        exact, order = exact.sort(stable=True)
        return exact[: len(distances)].sqrt(), near[order[: len(distances)]]
