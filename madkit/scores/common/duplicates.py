"""Trusted rows that are equal: what scores by neighbours cannot see through."""

import warnings

import torch
from torch import Tensor


def equal_rows(rows: Tensor, more_than: int) -> tuple[int, int]:
    """How many rows are in groups of equal ones, and the size of the largest group.

    Args:
        rows: (n, d), equal ones side by side, as in the result of a `Pool`.
        more_than: the size that a group has to exceed to count.

    Example:
        >>> equal_rows(torch.tensor([[0.0], [1.0], [1.0], [1.0], [2.0], [2.0]]), more_than=2)
        (3, 3)
    """
    new = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    # Rows that differ differ mostly in the first feature already: the others are compared only where that is equal.
    alike = (rows[1:, 0] == rows[:-1, 0]).nonzero()[:, 0]
    new[1 + alike] = (rows[1 + alike] != rows[alike]).any(1)
    sizes = torch.bincount(new.cumsum(0) - 1)
    sizes = sizes[sizes > more_than]
    return int(sizes.sum()), int(sizes.max()) if len(sizes) else 0


def warn_of_duplicates(rows: Tensor, k: int, name: str, effect: str) -> None:
    """Warn where more than k trusted rows are equal, so that all neighbours of one are at distance zero.

    Args:
        rows: (n, d) trusted rows as of `equal_rows`.
        k: the number of neighbours.
        name: of the score.
        effect: what that does to the score.
    """
    count, largest = equal_rows(rows, k)
    if count:
        warnings.warn(
            f"{name}: {count} of {len(rows)} trusted rows are duplicates, up to {largest} of one row and more than "
            f"k={k}, so that {effect}: raise k to {largest} or more, or leave duplicates out",
            stacklevel=2,
        )
