"""Lower bounds of squared distances, from a matrix product in low precision."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Rows whose differences are taken at once.
ROWS = 128
# Columns of chosen products that are summed at once.
COLUMNS = 512


class CentredRows:
    """Rows (n, d) float64 about a common centre, with their copies in low precision.

    Args:
        rows: (n, d) float64.
        scale: what low precision takes for 1; unless given, 1 or, where that would overflow or vanish, the
            length of the longest row. Two sets of rows that are compared share one.
    """

    def __init__(self, rows: Tensor, scale: float | None = None) -> None:
        self.rows = rows
        self.squares = torch.linalg.vector_norm(rows, dim=1).square()
        if scale is None:
            longest = float(self.squares.max().sqrt())
            scale = 1.0 if 1e-9 < longest < 1e9 else max(longest, 1e-150)
        self.scale = scale
        # A row so much longer than all others that its square would overflow has no copy, and no bound.
        self.far = self.squares > 1e30 * self.scale**2
        self._copies: dict[torch.dtype, tuple[Tensor, Tensor]] = {}

    def copy(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The rows divided by `scale` in low precision, and the length (n,) of what got lost relative to theirs."""
        if dtype not in self._copies:
            if dtype == torch.bfloat16:
                fine, lost = self.copy(torch.float32)
            else:
                fine = self.rows if self.scale == 1 else self.rows / self.scale
                fine = fine.masked_fill(self.far[:, None], 0.0) if self.far.any() else fine
                lost = torch.full_like(self.squares, torch.finfo(dtype).eps)
            copy = fine.to(dtype)
            if dtype == torch.bfloat16:
                # A few rows at a time, so that the differences stay in the cache.
                parts = zip(fine.split(ROWS), copy.split(ROWS), strict=True)
                off = torch.cat([torch.linalg.vector_norm(a - b, dim=1) for a, b in parts]).double()
                lost = lost + off * self.scale / self.squares.sqrt().clamp(min=1e-300)
            self._copies[dtype] = copy, lost
        return self._copies[dtype]

    def part(self, chosen: Tensor) -> "CentredRows":
        """The chosen rows, (m,) ascending indices."""
        if len(chosen) == len(self.rows):
            return self
        first, last = int(chosen[0]), int(chosen[-1]) + 1
        index = slice(first, last) if last - first == len(chosen) else chosen
        part = object.__new__(CentredRows)
        part.rows, part.squares, part.scale, part.far = (
            self.rows[index],
            self.squares[index],
            self.scale,
            self.far[index],
        )
        part._copies = {dtype: (copy[index], lost[index]) for dtype, (copy, lost) in self._copies.items()}
        return part


def precisions(device: torch.device) -> list[torch.dtype]:
    """In which precisions to search, the fastest first: bfloat16 only where the processor multiplies it."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return [torch.bfloat16] * (device.type == "cpu" and supported()) + [torch.float32, torch.float64]


def lower_bounds(queries: CentredRows, pool: CentredRows, dtype: torch.dtype) -> Tensor:
    """Lower bounds (m, n) of the squared distances of queries to the pool, in units of its scale.

    The product of two rows errs by what their copies lost times the other's length (Cauchy and Schwarz), by
    `rounding` in the sum, and by one more rounding.
    """
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    (left, left_lost), (right, right_lost) = queries.copy(dtype), pool.copy(dtype)
    slack = left_lost.max() + right_lost.max() + rounding(queries.rows.shape[1], sums)
    left_squares, right_squares = ((side.squares / side.scale**2 * (1 - slack)).to(sums) for side in (queries, pool))
    low = left_squares[:, None] + right_squares
    with full_precision(low.device.type):
        if dtype == torch.bfloat16:
            # Summed in float32 inside, but the result is rounded too.
            product = left @ right.T
            low.sub_(product, alpha=2).sub_(product.abs_(), alpha=torch.finfo(dtype).eps)
        else:
            low.addmm_(left, right.T, alpha=-2)
    return low.masked_fill_(queries.far[:, None], -torch.inf) if queries.far.any() else low


def rounding(d: int, dtype: torch.dtype) -> float:
    """Bound on the error of a squared distance by product, relative to |x|^2 + |y|^2.

    A sum of d products errs by at most min(d, 8 sqrt(d)) units of rounding: the first always, the second with
    a probability above 1 - 1e-9 (Higham and Mary 2019, Theorem 2.4 with lambda = 8).
    """
    return (min(d, 8 * d**0.5) + 8) * torch.finfo(dtype).eps


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Nothing less than float32 inside a float32 product, whatever the trainer's precision: the bound counts on it."""
    before = _matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        if isinstance(before, str):
            torch.set_float32_matmul_precision(before)
        else:
            for backend, chosen in zip(_BACKENDS, before, strict=True):
                backend.matmul.fp32_precision = chosen


_BACKENDS: tuple[Any, ...] = (torch.backends.cuda, torch.backends.mkldnn)


def _matmul_precision() -> str | list[str]:
    """The precision of float32 products, or, where somebody has set it for each backend, that of each.

    Since torch 2.9 there are two ways to set it, and the older one cannot be asked once the newer one was used.
    """
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return [backend.matmul.fp32_precision for backend in _BACKENDS]


def chosen_products(rows: Tensor, pool: Tensor, chosen: Tensor) -> Tensor:
    """Scalar products (m, w) of each row (m, d) with the rows of the pool (n, d) chosen for it, (m, w) indices."""
    m, w = chosen.shape
    starts = torch.arange(0, m * w + 1, w, device=rows.device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        pairs = torch.sparse_csr_tensor(
            starts, chosen.reshape(-1), rows.new_zeros(m * w), (m, len(pool)), check_invariants=False
        )
        # Some columns at a time: those of all rows stay in the cache, where whole rows are fetched again and again.
        for left, right in zip(rows.split(COLUMNS, dim=1), pool.split(COLUMNS, dim=1), strict=True):
            pairs = torch.sparse.sampled_addmm(pairs, left.contiguous(), right.contiguous().T)
    return pairs.values().reshape(m, w)
