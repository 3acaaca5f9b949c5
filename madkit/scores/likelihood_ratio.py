"""Which of two Gaussians, the untrusted or the trusted one, explains a row better?"""

import math

import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import DataError
from madkit.scores.common.score import Score
from madkit.scores.common.shrinkage import optimal_linear
from madkit.streaming.covariance import CovarianceStatistics
from madkit.streaming.moments import Moments


class LikelihoodRatio(Score):
    """How much better a Gaussian of the untrusted rows explains a row than one of the trusted rows does.

    Formula: log N(x; untrusted) - log N(x; trusted), in nats, with both covariances shrunk optimally towards the
    identity, which keeps them invertible with fewer rows than features.

    Source: Neyman and Pearson (1933); the shrinkage is that of Bodnar, Gupta and Parolya (2014), arXiv 1308.2608.

    Blind to: anomalies of a kind that the untrusted rows do not contain. Where these are mostly normal both
    Gaussians are the same, and where they differ for other reasons the score shows those.

    Use when: untrusted prompts are at hand of which a large part is anomalous, and both kinds are about one cloud.

    Raises:
        DataError: when fitting, a split has too few rows for a positive definite covariance.
    """

    accumulator = Moments
    offline = True
    mean: Tensor
    root: Tensor
    constant: Tensor

    @override
    def estimate(self, trusted: CovarianceStatistics, untrusted: CovarianceStatistics) -> dict[str, Tensor]:
        roots, constants = [], []
        for split in (trusted, untrusted):
            covariance = split.varied(self.short).covariance
            keep, floor = optimal_linear(split)
            shrunk = keep * covariance
            shrunk.diagonal().add_(floor)
            root, failed = torch.linalg.cholesky_ex(shrunk)
            if failed:
                raise DataError(
                    f"{self.short}: n={split.n} rows of d={len(split.mean)} features give no positive "
                    "definite covariance: give more rows"
                )
            roots.append(root)
            constants.append(-root.diagonal().log().sum() - len(root) / 2 * math.log(2 * math.pi))
        return {
            "mean": torch.stack([trusted.mean, untrusted.mean]),
            "root": torch.stack(roots),
            "constant": torch.stack(constants),
        }

    @override
    def score(self, x: Tensor) -> Tensor:
        solved = torch.linalg.solve_triangular(self.root, (x - self.mean[:, None]).mT, upper=False)
        distances = torch.linalg.vector_norm(solved, dim=1).square()
        trusted, untrusted = self.constant[:, None] - distances / 2
        return untrusted - trusted
