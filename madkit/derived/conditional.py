"""What the base model's activation does not explain of the tuned model's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from madkit.derived.model_difference import ModelDifference
from madkit.streaming.covariance import CovarianceStatistics
from madkit.streaming.moments import Moments
from madkit.streaming.ridge import RidgeRegression, require_penalty, ridge_regression


class Conditional(ModelDifference):
    """The vector with the adapter on minus what a ridge regression on trusted prompts predicts from it off.

    If both are jointly Gaussian, the squared Mahalanobis distance of this residual is -2 log p(tuned | base) up to a
    constant: whatever makes a prompt unusual for the base model too (topic, difficulty, template) is taken out.

    The residuals of the trusted prompts themselves are those of a regression without the prompt, in closed form:
    e / (1 - leverage). With fewer trusted prompts than numbers in a vector plain ones would be nearly zero.

    Args:
        feature: the stored feature, which has to be among the ``controls`` of `madkit predict` too.
        studentised: divide by the predictive spread: by sqrt(1 + leverage), and leave-one-out residuals of the trusted
            prompts by 1 / sqrt(1 - leverage), so that all have one variance under the regression's model. A prompt far
            from all trusted ones has a large residual because the regression is extrapolated there.
        penalty: of the ridge regression, as a share of the base vectors' mean sum of squares in a direction; None
            chooses it by generalised cross-validation on the trusted prompts.

    Raises:
        ConfigError: the penalty is not positive.

    Example:
        >>> base = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> conditional = Conditional(penalty=1e-9)
        >>> conditional.update([base, 2 * base + 1])
        >>> conditional([torch.tensor([[4.0], [4.0]]), torch.tensor([[9.0], [12.0]])]).round(decimals=6)
        tensor([[0.],
                [3.]], dtype=torch.float64)
    """

    accumulator = Moments

    def __init__(self, feature: str = "activations", studentised: bool = False, penalty: float | None = None) -> None:
        super().__init__(feature)
        self.studentised = studentised
        self.penalty = require_penalty(penalty)

    @override
    def estimate(self, statistics: CovarianceStatistics, widths: Sequence[int]) -> dict[str, Tensor]:
        return ridge_regression(statistics.varied(self.short), widths[0], self.penalty).tensors()

    @override
    def vectors(self, sources: Sequence[Tensor], trusted: bool) -> Tensor:
        base, tuned = sources
        ridge = RidgeRegression.of_module(self)
        residuals, leverages = ridge.residuals(base, tuned), ridge.leverages(base)[:, None]
        if not trusted:
            return residuals / torch.sqrt(1 + leverages) if self.studentised else residuals
        # A prompt that is alone in a direction has a leverage of 1, but for rounding, and no prediction without it.
        left = (1 - leverages).clamp(min=1e-9)
        return residuals / (torch.sqrt(left) if self.studentised else left)
