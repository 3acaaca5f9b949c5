"""Exact Euclidean nearest neighbours in bounded memory, at about the speed of a low-precision matrix product.

Candidates come from a product of all rows with all rows in bfloat16 or float32, whose error is bounded. Where that
leaves doubt the search is repeated with more digits, and at last with all rows that could be nearer. The distances of
the candidates are always float64, and from differences where a product would lose digits.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from madkit.scores.common.centred_rows import CentredRows
from madkit.scores.common.chosen_products import chosen_products
from madkit.scores.common.distance_bounds import (
    Bounds,
    lower_bounds,
    precisions,
    products_with_each_other,
    rounding,
    upper_bounds,
)
from madkit.scores.common.memo import argument_key, current_memo
from madkit.scores.common.smallest import smallest

# Numbers of one block of work: 64 MiB in float64.
BLOCK = 2**23
# Products of all rows with each other that are kept at most, so that each is computed once: 64 MiB in bfloat16.
KEPT = 2**25
# Numbers that stay in the cache of a CPU while they are looked at: 4 MiB in float32.
CACHED = 2**20
# Numbers of one block of differences: 1 MiB in float64.
DIFFERENCES = 2**17
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
        self.centred = CentredRows(rows, rows.mean(0))

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
            return self.found(self.centred, torch.arange(len(self.rows), device=self.rows.device), k)
        return self.found(CentredRows(queries, self.centred.centre, self.centred.scale), None, k)

    def found(self, queries: CentredRows, itself: Tensor | None, k: int) -> Neighbours:
        """Find the k rows nearest to each query, a block of queries at a time.

        Args:
            queries: m rows about the centre of the rows, with their scale.
            itself: (m,) the row that each query is, which is not its neighbour; None where it is none.
            k: see `nearest` and `nearest_others`.
        """
        m, device = len(queries), self.rows.device
        nearest = Neighbours(self.rows.new_empty(m, k), self.rows.new_empty(m, k, dtype=torch.int64))
        first, *others = precisions(device)
        products = None
        if queries is self.centred and device.type == "cpu" and m**2 <= KEPT:
            products = products_with_each_other(queries, first)
        for block in torch.arange(m, device=device).split(max(1, BLOCK // min(k + SPARE, len(self.rows)))) if m else ():
            left = block
            for dtype in (first, *others):
                known = None if products is None or dtype != first else products[int(left[0]) : int(left[-1]) + 1]
                own = None if itself is None else itself[left]
                neighbours, sure = self._refined(queries.part(left), own, dtype, known, k)
                nearest.distances[left], nearest.indices[left] = neighbours
                left = left[~sure]
                if not len(left):
                    break
            for i in left:
                own = None if itself is None else itself[i[None]]
                nearest.distances[i], nearest.indices[i] = self._all(queries.part(i[None]), own, nearest.distances[i])
        return nearest

    def _refined(
        self, queries: CentredRows, itself: Tensor | None, dtype: torch.dtype, products: Tensor | None, k: int
    ) -> tuple[Neighbours, Tensor]:
        """The k nearest of the rows with the smallest bounds, and where no other row can be among them."""
        numbers = torch.arange(len(queries), device=self.rows.device)
        parts = [
            self._candidates(
                queries.part(chosen),
                None if itself is None else itself[chosen],
                dtype,
                None if products is None else products[int(chosen[0]) : int(chosen[-1]) + 1],
                k,
            )
            for chosen in numbers.split(max(1, (CACHED if numbers.device.type == "cpu" else BLOCK) // len(self.rows)))
        ]
        candidates, wanted, last = (torch.cat(part) for part in zip(*parts, strict=True))
        squared, order = self._squared(queries, candidates, wanted).sort(dim=1, stable=True)
        nearest = Neighbours(squared[:, :k].sqrt(), candidates.gather(1, order)[:, :k])
        return nearest, squared[:, k - 1] / self.centred.scale**2 < last

    def _candidates(
        self, queries: CentredRows, itself: Tensor | None, dtype: torch.dtype, products: Tensor | None, k: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (m, w) with the smallest bounds, whether they can be among the k nearest, and what all others exceed."""
        bounds = self._bounds(queries, itself, dtype, products)
        width = min(k + SPARE, len(self.rows))
        low, candidates = smallest(bounds.beyond, width)
        last = (low[:, -1] + bounds.own).double()
        if width == len(self.rows):
            last.fill_(torch.inf)
        # In ascending order, so that ties go to the lower index.
        candidates, order = candidates.sort(dim=1)
        low = low.gather(1, order)
        # The k-th smallest upper bound is no less than the k-th distance: what lies beyond need not be looked at.
        upper = upper_bounds(low, candidates, queries, self.centred, dtype)
        wanted = low + bounds.own[:, None] <= upper.kthvalue(k, dim=1, keepdim=True).values
        if itself is not None:
            wanted &= candidates != itself[:, None]
        return candidates, wanted, last

    def _bounds(
        self, queries: CentredRows, itself: Tensor | None, dtype: torch.dtype, products: Tensor | None = None
    ) -> Bounds:
        bounds = lower_bounds(queries, self.centred, dtype, products)
        if itself is not None:
            bounds.beyond[torch.arange(len(queries), device=itself.device), itself] = torch.inf
        return bounds

    def _squared(self, queries: CentredRows, candidates: Tensor, wanted: Tensor) -> Tensor:
        """Squared distances (m, w) float64 of queries to their candidates; infinite where they are not wanted."""
        if queries.rows.shape[1] < FEW:
            return self._differences(queries.rows, candidates).masked_fill_(~wanted, torch.inf)
        lengths = queries.squares[:, None] + self.centred.squares[candidates]
        squared = lengths - 2 * chosen_products(queries, self.centred, candidates, wanted)
        squared.masked_fill_(~wanted, torch.inf)
        # Rows with a very near candidate, or with two at the same distance, are done again from differences.
        gaps = squared.sort(dim=1).values.diff(dim=1)
        tied = gaps <= 2 * rounding(queries.rows.shape[1], torch.float64) * lengths.amax(1, keepdim=True)
        again = ((squared < CLOSE * lengths).any(1) | tied.any(1)).nonzero()[:, 0]
        squared[again] = self._differences(queries.rows[again], candidates[again])
        return squared.masked_fill_(~wanted, torch.inf)

    def _differences(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """Squared distances (m, w) float64 of queries (m, d) to the rows chosen for each, (m, w) indices."""
        # A few queries at a time, so that the differences stay in the cache.
        step = max(1, DIFFERENCES // max(1, candidates.shape[1] * queries.shape[1]))
        parts = zip(queries.split(step), candidates.split(step), strict=True)
        return torch.cat([(self.rows[chosen] - x[:, None]).square_().sum(2) for x, chosen in parts])

    def _all(self, query: CentredRows, itself: Tensor | None, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Distances and indices of the nearest to one query among all rows that may be as near as at `distances`."""
        bounds = self._bounds(query, itself, torch.float64)
        low = bounds.beyond[0] + bounds.own
        # Only the query itself is infinitely far.
        near = ((low <= (distances[-1] / self.centred.scale).square()) & (low < torch.inf)).nonzero()[:, 0]
        step = max(1, BLOCK // self.rows.shape[1])
        exact = torch.cat([(self.rows[part] - query.rows).square().sum(1) for part in near.split(step)])
        exact, order = exact.sort(stable=True)
        return exact[: len(distances)].sqrt(), near[order[: len(distances)]]
