"""How far apart the two characters' states are, relative to their spread."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from madkit.arrays import bool_array, float_array
from madkit.errors import DataError


class StateSeparation(NamedTuple):
    """`value` is S, `variance` is Tr(Sigma) in squared units of the states."""

    value: float
    variance: float
    n_alice: int
    n_bob: int


def separation(x: ArrayLike, is_bob: ArrayLike) -> StateSeparation:
    """S = |mu_A - mu_B|^2 / Tr(Sigma), Sigma the covariance (n - 1) of all rows of both characters.

    Used on the states of a site, (n, d), and on the two answer logits, (n, 2). With equal numbers of both, S
    goes from 0 (equal means) to just below 4 (two points).

    Args:
        x: (n, d) finite numbers; (n,) counts as d = 1. Computed in float64.
        is_bob: (n,) booleans or 0 and 1.

    Raises:
        DataError: NaN or infinite values, a character without rows, lengths that differ, or all rows equal.

    Example:
        >>> separation([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [4.0, 2.0]], [0, 0, 1, 1])
        StateSeparation(value=2.4, variance=6.666666666666667, n_alice=2, n_bob=2)
    """
    rows, bob = float_array(x, "x"), bool_array(is_bob, "is_bob")
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or bob.shape != rows.shape[:1]:
        raise DataError(f"x has shape {rows.shape} and is_bob {bob.shape}: give (n, d) and (n,)")
    if not np.isfinite(rows).all():
        bad = (~np.isfinite(rows)).any(1).sum()
        raise DataError(f"x has NaN or infinite values in {bad} of {len(rows)} rows: mend the features")
    sides = [rows[~bob], rows[bob]]
    if not all(map(len, sides)):
        raise DataError(f"x has {len(sides[0])} Alice and {len(sides[1])} Bob rows: give rows of both")
    # Relative to one row, states that are all equal have exactly no variance.
    shifted = [side - rows[0] for side in sides]
    means = [side.mean(0) for side in shifted]
    scatters = [((side - mean) ** 2).sum() for side, mean in zip(shifted, means, strict=True)]
    return _from_sums(means[0] - means[1], sum(scatters), len(sides[0]), len(sides[1]))


def separation_from_moments(alice: Any, bob: Any) -> StateSeparation:
    """The same from streamed statistics, so that the rows need not be kept.

    Args:
        alice: an object with `n`, `mean` (d,) and `m2`, the sum of centred products, (d, d) or its diagonal
            (d,); such as `madkit.streaming.variances.Variances.result` gives.
        bob: the same for Bob's rows.

    Raises:
        DataError: a character without rows, lengths that differ, or all rows equal.
    """
    if not alice.n or not bob.n:
        raise DataError(f"moments have {alice.n} Alice and {bob.n} Bob rows: give rows of both")
    means = [np.asarray(side.mean, dtype=np.float64) for side in (alice, bob)]
    if means[0].shape != means[1].shape:
        raise DataError(f"moments have means of shape {means[0].shape} and {means[1].shape}: use one site only")
    scatters = [np.asarray(side.m2, dtype=np.float64) for side in (alice, bob)]
    within = sum(float(np.trace(scatter) if scatter.ndim == 2 else scatter.sum()) for scatter in scatters)
    return _from_sums(means[0] - means[1], within, int(alice.n), int(bob.n))


def _from_sums(gap: np.ndarray, within: float, n_alice: int, n_bob: int) -> StateSeparation:
    distance, n = float(gap @ gap), n_alice + n_bob
    variance = (float(within) + n_alice * n_bob / n * distance) / (n - 1)
    if not variance > 0:
        raise DataError(f"all n={n} rows are equal, so that separation is 0/0: give states that vary")
    return StateSeparation(distance / variance, variance, n_alice, n_bob)
