"""Features that are anomalous where they are low."""

from torch import Tensor
from typing_extensions import override

from madkit.scores.common.fixed_score import FixedScore


class LowValue(FixedScore):
    """The mean of the features, negated; given and not fitted. Of a feature of one number it is that number.

    Formula: -(1/d) sum_i x_i.

    Source: EleutherAI's research update on local volume, which calls prompts of small volume anomalous.

    Blind to: what trusted prompts are like; an unusually high number counts as least anomalous. `Mahalanobis` of one
    number looks at both sides.

    Use when: theory says that low numbers are anomalous, as for the local volume of a prompt, or for its radii.

    Example:
        >>> import torch
        >>> LowValue().fit(torch.zeros(1, 1))(torch.tensor([[3.0], [-2.0]]))
        tensor([-3.,  2.], dtype=torch.float64)
    """

    @override
    def score(self, x: Tensor) -> Tensor:
        return -x.mean(1)
