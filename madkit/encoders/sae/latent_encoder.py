"""LatentEncoder: the half of a sparse autoencoder that makes latents, whoever has trained it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class LatentEncoder(nn.Module):
    """Latents = activation(gain * (W (normalise(x) - offset) + bias)), in the number format of W.

    Every published kind of autoencoder has this form. The decoder is not part of it: a feature needs latents alone,
    and a decoder is half of a file of gigabytes.

    Args:
        weight: W (m, d); its memory may be that of (d, m), transposed.
        bias: (m,); None for none.
        activation: from pre-activations (n, m) to values and indices (n, k) of the latents in use.
        offset: (d,), what is subtracted from each vector; None for nothing.
        gain: (m,), what pre-activations are multiplied by; None for nothing.
        normalise: what is done to the vectors (n, d) first; None for nothing.
    """

    weight: Tensor
    bias: Tensor | None
    offset: Tensor | None
    gain: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        activation: nn.Module,
        *,
        offset: Tensor | None = None,
        gain: Tensor | None = None,
        normalise: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        for name, tensor in (("bias", bias), ("offset", offset)):
            self.register_buffer(name, None if tensor is None else tensor.to(weight.dtype))
        self.register_buffer("gain", gain)
        self.activation = activation
        self.normalise = normalise

    @property
    def num_latents(self) -> int:
        """How many latents there are."""
        return len(self.weight)

    @property
    def width(self) -> int:
        """The length of the vectors that it reads."""
        return int(self.weight.shape[1])

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The latents that are in use.

        Args:
            x: (n, d).

        Returns:
            How much each is used (n, k), and which it is (n, k), int64. A row that uses fewer than k repeats one with
            value 0.
        """
        x = x.to(self.weight.dtype)
        if self.normalise is not None:
            x = self.normalise(x)
        if self.offset is not None:
            x = x - self.offset
        pre = linear(x, self.weight, self.bias)
        values, indices = self.activation(pre if self.gain is None else pre * self.gain)
        return values, indices
