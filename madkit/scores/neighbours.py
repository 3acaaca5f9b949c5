"""Exact Euclidean nearest neighbours in bounded memory.

Candidates come from one matrix product; their distances are then recomputed from differences. The product's
rounding error is bounded, so no true neighbour is missed, and equal distances come out equal.
"""

import torch
from torch import Tensor

# float64 numbers of one block of work: 64 MiB.
BLOCK = 2**23
# Candidates beyond k that are usually enough to contain everything within rounding error of the k-th.
SPARE = 8


def nearest(queries: Tensor, pool: Tensor, k: int, *, exclude_self: bool = False) -> tuple[Tensor, Tensor]:
    """Find the k rows of `pool` nearest to each query; of equally distant ones the lower index comes first.

    Args:
        queries: (m, d) float64.
        pool: (n, d) float64.
        k: at most n, or n - 1 with `exclude_self`.
        exclude_self: `queries` is `pool`, and a row is no neighbour of its own (a duplicate of it is).

    Returns:
        Distances (m, k) float64, ascending, and indices into the pool (m, k) int64.
    """
    if not len(queries):
        return queries.new_zeros(0, k), torch.zeros(0, k, dtype=torch.int64, device=queries.device)
    # Norms far from the origin would swamp the differences in the product.
    centre = pool.mean(0)
    centred = pool - centre
    squares = centred.square().sum(1)
    width = min(k + SPARE, len(pool))
    block = max(1, BLOCK // max(len(pool), width * pool.shape[1]))
    found = []
    for start in range(0, len(queries), block):
        rows = queries[start : start + block]
        shifted = rows - centre
        own = shifted.square().sum(1, keepdim=True)
        rough = torch.addmm(own + squares, shifted, centred.T, alpha=-2)
        if exclude_self:
            here = torch.arange(len(rows), device=rows.device)
            rough[here, start + here] = torch.inf
        slack = rounding(pool.shape[1]) * (own.sqrt()[:, 0] + squares.max().sqrt()).square()
        found.append(_refine(rows, pool, rough, slack, k, width))
    distances, indices = zip(*found, strict=True)
    return torch.cat(distances), torch.cat(indices)


def rounding(d: int) -> float:
    """Bound on the error of a squared distance by product, relative to (|x| + |y|)^2."""
    return 4 * (d + 8) * torch.finfo(torch.float64).eps


def _refine(rows: Tensor, pool: Tensor, rough: Tensor, slack: Tensor, k: int, width: int) -> tuple[Tensor, Tensor]:
    values, candidates = rough.topk(width, dim=1, largest=False)
    limit = values[:, k - 1] + 2 * slack
    order = candidates.argsort(dim=1)
    candidates, values = candidates.gather(1, order), values.gather(1, order)
    distances = (pool[candidates] - rows[:, None]).square().sum(2).masked_fill(values == torch.inf, torch.inf)
    distances, order = distances.sort(dim=1, stable=True)
    distances, indices = distances[:, :k].sqrt(), candidates.gather(1, order)[:, :k]
    if width == len(pool):
        return distances, indices
    # Where even the last candidate is within rounding of the k-th, others may tie: look at all of those.
    unsure = (values.amax(1) <= limit).nonzero()[:, 0]
    for i in unsure.tolist():
        near = (rough[i] <= limit[i]).nonzero()[:, 0]
        exact, order = _squared(pool[near], rows[i]).sort(stable=True)
        distances[i], indices[i] = exact[:k].sqrt(), near[order[:k]]
    return distances, indices


def _squared(pool: Tensor, row: Tensor) -> Tensor:
    step = max(1, BLOCK // pool.shape[1])
    return torch.cat([(part - row).square().sum(1) for part in pool.split(step)])
