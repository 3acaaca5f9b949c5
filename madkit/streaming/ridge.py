"""Ridge regression from streamed moments: coefficients, leverages, and a penalty by generalised cross-validation."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from madkit.errors import ConfigError
from madkit.streaming.covariance import CovarianceStatistics

#: Penalties that are tried, as powers of ten of the mean variance that x has in a direction.
_POWERS = torch.linspace(-9, 2, 89, dtype=torch.float64)

#: The last regression, and what it was of.
_last: dict[str, Any] = {}


class RidgeRegression(NamedTuple):
    """Least squares of y (q,) on x (p,) with a penalty on the coefficients and none on the intercept, float64."""

    n: int
    """Number of rows."""
    penalty: float
    """What is added to each eigenvalue of the sum of products of x."""
    x_mean: Tensor
    """(p,)."""
    y_mean: Tensor
    """(q,)."""
    coefficients: Tensor
    """(p, q)."""
    whitening: Tensor
    """(p, p): the leverage of x is 1 / n + |whitening (x - x_mean)|^2."""

    def tensors(self) -> dict[str, Tensor]:
        """What a fitted module keeps of it as buffers; `of_module` reads them again."""
        plain = {"n": self.x_mean.new_tensor(self.n), "ridge_penalty": self.x_mean.new_tensor(self.penalty)}
        return {**plain, **{name: getattr(self, name) for name in ("x_mean", "y_mean", "coefficients", "whitening")}}

    @classmethod
    def of_module(cls, module: Any) -> RidgeRegression:
        """The regression whose `tensors` a module has as buffers."""
        fitted = (module.x_mean, module.y_mean, module.coefficients, module.whitening)
        return cls(int(module.n), float(module.ridge_penalty), *fitted)

    def residuals(self, x: Tensor, y: Tensor) -> Tensor:
        """What of y (b, q) the prediction from x (b, p) leaves: (b, q)."""
        return y - self.y_mean - (x - self.x_mean) @ self.coefficients

    def leverages(self, x: Tensor) -> Tensor:
        """How much further from the fitted rows than their mean x (b, p) lies: (b,), above 1 / n.

        Of a fitted row it is its own weight in its prediction, below 1; its residual would be e / (1 - leverage) had it
        been left out (Allen 1974; Golub, Heath and Wahba 1979, section 2).
        """
        return 1 / self.n + ((x - self.x_mean) @ self.whitening.T).square().sum(1)


def require_penalty(penalty: float | None) -> float | None:
    """The penalty, as `ridge_regression` takes it.

    Raises:
        ConfigError: it is not positive.
    """
    if penalty is not None and not 0 < penalty < float("inf"):
        raise ConfigError(f"penalty={penalty} is out of range: give a positive number such as 1e-3, or null")
    return penalty


def ridge_regression(statistics: CovarianceStatistics, p: int, penalty: float | None = None) -> RidgeRegression:
    """Regress the last columns of rows on the first p of them.

    Args:
        statistics: of rows (n, p + q), n at least 2.
        p: number of columns that explain.
        penalty: as a share of the mean of the eigenvalues of the sum of products of x; None chooses it from a grid by
            generalised cross-validation (Golub, Heath and Wahba 1979, eq. 1.4), which sees the rows of `statistics`.
    """
    # Detectors that regress the same rows come one after another: the last regression serves them all.
    key = statistics.digest(), p, penalty
    if _last.get("key") != key:
        _last.update(key=key, ridge=_regressed(statistics, p, penalty))
    ridge: RidgeRegression = _last["ridge"]
    return ridge


def _regressed(statistics: CovarianceStatistics, p: int, penalty: float | None) -> RidgeRegression:
    products = statistics.covariance * (statistics.n - 1)
    xx, xy = products[:p, :p], products[:p, p:]
    values, vectors = torch.linalg.eigh(xx)
    values = values.clamp(min=0)
    along = vectors.T @ xy
    scale = values.sum() / p
    if penalty is None:
        varied = values > p * torch.finfo(values.dtype).eps * values[-1]
        penalty = _by_cross_validation(
            statistics.n, values[varied], along[varied].square().sum(1), products.diagonal()[p:].sum(), scale
        )
    added = float(penalty * scale)
    shrunk = values + added
    return RidgeRegression(
        statistics.n,
        added,
        statistics.mean[:p].clone(),
        statistics.mean[p:].clone(),
        vectors @ (along / shrunk[:, None]),
        (vectors / shrunk.sqrt()).T.contiguous(),
    )


def _by_cross_validation(n: int, values: Tensor, explained: Tensor, total: Tensor, scale: Tensor) -> float:
    """The penalty, as a share of `scale`, that minimises n RSS / (n - trace of the hat matrix)^2.

    Args:
        n: number of rows.
        values: eigenvalues of the sum of products of x that are not zero, (r,).
        explained: squared lengths of the products of y with x along the eigenvectors, (r,).
        total: sum of squares of y.
        scale: what penalties are shares of.
    """
    added = (10 ** _POWERS.to(values.device) * scale)[:, None]
    # As a sum of positive terms: a small residual would drown in the rounding of a difference.
    left = (total - (explained / values).sum()).clamp(min=0)
    rss = left + (explained * added.square() / (values * (values + added).square())).sum(1)
    freedom = n - 1 - (values / (values + added)).sum(1)
    criterion = torch.where(freedom > 0, rss / freedom.square(), torch.inf)
    return float(10 ** _POWERS[int(criterion.argmin())])
