"""How unsure the model is of its answer, from the logits of the answers alone."""

import torch
from torch import Tensor

from madkit.errors import ConfigError, DataError
from madkit.scores.common.score import Score
from madkit.streaming.row_count import RowCount


class MaxSoftmax(Score):
    """How improbable the most probable answer is, by the logits of all answers.

    Formula: log((1 - p) / p), with p = max_i softmax(x)_i. It orders prompts as -p does, and still tells them apart
    where p rounds to 1; of two answers it is minus the absolute difference of their logits.

    Source: Hendrycks and Gimpel (2017), arXiv 1610.02136, the baseline of maximum softmax probability (MSP).

    Blind to: anything that leaves the model sure of its answer, and to which answer it is: a quirk that the model
    follows with confidence looks perfectly normal.

    Use when: as the baseline that looks at the output only; what a detector on activations finds beyond it is not
    uncertainty. For the site `logits` of the feature `answers`, made for the trusted and the test split.

    Raises:
        DataError: when fitting, rows of a single logit, whose softmax is always 1.

    Example:
        >>> MaxSoftmax().fit(torch.zeros(1, 2))(torch.tensor([[0.0, 0.0], [1.0, 51.0], [90.0, 0.0]]))
        tensor([  0., -50., -90.], dtype=torch.float64)
    """

    def accumulator(self) -> RowCount:
        """See the base class."""
        return RowCount()

    def estimate(self, trusted: None, untrusted: None) -> dict[str, Tensor]:
        """See the base class."""
        if self.d == 1:
            raise DataError(f"{self.short} has d=1 logit, and its softmax is always 1: give the logits of all answers")
        return {}

    def score(self, x: Tensor) -> Tensor:
        """See the base class."""
        best, answer = x.max(1, keepdim=True)
        return (x - best).scatter(1, answer, -torch.inf).logsumexp(1)


class Energy(Score):
    """Free energy of the logits of all answers: high where none of them is large.

    Formula: -T log sum_i exp(x_i / T), with T the temperature.

    Source: Liu et al. (2020), arXiv 2010.03759.

    Blind to: which answer the model gives and how sure it is of it relative to the others: a large logit for either
    looks normal. Their common height is fixed by training only through the other tokens of the vocabulary.

    Use when: as a baseline on the output that, unlike `MaxSoftmax`, keeps the height of the logits. For the site
    `logits` of the feature `answers`, made for the trusted and the test split.

    Args:
        temperature: 1 as published; near 0 the score is minus the largest logit.

    Raises:
        ConfigError: `temperature` is not positive.

    Example:
        >>> Energy().fit(torch.zeros(1, 2))(torch.tensor([[0.0, 0.0], [50.0, 0.0]]))
        tensor([ -0.6931, -50.0000], dtype=torch.float64)
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise ConfigError(f"temperature={temperature} is out of range: give a positive number, such as 1")
        self.temperature = float(temperature)

    def accumulator(self) -> RowCount:
        """See the base class."""
        return RowCount()

    def estimate(self, trusted: None, untrusted: None) -> dict[str, Tensor]:
        """See the base class."""
        return {}

    def score(self, x: Tensor) -> Tensor:
        """See the base class."""
        return -self.temperature * (x / self.temperature).logsumexp(1)
