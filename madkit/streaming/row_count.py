"""How many rows there were, for scores that learn nothing of them."""

import torch
from torch import Tensor
from typing_extensions import override

from madkit.streaming.accumulator import Accumulator


class RowCount(Accumulator):
    """Number and width of the rows; the result is None."""

    sparse = True
    parts = ("n", "width")

    @override
    def update(self, x: Tensor) -> None:
        self.absorb(torch.tensor(len(x)), torch.tensor(x.shape[1]))

    @override
    def absorb(self, *parts: Tensor) -> None:
        n, width = parts
        if n:
            self.n += n.to(self.n.device)
            self.width.copy_(width)

    @override
    def result(self) -> None:
        return None
