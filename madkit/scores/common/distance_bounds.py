"""Lower bounds of squared distances, from a matrix product in low precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from madkit.scores.common.centred_rows import CentredRows
from madkit.streaming.covariance import gram_matrix


def precisions(device: torch.device) -> list[torch.dtype]:
    """In which precisions to search, the fastest first: bfloat16 only where the processor multiplies it."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return [torch.bfloat16] * (device.type == "cpu" and supported()) + [torch.float32, torch.float64]


class Bounds(NamedTuple):
    """Lower bounds of the squared distances of m queries to n rows, in units of the scale: the sum of two parts.

    `beyond` (m, n), which decides between the rows, and `own` (m,), of the query alone.
    """

    beyond: Tensor
    own: Tensor


def lower_bounds(queries: CentredRows, pool: CentredRows, dtype: torch.dtype, products: Tensor | None = None) -> Bounds:
    """Lower bounds of the squared distances of queries to the pool.

    The product of two rows errs by what their copies lost times the other's length (Cauchy and Schwarz), by
    `rounding` in the sum, and by one more rounding.

    Args:
        queries: m rows.
        pool: n rows.
        dtype: of the copies that are multiplied.
        products: (m, n) of the copies, if they are known already; they are overwritten.
    """
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    if products is None:
        with full_precision(queries.rows.device.type):
            products = queries.copy(dtype)[0] @ pool.copy(dtype)[0].T
    slack = _slack(queries, pool, dtype)
    # A row of the pool is at most as long as the scale, or 1e9.
    own, other = ((side.squares / side.scale**2 * (1 - slack)).to(sums) for side in (queries, pool))
    if dtype == torch.bfloat16:
        # Summed in float32 inside, but the result is rounded too. Of a negative one zero makes a lower bound as well.
        beyond = torch.sub(other, products.clamp_(min=0), alpha=2 + torch.finfo(dtype).eps)
    else:
        beyond = torch.sub(other, products, alpha=2, out=products)
    if queries.far.any():
        beyond.masked_fill_(queries.far[:, None], -torch.inf)
        own = own.masked_fill(queries.far, 0.0)
    return Bounds(beyond, own)


def upper_bounds(bounds: Tensor, chosen: Tensor, queries: CentredRows, pool: CentredRows, dtype: torch.dtype) -> Tensor:
    """Upper bounds (m, w) float64 of the squared distances of queries to rows that were chosen for each.

    Args:
        bounds: (m, w), their part `beyond` of the lower bounds.
        chosen: (m, w), which rows of the pool they are.
        queries: m rows.
        pool: n rows.
        dtype: of the lower bounds.
    """
    slack = _slack(queries, pool, dtype)
    own, other = queries.squares[:, None] / queries.scale**2, pool.squares[chosen] / pool.scale**2
    # What the product took off, with the error of its last rounding, which now counts the other way.
    eps = torch.finfo(dtype).eps if dtype == torch.bfloat16 else 0.0
    taken = other * (1 - slack) - bounds.double()
    rounded = 8 * torch.finfo(bounds.dtype).eps * (own + other)
    upper = (own + other) * (1 + slack) - taken * (2 - eps) / (2 + eps) + rounded
    # Nothing is known of a product that was negative, nor of a row without a copy.
    unknown = torch.isinf(bounds)
    return upper.masked_fill_(unknown | (taken <= rounded) if eps else unknown, torch.inf)


def products_with_each_other(rows: CentredRows, dtype: torch.dtype) -> Tensor:
    """Products (n, n) of the copies of rows with each other; only one of the two equal halves is multiplied."""
    with full_precision(rows.rows.device.type):
        return gram_matrix(rows.copy(dtype)[0])


def _slack(queries: CentredRows, pool: CentredRows, dtype: torch.dtype) -> float:
    """Bound on the error of a squared distance by product, relative to |x|^2 + |y|^2, without its last rounding."""
    lost = sum(float(side.copy(dtype)[1].max()) for side in (queries, pool))
    return lost + rounding(queries.rows.shape[1], torch.float64 if dtype == torch.float64 else torch.float32)


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
