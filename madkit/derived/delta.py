"""What the adapter changes in an activation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from madkit.derived.model_difference import ModelDifference


class Delta(ModelDifference):
    """The vector with the adapter on minus the same with the adapter off.

    What a prompt's topic and difficulty do to both models alike falls out.

    Args:
        feature: the stored feature, which has to be among the ``controls`` of `madkit predict` too.

    Example:
        >>> import torch
        >>> base, tuned = torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 1.0]])
        >>> Delta()([base, tuned])
        tensor([[2., 0.]], dtype=torch.float64)
    """

    @override
    def vectors(self, sources: Sequence[Tensor], trusted: bool) -> Tensor:
        base, tuned = sources
        return tuned - base
