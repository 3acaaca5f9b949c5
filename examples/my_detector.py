r"""A detector of one's own: the Euclidean distance from the mean of the trusted prompts.

    madkit test --config recipes/test.yaml --config examples/my_detector.yaml \
        --with examples/my_detector.py --run runs/tiny-llama

A score says what to remember of the rows (`accumulator`), what to make of it (`estimate`), and how a row is scored
(`score`). madkit streams, merges over processes, checks, saves and loads.
"""

import torch
from torch import Tensor

from madkit.scores import Score
from madkit.streaming import FeatureStatistics, Variances


class DistanceFromMean(Score):
    """|x - mu| / sqrt(d), with mu the mean of the trusted rows.

    Args:
        power: 1 for the distance, 2 for its square.
    """

    accumulator = Variances

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power

    def estimate(self, trusted: FeatureStatistics, untrusted: None) -> dict[str, Tensor]:
        """Keep the mean."""
        return {"mean": trusted.mean}

    def score(self, x: Tensor) -> Tensor:
        """The distance of each row (b, d), as (b,)."""
        return torch.linalg.vector_norm(x - self.mean, dim=1).pow(self.power) / x.shape[1] ** 0.5
