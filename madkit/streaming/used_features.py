"""Which features any row has used, such as latents of a sparse autoencoder."""

import torch
from torch import Tensor
from typing_extensions import override

from madkit.streaming.accumulator import Accumulator


class UsedFeatures(Accumulator):
    """Which features were ever non-zero, (d,) 0 or 1; sparse rows stay sparse."""

    sparse = True
    parts = ("n", "used")
    used: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("used", torch.zeros(0, dtype=torch.uint8), dist_reduce_fx=None)

    @override
    def update(self, x: Tensor) -> None:
        """Add the rows of x, (b, d), dense or coalesced COO."""
        if x.layout == torch.strided:
            used = (x != 0).any(0).to(torch.uint8)
        else:
            used = torch.zeros(x.shape[1], dtype=torch.uint8, device=x.device)
            used[x.indices()[1][x.values() != 0]] = 1
        self.absorb(torch.tensor(len(x), device=x.device), used)

    @override
    def absorb(self, *parts: Tensor) -> None:
        n, used = parts
        if n:
            self.used = used.maximum(self.used) if self.n else used.clone()
            self.width.fill_(len(used))
            self.n += n

    @override
    def result(self) -> Tensor:
        return self.used.clone()
