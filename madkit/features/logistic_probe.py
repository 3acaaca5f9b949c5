"""A logistic probe whose L2 penalty is chosen by cross-validation, on any device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from madkit.errors import DataError

STRENGTHS = tuple(10.0**k for k in range(-5, 2))
FOLDS = 5


def fit_probe(x: Tensor, label: Tensor) -> dict[str, Any]:
    r"""Fit a logistic probe to standardised vectors, with the penalty of the lowest cross-validated log loss.

    For each strength C the weights minimise :math:`C \sum_i \log(1 + e^{-y_i (w \cdot z_i + b)}) + |w|^2 / 2`, which
    is scikit-learn's convention. The probe on all prompts and those of all folds are fitted side by side, so that
    each step goes through the vectors once for all of them, and start from those of the next smaller C. Weights are
    sought along the principal axes of the vectors: a rotation leaves the penalty, and so the minimum, as it is.

    Args:
        x: (n, d) float64.
        label: (n,) 0 or 1.

    Returns:
        `direction` (d,) and `intercept`, so that the logit is x . direction + intercept; `C` among ``STRENGTHS``;
        `accuracy`, cross-validated, for that C.

    Raises:
        DataError: fewer than two prompts of a class.

    Example:
        >>> x = torch.arange(20.0).double()[:, None]
        >>> probe = fit_probe(x, (x[:, 0] > 9).long())
        >>> round(float(-probe["intercept"] / probe["direction"]), 2), probe["C"]
        (9.5, 10.0)
    """
    counts = [int((label == value).sum()) for value in (0, 1)]
    if min(counts) < 2:
        raise DataError(
            f"trusted prompts have {counts[0]} false and {counts[1]} true labels, and a probe needs two of both: "
            "raise max_trusted or n_train, or leave ProbeShift out"
        )
    mean, scale = x.mean(0), x.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    standardised = (x - mean) / scale
    variances, axes = torch.linalg.eigh(standardised.T @ standardised / len(x))
    z = torch.cat([standardised @ axes, x.new_ones(len(x), 1)], dim=1)
    squares = torch.cat([variances.clamp(min=0), x.new_ones(1)])
    sign = 2 * label.to(x)[:, None] - 1
    fold = fold_of(label, min(FOLDS, *counts))
    # The first column is fitted to all prompts, each of the others leaves one fold out.
    kept = torch.cat([torch.ones_like(fold)[:, None], fold[:, None] != torch.arange(int(fold.max()) + 1).to(fold)], 1)
    weights = x.new_zeros(z.shape[1], kept.shape[1])
    best: dict[str, Any] = {}
    lowest = torch.inf
    for strength in STRENGTHS:
        weights = _minimise(weights, z, squares, sign, kept.to(x), strength)
        margin = sign * (z @ weights).gather(1, 1 + fold[:, None])
        loss = float(softplus(-margin).mean())
        if loss < lowest:
            lowest, direction = loss, axes @ weights[:-1, 0] / scale
            best = {"direction": direction, "intercept": float(weights[-1, 0] - mean @ direction)}
            best |= {"C": strength, "accuracy": float((margin > 0).double().mean())}
    return best


def fold_of(label: Tensor, folds: int) -> Tensor:
    """The fold (n,) of each prompt: the prompts of a class are dealt out in turn.

    Example:
        >>> fold_of(torch.tensor([0, 0, 1, 0, 1]), 2).tolist()
        [0, 1, 0, 0, 1]
    """
    turn = torch.where(label == 1, (label == 1).cumsum(0), (label != 1).cumsum(0))
    return (turn - 1) % folds


def _minimise(start: Tensor, z: Tensor, squares: Tensor, sign: Tensor, kept: Tensor, strength: float) -> Tensor:
    """Weights (d + 1, problems), the intercepts last, at the minimum of every problem's penalised loss.

    Args:
        start: weights to begin with.
        z: (n, d + 1), uncorrelated columns.
        squares: (d + 1,), the mean square of each.
        sign: (n, 1) -1 or 1.
        kept: (n, problems) 0 or 1, whether a problem has the prompt.
        strength: C.
    """
    # Divided by the weight of all prompts together, so that one tolerance fits all strengths.
    unit = strength * len(z)
    penalty = torch.full_like(start[:, :1], 1 / unit)
    penalty[-1] = 0
    # In these units the curvature is about 1 in all directions, however strong the penalty is and however correlated
    # the vectors are, so that a dozen steps lead to the minimum and not hundreds.
    size = (penalty + 0.25 * squares[:, None]).rsqrt()
    scaled = start / size
    scaled.grad = torch.zeros_like(scaled)
    optimizer = torch.optim.LBFGS(
        [scaled],
        max_iter=1000,
        tolerance_grad=1e-8,
        tolerance_change=0,
        history_size=10,  # of the 100 by default, most of the time would go into sums of short vectors
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        with torch.no_grad():
            weights = scaled * size
            margin = sign * (z @ weights)
            slope = penalty * weights - z.T @ (kept * sign * torch.sigmoid(-margin)) / len(z)
            scaled.grad = size * slope
            return (kept * softplus(-margin)).sum() / len(z) + (penalty * weights.square()).sum() / 2

    optimizer.step(loss)
    return scaled * size
