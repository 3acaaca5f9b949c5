"""Mahalanobis distance to the trusted rows."""

import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.scores.common.projection import centred, projected, squared_residual, unit_length
from madkit.scores.common.score import Score
from madkit.scores.common.shrinkage import ledoit_wolf
from madkit.streaming.covariance import CovarianceStatistics
from madkit.streaming.moments import Moments


class Mahalanobis(Score):
    """Squared Mahalanobis distance by pseudo-inverse, divided by d.

    Formula: (x - mu)' C^+ (x - mu) / d, with mu and C (n - 1) of the trusted rows.

    Source: Mahalanobis (1936); as a detector Lee et al. (2018), arXiv 1807.03888. `relative`: Ren et al. (2021),
    arXiv 2106.09022. `shrinkage`: Ledoit and Wolf (2004). `normalize`: Mueller and Hein (2025), arXiv 2505.18032.

    Blind to: what lies outside the span of the trusted rows, which with fewer rows than features is most of the
    space; `shrinkage` and `residual` are two ways to see it. Takes the trusted rows for one Gaussian.

    Use when: always, as the first score to try. `shrinkage` or `residual` with few trusted prompts; `normalize`
    where the lengths of vectors differ for reasons that do not matter.

    Args:
        rcond: directions whose variance is at most `rcond` times the largest are dropped; 1e-3 in the published
            study, arXiv 2504.08812.
        relative: subtract sum_i (x - mu)_i^2 / C_ii / d, the distance that ignores correlations; constant
            features are left out of that sum.
        shrinkage: "ledoit-wolf" (with 1/n as there) replaces C by its optimal mixture with the scaled
            identity; no direction is dropped then. "none" leaves C as it is.
        residual: add `residual` |r|^2 / (rcond largest variance) / d, where r is the part of x - mu in the
            dropped directions. With 1 they count as if their variance were at the limit of being dropped.
        normalize: divide every row by its Euclidean length first (Mahalanobis++).

    Raises:
        ConfigError: an argument is out of range.
        DataError: when fitting, fewer than two trusted rows, or all of them equal. With `normalize`, a row of
            zeros, which has no direction.

    Example:
        >>> trusted = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> Mahalanobis().fit(trusted)(torch.tensor([[1.0, 1.0], [3.0, 1.0]]))
        tensor([0.0000, 1.5000], dtype=torch.float64)
    """

    accumulator = Moments
    mean: Tensor
    directions: Tensor
    variances: Tensor
    diagonal: Tensor
    beside: Tensor

    def __init__(
        self,
        rcond: float = 1e-3,
        relative: bool = False,
        shrinkage: str = "none",
        residual: float = 0.0,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= rcond < 1:
            raise ConfigError(f"rcond={rcond} is out of range: give 0 <= rcond < 1, such as 1e-3")
        if shrinkage not in ("none", "ledoit-wolf"):
            raise ConfigError(f"shrinkage={shrinkage!r} is unknown: give 'none' or 'ledoit-wolf'")
        if residual < 0 or (residual > 0 and rcond == 0):
            raise ConfigError(f"residual={residual}, rcond={rcond}: residual must be >= 0 and needs rcond > 0")
        if residual and shrinkage != "none":
            raise ConfigError(f"residual={residual} with shrinkage={shrinkage!r}: use one, shrinkage drops nothing")
        self.rcond, self.relative = float(rcond), relative
        self.shrinkage, self.residual = shrinkage, float(residual)
        self.normalize = normalize
        if normalize:
            self.prepare = unit_length

    @override
    def estimate(self, trusted: CovarianceStatistics, untrusted: None) -> dict[str, Tensor]:
        trusted.varied(self.short)
        if self.shrinkage == "none":
            variances, directions = trusted.leading(self.rcond)
            beside = self.residual / (self.rcond * variances[0]) if self.residual else variances.new_zeros(())
        else:
            variances, directions = trusted.spectrum
            factor, floor = ledoit_wolf(trusted)
            variances = factor * variances + floor
            beside = variances.new_tensor(1 / floor if floor > 0 else 0.0)
        return {
            "mean": trusted.mean,
            "directions": directions,
            "variances": variances,
            "diagonal": trusted.diagonal,
            "beside": beside,
        }

    @override
    def score(self, x: Tensor) -> Tensor:
        total = (projected(x, self.mean, self.directions).square() / self.variances).sum(1)
        if self.relative:
            weights = torch.where(self.diagonal > 0, 1 / self.diagonal, 0.0)
            total = total - centred(x, self.mean).square() @ weights
        if self.beside:
            total = total + self.beside * squared_residual(x, self.mean, self.directions)
        return total / x.shape[1]
