"""All rows, in an order that depends on no batch and no process."""

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from madkit.streaming.accumulator import Accumulator


class Pool(Accumulator):
    """All rows, float64. The result is (n, d), in an order that depends on their values only."""

    parts = ("n", "rows")
    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", torch.zeros(0, 0, dtype=torch.float64), dist_reduce_fx=None)

    @override
    def update(self, x: Tensor) -> None:
        """Add the rows of x, (b, d)."""
        x = x.double()
        if len(x):
            self.absorb(x.new_tensor(len(x), dtype=torch.int64), x)

    @override
    def absorb(self, *parts: Tensor) -> None:
        n, rows = int(parts[0]), parts[1]
        if not n:
            return
        self.rows = append_rows(self.rows, int(self.n), rows[:n])
        self.width.fill_(rows.shape[1])
        self.n += n

    @override
    def result(self) -> Tensor:
        return canonical_order(self.rows[: int(self.n)])


def append_rows(buffer: Tensor, used: int, rows: Tensor) -> Tensor:
    """Put `rows` after the first `used` rows of a buffer, and return it or, where they do not fit, a larger one.

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


def canonical_order(rows: Tensor) -> Tensor:
    """Sort rows (n, d) by the bytes of their values, so that ties between them never depend on arrival.

    -0.0 in `rows` becomes 0.0, in the same memory: the same number in other bytes.
    """
    if not rows.numel():
        return rows
    keys = np.ascontiguousarray(rows.add_(0.0).cpu().numpy())
    order = np.argsort(keys.view(np.dtype((np.void, keys.shape[1] * keys.itemsize)))[:, 0], kind="stable")
    return rows[torch.from_numpy(order).to(rows.device)]
