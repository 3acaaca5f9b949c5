"""What comes in: rows are checked once, and taken in chunks of bounded size."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from madkit.errors import DataError

Rows = Tensor | np.ndarray

# float64 numbers that are held at once per copy of a chunk: 32 MiB.
CHUNK = 2**22


def checked(rows: Rows, d: int | None) -> Tensor:
    """Return x as a tensor, or raise a DataError that says what is wrong with it."""
    x = torch.as_tensor(rows).detach()
    if x.ndim != 2 or not x.shape[1]:
        raise DataError(f"x has shape {tuple(x.shape)}: give (n, d), one row per prompt, d at least 1")
    if d is not None and x.shape[1] != d:
        raise DataError(f"x has d={x.shape[1]} features, earlier rows had {d}: give rows of the same site")
    if x.layout == torch.strided:
        finite, places = torch.isfinite(x), None
    else:
        x = x.to_sparse_coo().coalesce()
        finite, places = torch.isfinite(x.values()), x.indices()
    if not finite.all():
        bad = (~finite).nonzero().T if places is None else places[:, ~finite]
        where = bad[1].unique().tolist()
        shown = ", ".join(map(str, where[:5])) + (", ..." if len(where) > 5 else "")
        raise DataError(
            f"x has NaN or infinite values in {len(bad[0].unique())} of {len(x)} rows, at {len(where)} of "
            f"{x.shape[1]} coordinates ({shown}): mend the features or drop these rows"
        )
    return x


def dense_chunks(x: Tensor) -> Iterator[Tensor]:
    """Yield the rows of x in order, dense, as many at a time as `CHUNK` allows; sparse x is coalesced COO."""
    n, d = x.shape
    size = max(1, CHUNK // d)
    if x.layout == torch.strided:
        yield from (x[start : start + size] for start in range(0, n, size))
        return
    (rows, columns), values = x.indices(), x.values()
    starts = torch.arange(0, n, size, device=x.device)
    bounds = torch.searchsorted(rows, torch.cat([starts, starts.new_tensor([n])])).tolist()
    for start, low, high in zip(range(0, n, size), bounds, bounds[1:], strict=False):
        chunk = values.new_zeros(min(size, n - start), d)
        chunk[rows[low:high] - start, columns[low:high]] = values[low:high]
        yield chunk
