"""The activations of the base model and of the tuned one, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from madkit.derived.model_difference import ModelDifference


class Paired(ModelDifference):
    """The vector with the adapter off, followed by the same with the adapter on: (b, 2 d).

    For scores that model the second half given the first, such as `ConditionalT`.

    Args:
        feature: the stored feature, which has to be among the ``controls`` of `madkit predict` too.

    Example:
        >>> Paired()([torch.tensor([[1.0]]), torch.tensor([[3.0]])])
        tensor([[1., 3.]], dtype=torch.float64)
    """

    @override
    def vectors(self, sources: Sequence[Tensor], trusted: bool) -> Tensor:
        return torch.cat(list(sources), dim=1)
