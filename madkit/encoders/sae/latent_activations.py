"""What makes latents of pre-activations: the activation functions of published sparse autoencoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TopK(nn.Module):
    """The k largest, where they are positive (Gao et al., arXiv 2406.04093, section 2.3).

    Args:
        k: how many.

    Example:
        >>> values, indices = TopK(2)(torch.tensor([[-1.0, 3.0, 2.0, 1.0]]))
        >>> sorted(zip(indices[0].tolist(), values[0].tolist()))
        [(1, 3.0), (2, 2.0)]
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Values and indices (n, k) of the latents in use, from pre-activations (n, m)."""
        values, indices = torch.topk(pre.relu(), self.k, dim=-1, sorted=False)
        return values, indices


class GroupMax(nn.Module):
    """The largest of each of k groups of neighbouring latents, where it is positive (of sparsify).

    Args:
        k: how many groups; divides the number of latents.

    Example:
        >>> GroupMax(2)(torch.tensor([[-1.0, 3.0, 2.0, 1.0]]))
        (tensor([[3., 2.]]), tensor([[1, 2]]))
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Values and indices (n, k) of the latents in use, from pre-activations (n, m)."""
        values, inside = pre.relu().unflatten(-1, (self.k, -1)).max(dim=-1)
        return values, inside + torch.arange(0, pre.shape[-1], pre.shape[-1] // self.k, device=pre.device)


class Rectified(nn.Module):
    """ReLU, or JumpReLU (Rajamanoharan et al., arXiv 2407.14435): what is above a threshold stays as it is.

    Args:
        threshold: (m,), or (1,) for the same for all; None for ReLU.

    Example:
        >>> Rectified(torch.tensor([0.0, 5.0, 1.0]))(torch.tensor([[-1.0, 3.0, 2.0]]))
        (tensor([[2.]]), tensor([[2]]))
    """

    threshold: Tensor | None

    def __init__(self, threshold: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("threshold", threshold)

    def forward(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Values and indices (n, k) of the latents in use, from pre-activations (n, m)."""
        acts = pre.relu()
        return used_latents(acts if self.threshold is None else acts * (pre > self.threshold))


class Gated(nn.Module):
    """A gate says which latents are in use, and a second line with the same directions how much.

    Rajamanoharan et al., arXiv 2404.16014, section 3.2.

    Args:
        b_gate: (m,), bias of the gate.
        r_mag: (m,), logarithm of how much larger magnitudes are than pre-activations.
        b_mag: (m,), bias of magnitudes.
    """

    b_gate: Tensor
    r_mag: Tensor
    b_mag: Tensor

    def __init__(self, b_gate: Tensor, r_mag: Tensor, b_mag: Tensor) -> None:
        super().__init__()
        for name, tensor in (("b_gate", b_gate), ("r_mag", r_mag), ("b_mag", b_mag)):
            self.register_buffer(name, tensor)

    def forward(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Values and indices (n, k) of the latents in use, from pre-activations (n, m) without a bias."""
        return used_latents((pre * self.r_mag.exp() + self.b_mag).relu() * (pre + self.b_gate > 0))


def used_latents(acts: Tensor) -> tuple[Tensor, Tensor]:
    """The latents that are not zero, as many columns as the row has that uses most.

    Args:
        acts: (n, m), not negative.

    Returns:
        Values (n, k), the largest first, and indices (n, k), int64; latent 0 with value 0 where a row uses fewer.

    Example:
        >>> used_latents(torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 4.0]]))
        (tensor([[2., 0.],
                [4., 1.]]), tensor([[1, 0],
                [2, 0]]))
    """
    most = max(int((acts != 0).sum(1).max()), 1) if len(acts) else 1
    values, indices = acts.topk(most, dim=1)
    return values, indices.masked_fill(values == 0, 0)
