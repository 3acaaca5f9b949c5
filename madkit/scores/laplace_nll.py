"""Negative log density under the standard Laplace prior of a normalising flow."""

import math

from torch import Tensor
from typing_extensions import override

from madkit.scores.common.fixed_score import FixedScore


class LaplaceNLL(FixedScore):
    """Negative log density of independent Laplace(0, 1) coordinates; given and not fitted.

    Formula: sum_i |z_i| + d ln 2, in nats.

    Source: Laplace (1774); as the prior of a normalising flow EleutherAI's second update on mechanistic anomaly
    detection, blog.eleuther.ai/mad_research_update_2, which reports the log density without the minus.

    Blind to: all that the trusted rows could tell: their mean, scale and correlations. Of a flow's outputs it is the
    density of these and not of the activations, as the flow's change of volume is left out.

    Use when: the rows are outputs of a normalising flow that was trained with this prior.

    Example:
        >>> import torch
        >>> LaplaceNLL().fit(torch.zeros(1, 2))(torch.tensor([[1.0, -2.0]]))
        tensor([4.3863], dtype=torch.float64)
    """

    @override
    def score(self, x: Tensor) -> Tensor:
        return x.abs().sum(1) + x.shape[1] * math.log(2)
