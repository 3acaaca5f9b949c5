"""Mahalanobis distance that ignores correlations."""

import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError, DataError
from madkit.scores.common.score import Score
from madkit.streaming.variances import FeatureStatistics, Variances


class DiagonalMahalanobis(Score):
    """Mean squared z-score of the features: Mahalanobis distance that takes them for uncorrelated.

    Formula: mean over i of (x_i - mu_i)^2 / v_i, with mu and v (1/n) the trusted mean and variances.

    Source: the diagonal case of Mahalanobis (1936); on latents of sparse autoencoders EleutherAI's second update on
    mechanistic anomaly detection, blog.eleuther.ai/mad_research_update_2.

    Blind to: correlations: values that are ordinary one by one in a combination that trusted rows never show. Without
    `ridge` also to features that are constant on them, such as unused latents, which `NovelLatents` counts. A latent
    that few trusted prompts use has a tiny variance and a loud voice.

    Use when: there are many more features than trusted prompts, such as latents of a sparse autoencoder; sparse rows
    stay sparse.

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

    accumulator = Variances
    sparse = True
    mean: Tensor
    weights: Tensor

    def __init__(self, ridge: float | None = None) -> None:
        super().__init__()
        if ridge is not None and not ridge > 0:
            raise ConfigError(f"ridge={ridge} must be positive: or give null to leave constant features out")
        self.ridge = None if ridge is None else float(ridge)

    @override
    def estimate(self, trusted: FeatureStatistics, untrusted: None) -> dict[str, Tensor]:
        variances = trusted.m2 / trusted.n
        if not variances.any():
            raise DataError(f"{self.short}: no feature varies over n={trusted.n} trusted rows: give other rows")
        if self.ridge is not None:
            weights = 1 / (variances + self.ridge * variances.mean()) / len(variances)
        else:
            varies = variances > 0
            weights = torch.where(varies, 1 / variances, 0.0) / varies.sum()
        return {"mean": trusted.mean, "weights": weights}

    @override
    def score(self, x: Tensor) -> Tensor:
        if x.layout == torch.strided:
            return (x - self.mean).square() @ self.weights
        # Each row pays for its zeros once, as if it had no other values; then the others are put right.
        at_zero = self.weights * self.mean.square()
        # Where the values are far from zero (a latent that is active on most rows) that would lose digits.
        dense = at_zero * len(at_zero) > 1
        rows, columns = x.indices()
        mean, weights = self.mean[columns], self.weights[columns]
        change = weights * (x.values() - mean).square() - at_zero[columns]
        total = at_zero.masked_fill(dense, 0.0).sum().repeat(len(x))
        total.index_add_(0, rows, change.masked_fill(dense[columns], 0.0))
        return total + self._dense(x, dense.nonzero()[:, 0])

    def _dense(self, x: Tensor, features: Tensor) -> Tensor:
        """The part (b,) of these features, each of which most of the rows use."""
        column_of = torch.full((x.shape[1],), -1, device=x.device).index_copy(
            0, features, torch.arange(len(features), device=x.device)
        )
        rows, columns = x.indices()
        kept = column_of[columns] >= 0
        values = x.values().new_zeros(len(x), len(features))
        values[rows[kept], column_of[columns[kept]]] = x.values()[kept]
        return (values - self.mean[features]).square() @ self.weights[features]
