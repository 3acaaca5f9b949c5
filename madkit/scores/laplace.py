"""Negative log density under the standard Laplace prior of a normalising flow."""

import math

from torch import Tensor

from madkit.scores.base import Score
from madkit.scores.state import Count


class LaplaceNLL(Score):
    """Negative log density of independent Laplace(0, 1) coordinates: sum_i |z_i| + d ln 2, in nats.

    The density is given, not fitted; fitting only fixes d.

    Example:
        >>> import torch
        >>> LaplaceNLL().fit(torch.zeros(1, 2))(torch.tensor([[1.0, -2.0]]))
        tensor([4.3863], dtype=torch.float64)
    """

    def accumulator(self) -> Count:
        """See the base class."""
        return Count()

    def estimate(self, trusted: None, untrusted: None) -> dict[str, Tensor]:
        """See the base class."""
        return {}

    def score(self, x: Tensor) -> Tensor:
        """See the base class."""
        return x.abs().sum(1) + x.shape[1] * math.log(2)
