"""What is left of a score without what explains it among trusted prompts, such as length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from madkit.arrays import float_array
from madkit.errors import DataError

Numbers = NDArray[np.float64]

#: Penalties that are tried, of standardised covariates.
_PENALTIES = np.logspace(-3, 3, 7)


@dataclass(frozen=True)
class NuisanceRegression:
    """A ridge regression of scores on covariates among held-out trusted prompts.

    Covariates are standardised and the intercept is free of the penalty, which is the one with the smallest
    leave-one-out error. It needs no untrusted prompts; new prompts may be beyond all trusted ones, where it
    extrapolates a line.

    Args:
        coefficients: (k,) of the covariates.
        intercept: of the line.
        held_out: (m,) residuals of the prompts that were fitted on, each by the regression on the others: what
            residuals of new prompts are compared with.
    """

    coefficients: Numbers
    intercept: float
    held_out: Numbers

    @classmethod
    def fit(cls, covariates: ArrayLike, scores: ArrayLike) -> NuisanceRegression:
        """Fit on trusted prompts.

        Leave-one-out residuals are e_i / (1 - h_i), h the diagonal of the hat matrix (Allen 1974).

        Args:
            covariates: (m, k) of held-out trusted prompts.
            scores: (m,) theirs.

        Raises:
            DataError: other shapes, NaN, or no more prompts than covariates.
        """
        x, y = float_array(covariates, "covariates"), float_array(scores, "scores")
        if x.ndim != 2 or y.shape != x.shape[:1] or not np.isfinite(x).all() or not np.isfinite(y).all():
            raise DataError(f"covariates of shape {x.shape} and scores of shape {y.shape}: give finite (m, k) and (m,)")
        m, k = x.shape
        if m <= k + 1:
            raise DataError(f"{m} trusted prompts for k={k} covariates: give more prompts, or fewer covariates")
        centre, scale = x.mean(0), x.std(0)
        scale = np.where(scale > 1e-12 * np.maximum(1, np.abs(centre)), scale, np.inf)  # a constant explains nothing
        u, s, vt = np.linalg.svd((x - centre) / scale, full_matrices=False)
        projected = u.T @ (y - y.mean())
        fits = [_ridge(u, s, projected, y, penalty) for penalty in _PENALTIES]
        left_out, weights = min(fits, key=lambda fit: float(fit[0] @ fit[0]))
        coefficients = (vt.T @ weights) / scale
        return cls(coefficients, float(y.mean() - centre @ coefficients), left_out)

    def residuals(self, covariates: ArrayLike, scores: ArrayLike) -> Numbers:
        """Scores (n,) of new prompts less what their covariates (n, k) explain.

        Example:
            >>> line = NuisanceRegression(np.array([2.0]), 1.0, np.zeros(3))
            >>> line.residuals([[1.0], [2.0]], [3.0, 6.0]).tolist()
            [0.0, 1.0]
        """
        return (
            float_array(scores, "scores") - float_array(covariates, "covariates") @ self.coefficients - self.intercept
        )


def _ridge(u: Numbers, s: Numbers, projected: Numbers, y: Numbers, penalty: float) -> tuple[Numbers, Numbers]:
    """Leave-one-out residuals (m,) and the coefficients (k,) along the right singular vectors, of one penalty."""
    kept = s**2 / (s**2 + penalty)
    leverage = 1 / len(y) + (u**2) @ kept
    return (y - y.mean() - u @ (kept * projected)) / (1 - leverage), s / (s**2 + penalty) * projected
