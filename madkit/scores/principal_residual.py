"""What the principal directions of the trusted rows leave of a row."""

import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError, DataError
from madkit.scores.common.projection import squared_residual
from madkit.scores.common.score import Score
from madkit.streaming.covariance import CovarianceStatistics
from madkit.streaming.moments import Moments


class PrincipalResidual(Score):
    """Length of the part of a row that the trusted rows' principal directions do not reach.

    Formula: |(I - V'V)(x - mu)|, with mu the mean of the trusted rows and the rows of V their leading principal
    directions.

    Source: Jackson and Mudholkar (1979), the Q statistic of principal components; on features of networks the
    residual of ViM, Wang et al. (2022), arXiv 2203.10807.

    Blind to: everything inside the kept directions, however far from the mean, which is where Mahalanobis looks.
    All directions outside count equally, so one noisy feature may decide.

    Use when: an anomaly may use directions that trusted prompts leave unused: with many features and few trusted
    prompts, beside Mahalanobis and not instead of it.

    Args:
        keep: how many directions are kept, or, as a number between 0 and 1, as many as hold this share of the
            variance. Never more than those in which the trusted rows vary.

    Raises:
        ConfigError: `keep` is out of range.
        DataError: when fitting, fewer than two trusted rows, or all of them equal; or the kept directions are all
            there are.

    Example:
        >>> trusted = torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0], [4.0, 0.0, 1.0]])
        >>> PrincipalResidual(keep=1).fit(trusted)(torch.tensor([[9.0, 0.0, 1.0], [2.0, 3.0, 5.0]]))
        tensor([0., 5.], dtype=torch.float64)
    """

    accumulator = Moments
    mean: Tensor
    directions: Tensor

    def __init__(self, keep: int | float = 0.9) -> None:
        super().__init__()
        if isinstance(keep, bool) or not (keep >= 1 if isinstance(keep, int) else 0 < keep < 1):
            raise ConfigError(f"keep={keep} is out of range: give a number of directions, or a share such as 0.9")
        self.keep = keep

    @override
    def estimate(self, trusted: CovarianceStatistics, untrusted: None) -> dict[str, Tensor]:
        variances, directions = trusted.varied(self.short).spectrum
        kept = self.keep
        if isinstance(kept, float):
            # A share that is met but for rounding is met, whatever the order of the rows.
            lacking = variances.cumsum(0) < kept * (1 - 1e-12) * variances.sum()
            kept = int(lacking.sum()) + 1
        directions = directions[:kept]
        if len(directions) == len(trusted.mean):
            raise DataError(f"keep={self.keep} keeps all d={len(directions)} directions and leaves nothing: lower it")
        return {"mean": trusted.mean, "directions": directions}

    @override
    def score(self, x: Tensor) -> Tensor:
        return torch.sqrt(squared_residual(x, self.mean, self.directions))
