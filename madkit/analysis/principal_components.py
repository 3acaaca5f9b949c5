"""Vectors in the two directions in which they vary most."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from madkit.arrays import float_array
from madkit.errors import DataError


class PrincipalComponents(NamedTuple):
    """Principal components of n vectors."""

    scores: np.ndarray
    """(n, 2) coordinates along the first and second component, in the vectors' unit; the mean is at zero."""
    shares: np.ndarray
    """(2,) of the total variance."""


def first_principal_components(x: ArrayLike) -> PrincipalComponents:
    """The first two principal components; the second is zero where the vectors vary in one direction only.

    A direction's sign is that of its largest loading, so that the same vectors give the same picture.

    Args:
        x: (n, d) finite numbers, computed in float64.

    Raises:
        DataError: fewer than 2 rows, NaN or infinite values, or rows that are all equal.

    Example:
        >>> components = first_principal_components([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
        >>> components.scores[:, 0].tolist(), components.shares.tolist()
        ([-2.0, 0.0, 2.0], [1.0, 0.0])
    """
    rows = float_array(x, "x")
    if rows.ndim != 2 or len(rows) < 2 or not np.isfinite(rows).all():
        raise DataError(f"x has shape {rows.shape}: give (n, d), n at least 2, all finite")
    centred = rows - rows[0]
    centred = centred - centred.mean(0)
    total = float((centred**2).sum())
    if total == 0:
        raise DataError(f"all n={len(rows)} rows are equal: give vectors that vary")
    # The smaller of the two matrices of products has the same directions.
    wide = centred.shape[1] > len(centred)
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    scores, shares = np.zeros((len(rows), 2)), np.zeros(2)
    for column, index in enumerate(np.argsort(values)[::-1][:2]):
        if values[index] <= 1e-12 * total:
            continue
        direction = centred.T @ vectors[:, index] if wide else vectors[:, index]
        direction = direction / np.linalg.norm(direction)
        direction = direction * np.sign(direction[np.argmax(np.abs(direction))])
        scores[:, column] = centred @ direction
        shares[column] = values[index] / total
    return PrincipalComponents(scores, shares)
