"""Checks of the rows that come in, and chunks of them of bounded size."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from madkit.arrays import check_exact, plain_array
from madkit.errors import DataError

Rows = Tensor | np.ndarray

# float64 numbers that are held at once per copy of a chunk: 128 MiB.
CHUNK = 2**24


def check_rows(rows: Rows, d: int | None) -> Tensor:
    """Check the rows that a user gives.

    Args:
        rows: (n, d), any number type, dense or sparse; also a frame, and whatever else `plain_array` reads.
        d: number of features of earlier rows; None where there were none.

    Returns:
        The rows as a tensor, dense or coalesced COO.

    Raises:
        DataError: another shape, NaN or infinite values, or no real numbers.
    """
    x = _tensor_of(rows)
    if x.ndim != 2 or not x.shape[1]:
        raise DataError(f"x has shape {tuple(x.shape)}: give (n, d), one row per prompt, d at least 1")
    if d is not None and x.shape[1] != d:
        raise DataError(f"x has d={x.shape[1]} features, earlier rows had {d}: give rows of the same site")
    x = x if x.layout == torch.strided else x.to_sparse_coo().coalesce()
    if not all_finite(x):
        bad_rows, bad_columns = (positions.unique() for positions in _non_finite(x))
        shown = ", ".join(map(str, bad_columns[:5].tolist())) + (", ..." if len(bad_columns) > 5 else "")
        raise DataError(
            f"x has NaN or infinite values in {len(bad_rows)} of {len(x)} rows, at {len(bad_columns)} of "
            f"{x.shape[1]} coordinates ({shown}): mend the features or drop these rows"
        )
    return x


def _tensor_of(rows: Any) -> Tensor:
    if isinstance(rows, Tensor):
        return _plain_tensor(rows)
    if hasattr(rows, "tocoo") and hasattr(rows, "nnz"):  # of scipy
        entries = rows.tocoo()
        positions = torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64))
        return torch.sparse_coo_tensor(positions, _tensor_of(entries.data), rows.shape, check_invariants=False)
    array = plain_array(rows, "x")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        with np.errstate(over="ignore"):
            array = array.astype(np.float64)
    with warnings.catch_warnings():
        # Rows are only read here, so it does not matter that a frame's or a mapped file's cannot be written to.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return _plain_tensor(torch.from_numpy(array.copy() if min(array.strides, default=0) < 0 else array))


def _plain_tensor(x: Tensor) -> Tensor:
    """Without gradients, of a type that torch can add up."""
    if x.is_complex():
        raise DataError("x holds complex numbers: give real ones, such as real and imaginary parts")
    if x.is_nested or x.is_meta:
        raise DataError("x is a nested or a meta tensor: give a dense one, or a sparse one")
    x = x.detach().resolve_neg()
    x = x.dequantize() if x.is_quantized else x
    if x.is_floating_point():
        return x.float() if x.element_size() < 2 else x
    if x.element_size() == 8:
        values = x if x.layout == torch.strided else x.to_sparse_coo().coalesce().values()
        # Not `abs`: that of the lowest integer is itself, and unsigned integers have no comparison.
        if values.numel() and float(values.double().abs().max()) >= 2**53:
            check_exact(values.cpu().numpy(), "x")
    return x.double() if x.dtype in (torch.uint16, torch.uint32, torch.uint64) else x


def all_finite(x: Tensor) -> bool:
    """Whether x, dense or coalesced COO, has neither NaN nor infinite values."""
    values = x if x.layout == torch.strided else x.values()
    # One pass without a mask: a bad value makes the sum bad. So may large values, and those are looked at one by one.
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def _non_finite(x: Tensor) -> Tensor:
    """Row and column (2, m) of each value that is not finite."""
    if x.layout == torch.strided:
        return (~torch.isfinite(x)).nonzero().T
    return x.indices()[:, ~torch.isfinite(x.values())]


def row_chunks(x: Tensor, dense: bool = True) -> Iterator[Tensor]:
    """Yield the rows of x in order, as many at a time as `CHUNK` allows.

    Args:
        x: (n, d), dense or coalesced COO.
        dense: make sparse rows dense; otherwise they stay coalesced COO, and a chunk holds as many as it would
            if they were dense and mostly zero: `CHUNK` stored values.
    """
    n, d = x.shape
    if x.layout == torch.strided:
        size = max(1, CHUNK // d)
        yield from (x[start : start + size] for start in range(0, n, size))
        return
    (rows, columns), values = x.indices(), x.values()
    size = max(1, CHUNK // (d if dense else max(1, len(values) // max(n, 1))))
    starts = torch.arange(0, n, size, device=x.device)
    bounds = torch.searchsorted(rows, torch.cat([starts, starts.new_tensor([n])])).tolist()
    for start, low, high in zip(range(0, n, size), bounds, bounds[1:], strict=False):
        shape = min(size, n - start), d
        if dense:
            chunk = values.new_zeros(shape)
            chunk[rows[low:high] - start, columns[low:high]] = values[low:high]
            yield chunk
        else:
            positions = torch.stack([rows[low:high] - start, columns[low:high]])
            yield torch.sparse_coo_tensor(positions, values[low:high], shape, is_coalesced=True, check_invariants=False)


def sparse_rows(indices: Tensor, values: Tensor, d: int) -> Tensor:
    """Rows (n, d), sparse, from the k latents that each of them uses: what a top-k autoencoder returns.

    Args:
        indices: (n, k) int64, the latents of each row; a row that uses fewer than k repeats one with value 0.
        values: (n, k) numbers.
        d: number of latents.

    Raises:
        DataError: the shapes differ, or an index is not between 0 and d - 1.

    Example:
        >>> sparse_rows(torch.tensor([[0, 3]]), torch.tensor([[1.0, 2.0]]), 5).to_dense()
        tensor([[1., 0., 0., 2., 0.]])
    """
    if indices.shape != values.shape or indices.ndim != 2:
        raise DataError(f"indices {tuple(indices.shape)} and values {tuple(values.shape)}: give (n, k) both")
    if indices.numel() and not (int(indices.min()) >= 0 and int(indices.max()) < d):
        raise DataError(f"indices run from {int(indices.min())} to {int(indices.max())}: d={d} allows 0 to {d - 1}")
    rows = torch.arange(len(indices), device=indices.device).repeat_interleave(indices.shape[1])
    positions = torch.stack([rows, indices.reshape(-1)])
    return torch.sparse_coo_tensor(positions, values.reshape(-1), (len(indices), d), check_invariants=False).coalesce()


def no_rows_like(x: Tensor) -> Tensor:
    """Return no rows, (0, d), in the layout of x (n, d): dense, or coalesced COO, which cannot be sliced by rows.

    Example:
        >>> no_rows_like(torch.eye(3).to_sparse()).shape, no_rows_like(torch.eye(3)).shape
        (torch.Size([0, 3]), torch.Size([0, 3]))
    """
    if x.layout == torch.strided:
        return x[:0]
    shape = 0, x.shape[1]
    return torch.sparse_coo_tensor(x.indices()[:, :0], x.values()[:0], shape, is_coalesced=True, check_invariants=False)
