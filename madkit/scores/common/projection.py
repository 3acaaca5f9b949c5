"""Rows seen along directions, and what is left of them beside these."""

import torch
from torch import Tensor

from madkit.errors import DataError
from madkit.scores.common.memo import memory, place, shared


@shared
def centred(x: Tensor, mean: Tensor) -> Tensor:
    """Rows (b, d) minus the mean (d,)."""
    return x - mean


def projected(x: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """Coordinates (b, r) of rows minus the mean along directions, the rows of (r, d).

    Scores that keep different numbers of the same leading directions share the product.
    """
    found = memory()
    if found is None:
        return (x - mean) @ directions.T
    key = projected, place(x), place(mean), directions.data_ptr(), directions.stride()
    done, _ = found.results.get(key, (x.new_zeros(len(x), 0), None))
    known = done.shape[1]
    if known < len(directions):
        done = torch.cat([done, centred(x, mean) @ directions[known:].T], dim=1)
        found.results[key] = done, (x, mean, directions)
    return done[:, : len(directions)]


@shared
def outside(x: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """Squared length (b,) of what orthonormal directions, the rows of (r, d), leave of rows minus the mean."""
    return (centred(x, mean) - projected(x, mean, directions) @ directions).square().sum(1)


@shared
def unit(x: Tensor) -> Tensor:
    """Rows (b, d) divided by their Euclidean length.

    Raises:
        DataError: a row is zero everywhere.
    """
    lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    if not lengths.all():
        raise DataError(
            f"x has {int((lengths == 0).sum())} of {len(x)} rows that are zero everywhere and so have no direction: "
            "drop them, or use a score that does not divide by the length"
        )
    return x / lengths
