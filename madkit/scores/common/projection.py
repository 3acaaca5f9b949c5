"""Coordinates of rows along directions, and the length of what these leave."""

import torch
from torch import Tensor

from madkit.errors import DataError
from madkit.scores.common.memo import argument_key, current_memo, shared

#: Share of a squared length below which what is left of it loses more than three digits as a difference.
CLOSE = 1e-3


@shared
def centred(x: Tensor, mean: Tensor) -> Tensor:
    """Rows (b, d) minus the mean (d,)."""
    return x - mean


def projected(x: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """Coordinates (b, r) of rows minus the mean along directions, the rows of (r, d).

    Scores that keep different numbers of the same leading directions share the product.
    """
    memo = current_memo()
    if memo is None:
        return (x - mean) @ directions.T
    key = projected, argument_key(x), argument_key(mean), directions.data_ptr(), directions.stride()
    coordinates, _ = memo.results.get(key, (x.new_zeros(len(x), 0), None))
    r = coordinates.shape[1]
    if r < len(directions):
        coordinates = torch.cat([coordinates, centred(x, mean) @ directions[r:].T], dim=1)
        memo.results[key] = coordinates, (x, mean, directions)
    return coordinates[:, : len(directions)]


@shared
def squared_residual(x: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """Squared length (b,) of what orthonormal directions, the rows of (r, d), leave of rows minus the mean.

    By Pythagoras, which needs no product; rows of which little is left, where that loses digits, are done in full.
    As many directions as features leave nothing.
    """
    if len(directions) == directions.shape[1]:
        return x.new_zeros(len(x))
    rows, coordinates = centred(x, mean), projected(x, mean, directions)
    lengths = rows.square().sum(1)
    left = lengths - coordinates.square().sum(1)
    again = (left < CLOSE * lengths).nonzero()[:, 0]
    left[again] = (rows[again] - coordinates[again] @ directions).square().sum(1)
    return left


@shared
def unit_length(x: Tensor) -> Tensor:
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
