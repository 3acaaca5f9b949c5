"""How unsure the model is of its answer, from the logits of all answers."""

import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import DataError
from madkit.scores.common.fixed_score import FixedScore


class MaxSoftmax(FixedScore):
    """How improbable the most probable answer is, by the logits of all answers.

    Formula: log((1 - p) / p), with p = max_i softmax(x)_i. It orders prompts as -p does, and still tells them apart
    where p rounds to 1; of two answers it is minus the absolute difference of their logits.

    Source: Hendrycks and Gimpel (2017), arXiv 1610.02136, the baseline of maximum softmax probability (MSP).

    Blind to: anything that leaves the model sure of its answer, and to which answer it is: a quirk that the model
    follows with confidence looks perfectly normal.

    Use when: as the baseline that looks at the output only; what a detector on activations finds beyond it is not
    uncertainty. For the site `logits` of the feature `answers`, extracted for the trusted and the test split.

    Raises:
        DataError: when fitting, rows of a single logit, whose softmax is always 1.

    Example:
        >>> MaxSoftmax().fit(torch.zeros(1, 2))(torch.tensor([[0.0, 0.0], [1.0, 51.0], [90.0, 0.0]]))
        tensor([  0., -50., -90.], dtype=torch.float64)
    """

    @override
    def estimate(self, trusted: None, untrusted: None) -> dict[str, Tensor]:
        if self.d == 1:
            raise DataError(f"{self.short} has d=1 logit, and its softmax is always 1: give the logits of all answers")
        return {}

    @override
    def score(self, x: Tensor) -> Tensor:
        best, answer = x.max(1, keepdim=True)
        return (x - best).scatter(1, answer, -torch.inf).logsumexp(1)
