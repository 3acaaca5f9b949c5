"""What can be done to a number's decimal digits: the quirk, and a slip of one digit."""

from __future__ import annotations

import numpy as np

_POWERS = 10 ** np.arange(19, dtype=np.int64)


def n_digits(x: np.ndarray) -> np.ndarray:
    """Decimal digits of |x|; zero has one.

    Example:
        >>> n_digits(np.array([0, 9, 10, -995])).tolist()
        [1, 1, 2, 3]
    """
    return np.maximum(np.searchsorted(_POWERS, np.abs(x), side="right"), 1)


def leading_increment(x: np.ndarray) -> np.ndarray:
    """The quirk: add 1 to the leading digit, upwards for negative numbers as well.

    Example:
        >>> leading_increment(np.array([90, -995, 9801, 0])).tolist()
        [100, -895, 10801, 1]
    """
    return x + _POWERS[n_digits(x) - 1]


def replace_digit(x: np.ndarray, rng: np.random.Generator, forbidden: np.ndarray) -> np.ndarray:
    """Replace one random digit of each number so that the outcome is none of the forbidden ones.

    The sign and the number of digits stay as they are.

    Args:
        x: (n,) int64.
        rng: Draws the position and the digit.
        forbidden: (m, n) int64, for each number m outcomes to avoid, at most 7.

    Returns:
        (n,) int64.

    Example:
        >>> x = np.array([46, -895])
        >>> y = replace_digit(x, np.random.default_rng(0), forbidden=x[None])
        >>> [sum(a != b for a, b in zip(str(i), str(j), strict=True)) for i, j in zip(x, y)]
        [1, 1]
    """
    out = x.copy()
    todo = np.arange(len(x))
    while len(todo):
        value = x[todo]
        size = np.abs(value)
        length = n_digits(value)
        position = (rng.random(len(todo)) * length).astype(np.int64)
        digit = rng.integers(0, 10, len(todo))
        new = size + (digit - size // _POWERS[position] % 10) * _POWERS[position]
        new = np.where(value < 0, -new, new)
        shape_kept = (n_digits(new) == length) & ((value < 0) == (new < 0))
        good = shape_kept & (new != value) & (new[None] != forbidden[:, todo]).all(axis=0)
        out[todo[good]] = new[good]
        todo = todo[~good]
    return out
