"""How low the logits of all answers are."""

from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.scores.common.fixed_score import FixedScore


class Energy(FixedScore):
    """Free energy of the logits of all answers: high where none of them is large.

    Formula: -T log sum_i exp(x_i / T), with T the temperature.

    Source: Liu et al. (2020), arXiv 2010.03759.

    Blind to: which answer the model gives and how sure it is of it relative to the others: a large logit for either
    looks normal. Their common height is fixed by training only through the other tokens of the vocabulary.

    Use when: as a baseline on the output that, unlike `MaxSoftmax`, keeps the height of the logits. For the site
    `logits` of the feature `answers`, extracted for the trusted and the test split.

    Args:
        temperature: 1 as published; near 0 the score is minus the largest logit.

    Raises:
        ConfigError: `temperature` is not positive.

    Example:
        >>> import torch
        >>> Energy().fit(torch.zeros(1, 2))(torch.tensor([[0.0, 0.0], [50.0, 0.0]]))
        tensor([ -0.6931, -50.0000], dtype=torch.float64)
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise ConfigError(f"temperature={temperature} is out of range: give a positive number, such as 1")
        self.temperature = float(temperature)

    @override
    def score(self, x: Tensor) -> Tensor:
        return -self.temperature * (x / self.temperature).logsumexp(1)
