"""All rows that a score saw, in an order that no batch or process can change."""

import numpy as np
import torch
from torch import Tensor

from madkit.streaming.accumulator import Accumulator


class Pool(Accumulator):
    """All rows, float64. The result lists them in an order that depends on their values only."""

    parts = ("n", "rows")
    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", torch.zeros(0, 0, dtype=torch.float64), dist_reduce_fx=None)

    def update(self, x: Tensor) -> None:
        """Add the rows of x, (b, d) float64."""
        if len(x):
            self.absorb(x.new_tensor(len(x), dtype=torch.int64), x)

    def absorb(self, *parts: Tensor) -> None:
        """See the base class."""
        n, rows = int(parts[0]), parts[1]
        if not n:
            return
        self.rows = appended(self.rows, int(self.n), rows[:n])
        self.width.fill_(rows.shape[1])
        self.n += n

    def result(self) -> Tensor:
        """The rows, (n, d), in canonical order."""
        return canonical(self.rows[: int(self.n)])


def appended(buffer: Tensor, used: int, rows: Tensor) -> Tensor:
    """The buffer with `rows` after its first `used` rows; a larger one where they do not fit.

    The first rows become the buffer themselves.
    """
    if not used:
        return rows
    end = used + len(rows)
    if end > len(buffer):
        # Doubling: a million one-row updates copy each row about twice, not a million times.
        grown = rows.new_empty(max(2 * used, end), rows.shape[1])
        grown[:used] = buffer[:used]
        buffer = grown
    buffer[used:end] = rows
    return buffer


def canonical(rows: Tensor) -> Tensor:
    """Sort rows (n, d) by the bytes of their values, so that ties between them never depend on arrival.

    -0.0 in `rows` becomes 0.0, in place: the same number in other bytes.
    """
    if not rows.numel():
        return rows
    keys = np.ascontiguousarray(rows.add_(0.0).cpu().numpy())
    order = np.argsort(keys.view(np.dtype((np.void, keys.shape[1] * keys.itemsize)))[:, 0], kind="stable")
    return rows[torch.from_numpy(order).to(rows.device)]
