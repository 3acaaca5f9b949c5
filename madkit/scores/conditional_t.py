"""How improbable the second half of a row is, given the first: the tuned model's activation given the base model's."""

import math

import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import DataError
from madkit.scores.common.score import Score
from madkit.streaming.covariance import CovarianceStatistics
from madkit.streaming.moments import Moments
from madkit.streaming.ridge import RidgeRegression, require_penalty, ridge_regression


class ConditionalT(Score):
    """Negative log density of a row's second half given its first, in nats, under a Bayesian linear regression.

    Formula: -log t_v(y; W x + b, S (1 + l(x)) / v), with x and y the halves of a row, q the length of y, W and b
    the ridge regression of y on x over n trusted rows, l(x) the leverage of x, S the trusted rows' sum of products that
    W leaves plus s I, s their mean residual variance, and v = n + 2.

    Source: the predictive density under a matrix-normal inverse-Wishart prior, Geisser (1965); Gelman et al. (2013),
    "Bayesian Data Analysis", section 14.3. The prior has v_0 = q + 2 and scale s I: it weighs one prompt.

    Blind to: what is as unusual in the first half as in the second. Takes their relation for linear and its noise for
    Gaussian.

    Use when: the rows are those of `Paired`: the base model's activation and the tuned model's.

    Args:
        penalty: of the ridge regression, as a share of the mean sum of squares of x in a direction; None chooses it by
            generalised cross-validation on the trusted rows.

    Raises:
        ConfigError: the penalty is not positive.
        DataError: when fitting, rows of odd length, or whose first half determines the second.

    Example:
        >>> x = torch.linspace(-1, 1, 9, dtype=torch.float64)
        >>> trusted = torch.stack([x, x + 0.1 * (7 * x).sin()], dim=1)
        >>> score = ConditionalT().fit(trusted)
        >>> usual, unusual = score(torch.tensor([[2.0, 2.0], [0.0, 1.0]]))
        >>> bool(usual < unusual)
        True
    """

    accumulator = Moments
    short = "conditional_t"
    root: Tensor
    constant: Tensor

    def __init__(self, penalty: float | None = None) -> None:
        super().__init__()
        self.penalty = require_penalty(penalty)

    @override
    def estimate(self, trusted: CovarianceStatistics, untrusted: None) -> dict[str, Tensor]:
        d, n = len(trusted.mean), trusted.n
        if d % 2:
            raise DataError(f"{self.short} has rows of d={d} numbers: give the halves x and y, each of the same length")
        p = d // 2
        ridge = ridge_regression(trusted.varied(self.short), p, self.penalty)
        products = trusted.covariance * (n - 1)
        scatter = products[p:, p:] - products[p:, :p] @ ridge.coefficients
        scatter = (scatter + scatter.T) / 2
        scatter.diagonal().add_(scatter.diagonal().mean() / n)
        root, failed = torch.linalg.cholesky_ex(scatter)
        if failed:
            raise DataError(
                f"{self.short}: the first half of the {n} trusted rows determines the second and leaves no variance: "
                "give the activations of two different models"
            )
        constant = (
            math.lgamma((n + 2) / 2)
            - math.lgamma((n + 2 + p) / 2)
            + p / 2 * math.log(math.pi)
            + float(root.diagonal().log().sum())
        )
        return {
            **ridge.tensors(),
            "root": root,
            "constant": root.new_tensor(constant),
        }

    @override
    def score(self, x: Tensor) -> Tensor:
        ridge = RidgeRegression.of_module(self)
        n, p = ridge.n, len(ridge.y_mean)
        base, tuned = x[:, :p], x[:, p:]
        spread = 1 + ridge.leverages(base)
        whitened = torch.linalg.solve_triangular(self.root, ridge.residuals(base, tuned).T, upper=False)
        distances = whitened.square().sum(0) / spread
        return self.constant + p / 2 * spread.log() + (n + 2 + p) / 2 * distances.log1p()
