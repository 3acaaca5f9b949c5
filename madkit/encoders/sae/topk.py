"""The largest entries of each row of a wide matrix, found among the maxima of groups."""

from __future__ import annotations

from torch import Tensor

# Columns in a group; one of 8 to 16 was fastest for 4096 to 16384 columns.
GROUP = 8


def largest(x: Tensor, k: int, *, ordered: bool = False) -> tuple[Tensor, Tensor]:
    """What ``x.topk(k, dim=1)`` gives, in less time where there are many more columns than k.

    No more than k groups of columns can hold one of the k largest entries: those whose own maxima are largest. So the
    entries are chosen from k groups, and the groups, if they are still many, from groups of groups. Among equal
    entries another one may be chosen than `topk` chooses.

    Args:
        x: (n, m).
        k: at most m.
        ordered: largest first; otherwise in any order.

    Returns:
        The values (n, k) and their columns (n, k), int64.

    Example:
        >>> import torch
        >>> values, columns = largest(torch.arange(64.0).view(1, 64), 2, ordered=True)
        >>> values.tolist(), columns.tolist()
        ([[63.0, 62.0]], [[63, 62]])
    """
    n, m = x.shape
    groups = m // GROUP
    if m % GROUP or groups < 4 * k:
        values, columns = x.topk(k, dim=1, sorted=ordered)
        return values, columns
    # Group j is columns j, j + groups, ...: then a maximum over a group reads memory in one piece.
    folded = x.unflatten(1, (GROUP, groups))
    chosen = largest(folded.amax(1), k)[1]
    few = folded.gather(2, chosen[:, None].expand(n, GROUP, k)).flatten(1)
    values, places = few.topk(k, dim=1, sorted=ordered)
    return values, chosen.gather(1, places % k) + places.div(k, rounding_mode="floor") * groups
