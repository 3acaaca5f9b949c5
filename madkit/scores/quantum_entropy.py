"""Quantum entropy scoring: along which directions do the untrusted rows stand out from the trusted ones?"""

import math

import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.scores.common.projection import centred
from madkit.scores.common.score import Score
from madkit.streaming.covariance import CovarianceStatistics
from madkit.streaming.moments import Moments

#: Eigenvalues that differ by this share of the largest, times the dimension, are equal but for rounding.
TIE = 4 * torch.finfo(torch.float64).eps


class QuantumEntropy(Score):
    """Squared distance that looks mostly along the directions in which untrusted rows stand out.

    Formula: z' U z / Tr U, U = expm(alpha S / |S|), with z a row whitened by the trusted mean and covariance, S the
    covariance of the whitened untrusted rows and |S| its largest eigenvalue.

    Source: Dong, Hopkins and Li (2019), arXiv 1906.11366, QUE scoring; there S is that of the rows that are scored.

    Blind to: anomalies that have no direction in common, or too few of them among the untrusted rows to show in
    their covariance; directions outside the span of the trusted rows. About "untrusted" also to a shift that all
    untrusted rows share.

    Use when: untrusted prompts are at hand that contain a minority of anomalies of one kind.

    Args:
        alpha: 0 weighs all directions equally, infinity looks along the top one only (all that tie for it, equally);
            4 in the published study, arXiv 2504.08812.
        rcond: directions whose trusted variance is at most `rcond` times the largest are dropped.
        about: "untrusted" centres S on the untrusted mean; "trusted" takes the second moment about the
            trusted mean, which also sees a shift of all untrusted rows.

    Raises:
        ConfigError: an argument is out of range.
        DataError: when fitting, a split has fewer than two rows, or all of them equal.
    """

    accumulator = Moments
    offline = True
    mean: Tensor
    factor: Tensor

    def __init__(self, alpha: float = 4.0, rcond: float = 1e-3, about: str = "untrusted") -> None:
        super().__init__()
        if not alpha >= 0 or not 0 <= rcond < 1:
            raise ConfigError(f"alpha={alpha}, rcond={rcond}: give alpha >= 0 and 0 <= rcond < 1")
        if about not in ("trusted", "untrusted"):
            raise ConfigError(f"about={about!r} is unknown: give 'untrusted' or 'trusted'")
        self.alpha, self.rcond, self.about = float(alpha), float(rcond), about

    @override
    def estimate(self, trusted: CovarianceStatistics, untrusted: CovarianceStatistics) -> dict[str, Tensor]:
        variances, directions = trusted.varied(self.short).leading(self.rcond)
        whiten = directions.T / variances.sqrt()
        spread = untrusted.varied(self.short).within(whiten)
        if self.about == "trusted":
            shift = (untrusted.mean - trusted.mean) @ whiten
            spread = spread * ((untrusted.n - 1) / untrusted.n) + torch.outer(shift, shift)
        strength, axes = torch.linalg.eigh((spread + spread.T) / 2)
        # Untrusted rows may vary in dropped directions only; then every direction counts the same.
        scaled = strength / strength[-1] if strength[-1] > 0 else torch.zeros_like(strength)
        if math.isinf(self.alpha):
            # The limit of the softmax. Equal eigenvalues come apart by rounding, which may not choose between them.
            top = scaled >= scaled[-1] - len(scaled) * TIE
            weights = top / top.sum(dtype=scaled.dtype)
        else:
            weights = torch.softmax(self.alpha * scaled, 0)
        return {"mean": trusted.mean, "factor": whiten @ (axes * weights.sqrt())}

    @override
    def score(self, x: Tensor) -> Tensor:
        return (centred(x, self.mean) @ self.factor).square().sum(1)
