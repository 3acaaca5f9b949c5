"""Density of the trusted rows as a mixture of Gaussians."""

import math

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError, DataError
from madkit.scores.common.memo import shared
from madkit.scores.common.projection import projected
from madkit.scores.common.score import Score
from madkit.streaming.covariance import covariance_statistics
from madkit.streaming.pool import Pool

# Mixtures of one site share these.
_statistics = shared(covariance_statistics)


class GaussianMixture(Score):
    """Negative log density under a mixture of Gaussians, fitted to the trusted rows' principal coordinates.

    Formula: -log sum_k w_k N(z; m_k, S_k), in nats, with z the coordinates of x - mu along the leading principal
    directions, each divided by its standard deviation. So neither scaling nor turning the features changes it.

    Source: Dempster, Laird and Rubin (1977) for the fit by EM, which is scikit-learn's: it equals minus its
    ``score_samples`` with full covariances, ``reg_covar=1e-6`` and the best of five starts.

    Blind to: everything outside the leading `dims` directions, which is most of the space; there
    `PrincipalResidual` sees more. Few rows a component leave the density to chance.

    Use when: the trusted prompts are a few clouds, such as several templates or tasks, that one Gaussian would
    fill the space between; with at least some hundreds of them.

    Args:
        components: number of Gaussians; 1 is a Mahalanobis distance within the leading directions.
        dims: number of principal directions, or all in which the trusted rows vary if there are fewer.
        seed: where EM starts; the same seed and the same rows, in any order, give the same mixture.

    Raises:
        ConfigError: an argument is out of range.
        DataError: when fitting, fewer rows than the components need, or all of them equal.

    Example:
        >>> trusted = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> GaussianMixture(components=1).fit(trusted)(torch.tensor([[1.0, 1.0], [3.0, 1.0]]))
        tensor([1.5502, 3.5502], dtype=torch.float64)
    """

    accumulator = Pool
    mean: Tensor
    directions: Tensor
    scale: Tensor
    means: Tensor
    roots: Tensor
    constants: Tensor

    def __init__(self, components: int = 4, dims: int = 16, seed: int = 0) -> None:
        super().__init__()
        if components < 1 or dims < 1:
            raise ConfigError(f"components={components}, dims={dims}: give at least 1 of each")
        self.components, self.dims, self.seed = components, dims, seed

    @override
    def estimate(self, trusted: Tensor, untrusted: None) -> dict[str, Tensor]:
        statistics = _statistics(trusted)
        variances, directions = statistics.varied(self.short).spectrum
        dims = min(self.dims, len(variances))
        needed = self.components * (dims + 1)
        if len(trusted) < needed:
            raise DataError(
                f"{self.short}: n={len(trusted)} trusted rows are too few for components={self.components} Gaussians "
                f"of dims={dims}: give at least {needed} rows, or lower components or dims"
            )
        along = projected(trusted, statistics.mean, directions[:dims]) / variances[:dims].sqrt()
        # A direction may as well point the other way; the longer tail decides, which scaling and turning keep.
        signs = torch.where(along.pow(3).sum(0) < 0, -1.0, 1.0).to(along)
        weights, means, roots = fit_mixture((along * signs).cpu().numpy(), self.components, self.seed)
        scale = signs / variances[:dims].sqrt()
        logs = weights.log() + roots.diagonal(dim1=1, dim2=2).log().sum(1) - dims / 2 * math.log(2 * math.pi)
        mixture = {"means": means, "roots": roots, "constants": logs}
        return {
            "mean": statistics.mean,
            "directions": directions[:dims],
            "scale": scale,
            **{name: tensor.to(trusted.device) for name, tensor in mixture.items()},
        }

    @override
    def score(self, x: Tensor) -> Tensor:
        z = projected(x, self.mean, self.directions) * self.scale
        squares = [((z - mean) @ root).square().sum(1) for mean, root in zip(self.means, self.roots, strict=True)]
        return -torch.logsumexp(self.constants - torch.stack(squares, dim=1) / 2, dim=1)


def fit_mixture(rows: np.ndarray, components: int, seed: int) -> tuple[Tensor, ...]:
    """Weights (k,), means (k, r) and Cholesky factors of the precisions (k, r, r) of a mixture for rows (n, r)."""
    from sklearn.mixture import GaussianMixture as Mixture

    # EM starts from rows drawn by their index, so that the order must not change with the scale of the features.
    rows = rows[np.lexsort(rows.T[::-1])]
    mixture = Mixture(components, reg_covar=1e-6, max_iter=1000, n_init=5, random_state=seed)
    try:
        mixture.fit(rows)
    except ValueError as error:
        raise DataError(f"no mixture of components={components} fits the rows ({error}): lower components") from error
    arrays = mixture.weights_, mixture.means_, mixture.precisions_cholesky_
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
