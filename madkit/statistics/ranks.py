"""Ranks of the numbers in a row."""

import numpy as np
from numpy.typing import NDArray


def ranks(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each number in its row, from 1; equal numbers have the mean of theirs.

    Args:
        rows: (..., n), without NaN.

    Returns:
        (..., n), each a whole number or one and a half.

    Example:
        >>> ranks(np.array([[3.0, 1.0, 3.0, 2.0]])).tolist()
        [[3.5, 1.0, 3.5, 2.0]]
    """
    n = rows.shape[-1]
    order = np.argsort(rows, axis=-1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=-1)
    begins = np.ones(rows.shape, dtype=bool)
    np.not_equal(ordered[..., 1:], ordered[..., :-1], out=begins[..., 1:])
    counts = np.diff(np.flatnonzero(begins), append=begins.size)
    first = np.broadcast_to(np.arange(1.0, n + 1), rows.shape)[begins]
    found = np.empty(rows.shape)
    np.put_along_axis(found, order, np.repeat(first + (counts - 1) / 2, counts).reshape(rows.shape), axis=-1)
    return found
