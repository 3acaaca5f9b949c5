"""Float64 products of each row with a few rows of a pool that were chosen for it."""

import warnings

import torch
from torch import Tensor

from madkit.scores.common.centred_rows import CentredRows

# Numbers of the pool that are read again and again before others: 4 MiB in float64, which stay in the cache.
CACHED = 2**19
# Features at a time: not so few that the calls count, nor so many that a copy takes much memory.
FEATURES = 32, 512


def chosen_products(rows: CentredRows, pool: CentredRows, chosen: Tensor, wanted: Tensor) -> Tensor:
    """Scalar products (m, w) float64 of each row with the rows of the pool chosen for it; zero where not wanted.

    Args:
        rows: m rows.
        pool: n rows, about the same centre.
        chosen: (m, w) indices.
        wanted: (m, w) booleans.
    """
    m, (n, d) = len(rows), pool.rows.shape
    step = min(d, max(FEATURES[0], min(FEATURES[1], CACHED // n)))
    left, right = (side.rows.new_empty(len(side) * step) for side in (rows, pool))
    starts = torch.zeros(m + 1, dtype=torch.int64, device=chosen.device)
    torch.cumsum(wanted.sum(1), 0, out=starts[1:])
    products = left.new_zeros(chosen.shape)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        numbers = chosen[wanted]
        pairs = torch.sparse_csr_tensor(starts, numbers, left.new_zeros(len(numbers)), (m, n), check_invariants=False)
        # Some features at a time: those of all rows stay in the cache, where whole rows are fetched again and again.
        for start in range(0, d, step):
            stop = min(start + step, d)
            pairs = torch.sparse.sampled_addmm(
                pairs, rows.columns(start, stop, left), pool.columns(start, stop, right).T
            )
    products[wanted] = pairs.values()
    return products
