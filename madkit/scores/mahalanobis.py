"""Mahalanobis distance to the trusted rows."""

import torch
from torch import Tensor

from madkit.errors import ConfigError, DataError
from madkit.scores.base import Score
from madkit.scores.shrinkage import FourthMoments, FourthStatistics, ledoit_wolf
from madkit.scores.state import Moments, Statistics


class Mahalanobis(Score):
    """Squared Mahalanobis distance by pseudo-inverse, divided by d: (x - mu)' C^+ (x - mu) / d.

    mu and C (with n - 1) come from the trusted rows. With fewer rows than features the distance is blind
    outside their span; `shrinkage` and `residual` are two ways to make it see.

    Args:
        rcond: directions whose variance is at most `rcond` times the largest are dropped.
        relative: subtract sum_i (x - mu)_i^2 / C_ii / d, the distance that ignores correlations (Ren et al.
            2021); constant features are left out of that sum.
        shrinkage: "ledoit-wolf" (Ledoit and Wolf 2004, with 1/n as there) replaces C by its optimal mixture
            with the scaled identity; no direction is dropped then. "none" leaves C as it is.
        residual: add `residual` |r|^2 / (rcond largest variance) / d, where r is the part of x - mu in the
            dropped directions. With 1 they count as if their variance were at the limit of being dropped.

    Raises:
        ConfigError: an argument is out of range.
        DataError: when fitting, fewer than two trusted rows, or all of them equal.

    Example:
        >>> trusted = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> Mahalanobis().fit(trusted)(torch.tensor([[1.0, 1.0], [3.0, 1.0]]))
        tensor([0.0000, 1.5000], dtype=torch.float64)
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor
    diagonal: Tensor
    floor: Tensor

    def __init__(
        self, rcond: float = 1e-3, relative: bool = False, shrinkage: str = "none", residual: float = 0.0
    ) -> None:
        super().__init__()
        if not 0 <= rcond < 1:
            raise ConfigError(f"rcond={rcond} is out of range: give 0 <= rcond < 1, such as 1e-3")
        if shrinkage not in ("none", "ledoit-wolf"):
            raise ConfigError(f"shrinkage={shrinkage!r} is unknown: give 'none' or 'ledoit-wolf'")
        if residual < 0 or (residual > 0 and rcond == 0):
            raise ConfigError(f"residual={residual}, rcond={rcond}: residual must be >= 0 and needs rcond > 0")
        self.rcond, self.relative = float(rcond), relative
        self.shrinkage, self.residual = shrinkage, float(residual)

    def accumulator(self) -> Moments:
        """See the base class."""
        return FourthMoments() if self.shrinkage == "ledoit-wolf" else Moments()

    def estimate(self, trusted: Statistics | FourthStatistics, untrusted: None) -> dict[str, Tensor]:
        """See the base class."""
        covariance, rcond = covariance_of(trusted, self.short), self.rcond
        diagonal = covariance.diagonal().clone()
        if isinstance(trusted, FourthStatistics):
            covariance, rcond = ledoit_wolf(trusted), 0.0
        variances, directions = principal(covariance, rcond)
        floor = self.rcond * variances.max()
        return {
            "mean": trusted.mean,
            "directions": directions,
            "variances": variances,
            "diagonal": diagonal,
            "floor": floor,
        }

    def score(self, x: Tensor) -> Tensor:
        """See the base class."""
        centred = x - self.mean
        projected = centred @ self.directions
        total = (projected.square() / self.variances).sum(1)
        if self.relative:
            varies = self.diagonal > 0
            total = total - (centred[:, varies].square() / self.diagonal[varies]).sum(1)
        if self.residual:
            outside = centred - projected @ self.directions.T
            total = total + self.residual / self.floor * outside.square().sum(1)
        return total / x.shape[1]


def covariance_of(statistics: Statistics | FourthStatistics, score: str) -> Tensor:
    """The covariance (d, d) of at least two rows that are not all equal.

    Raises:
        DataError: there is no such covariance.
    """
    if statistics.n < 2 or not statistics.m2.any():
        raise DataError(f"{score} has n={statistics.n} rows without variance: give two different rows or more")
    return statistics.m2 / (statistics.n - 1)


def principal(covariance: Tensor, rcond: float) -> tuple[Tensor, Tensor]:
    """Variances (r,) and directions (d, r) of a covariance that exceed `rcond` times the largest variance."""
    variances, directions = torch.linalg.eigh(covariance)
    # Below rounding an eigenvalue is noise, whatever rcond says.
    rcond = max(rcond, len(variances) * torch.finfo(torch.float64).eps)
    kept = variances > rcond * variances[-1]
    return variances[kept], directions[:, kept].contiguous()
