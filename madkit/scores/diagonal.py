"""Mahalanobis distance that ignores correlations."""

import torch
from torch import Tensor

from madkit.errors import ConfigError, DataError
from madkit.scores.base import Score
from madkit.scores.state import Moments, Statistics


class DiagonalMahalanobis(Score):
    """Mean over features of (x_i - mu_i)^2 / v_i, with v the trusted variances (1/n).

    Args:
        ridge: None leaves constant features out and takes the mean over the rest. A number r replaces v_i by
            v_i + r mean(v), so that constant features count too.

    Raises:
        ConfigError: `ridge` is not positive.
        DataError: when fitting, no feature varies.

    Example:
        >>> trusted = torch.tensor([[0.0, 7.0], [2.0, 7.0]])
        >>> DiagonalMahalanobis().fit(trusted)(torch.tensor([[3.0, 9.0]]))
        tensor([4.], dtype=torch.float64)
        >>> DiagonalMahalanobis(ridge=1).fit(trusted)(torch.tensor([[3.0, 9.0]]))
        tensor([5.3333], dtype=torch.float64)
    """

    mean: Tensor
    weights: Tensor

    def __init__(self, ridge: float | None = None) -> None:
        super().__init__()
        if ridge is not None and not ridge > 0:
            raise ConfigError(f"ridge={ridge} must be positive: or give null to leave constant features out")
        self.ridge = None if ridge is None else float(ridge)

    def accumulator(self) -> Moments:
        """See the base class."""
        return Moments(diagonal=True)

    def estimate(self, trusted: Statistics, untrusted: None) -> dict[str, Tensor]:
        """See the base class."""
        variances = trusted.m2 / trusted.n
        if not variances.any():
            raise DataError(f"{self.short}: no feature varies over n={trusted.n} trusted rows: give other rows")
        if self.ridge is not None:
            weights = 1 / (variances + self.ridge * variances.mean()) / len(variances)
        else:
            varies = variances > 0
            weights = torch.where(varies, 1 / variances, 0.0) / varies.sum()
        return {"mean": trusted.mean, "weights": weights}

    def score(self, x: Tensor) -> Tensor:
        """See the base class."""
        return ((x - self.mean).square() * self.weights).sum(1)
