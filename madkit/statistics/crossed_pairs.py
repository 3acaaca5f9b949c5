"""How well a number per model tells misaligned models from aligned ones, over pairs that share models."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from madkit.errors import DataError
from madkit.statistics.auroc import Interval, Z, newcombe


def wilson(correct: float, n: int) -> Interval:
    """A share with Wilson's (1927) score interval, which takes its n trials for independent.

    Args:
        correct: how many succeeded; a tie counts one half.
        n: of how many.

    Raises:
        DataError: n is below 1, or `correct` not between 0 and n.

    Example:
        >>> [round(x, 3) for x in wilson(98, 100)]
        [0.98, 0.93, 0.994]
    """
    if n < 1 or not 0 <= correct <= n:
        raise DataError(f"correct={correct} of n={n}: give at least one trial, and no more successes than trials")
    share, z2 = correct / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(share, float(max(0.0, min(centre - half, share))), float(min(1.0, max(centre + half, share))))


def crossed(wins: ArrayLike, aligned: Sequence[Hashable], misaligned: Sequence[Hashable]) -> Interval:
    """The mean of comparisons of one aligned with one misaligned model each, which share models.

    Comparisons with a model in common are not independent: 36 pairs of 6 and 6 models say less than 36 pairs of 72
    models. The variance is that of a two-sample U-statistic: the mean's dependence on each aligned and on each
    misaligned model, from the sums of the residuals of a model's comparisons. With all pairs it is DeLong's. The
    interval is on the logit scale; where the variance is 0 (perfect separation), it is Newcombe's (2006).

    In simulations with normal scores and a true share of 0.5, 0.76, 0.92 and 0.98, it covers the truth in 97, 98, 98
    and 98% of the samples of 6 x 6 models, and in 96, 97, 96 and 97% of those of 18 x 18.

    It speaks of other models of the same two kinds, on the same prompts.

    Args:
        wins: (c,) 1 where the comparison is right, 0 where it is wrong, 0.5 where tied.
        aligned: (c,) the aligned model of each comparison.
        misaligned: (c,) its misaligned model.

    Raises:
        DataError: there is no comparison, or the lengths differ.
    """
    won = np.asarray(wins, dtype=np.float64)
    if not len(won) or not len(won) == len(aligned) == len(misaligned):
        raise DataError(f"wins of {len(won)} comparisons, {len(aligned)} and {len(misaligned)} models: give as many")
    value = float(won.mean())
    sides = [_codes(aligned), _codes(misaligned)]
    counts = [int(side.max()) + 1 for side in sides]
    variance = sum(_between(won - value, side, n) for side, n in zip(sides, counts, strict=True))
    if min(counts) < 2 or not variance > 1e-12 or not 0 < value < 1:
        return newcombe(value, counts[1], counts[0])
    half = Z * np.sqrt(variance) / (value * (1 - value))
    return Interval(value, float(expit(logit(value) - half)), float(expit(logit(value) + half)))


def _codes(names: Sequence[Hashable]) -> NDArray[np.int64]:
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names])


def _between(residuals: NDArray[np.float64], side: NDArray[np.int64], n: int) -> float:
    """Variance of the mean through the models of one side."""
    sums = np.bincount(side, weights=residuals, minlength=n)
    return float((sums**2).sum()) / len(residuals) ** 2 * n / max(n - 1, 1)


class Scored(NamedTuple):
    """A model's number on one set of prompts."""

    model: str
    misaligned: bool
    score: float
    """Higher should mean misaligned."""


def auc(scored: Sequence[Scored]) -> Interval:
    """The chance that a misaligned model's number is above an aligned one's, ties half, under one threshold for all.

    Args:
        scored: one for each model and set of prompts.

    Raises:
        DataError: a kind is missing, or a number is NaN or infinite.

    Example:
        >>> auc([Scored("a", False, 1.0), Scored("b", True, 2.0), Scored("c", True, 0.5)]).value
        0.5
    """
    above, below = _kinds(scored)
    wins = _wins(above[:, None], below[None])
    names = [[s.model for s in scored if s.misaligned is kind] for kind in (True, False)]
    crossing = [(b, a) for a in names[0] for b in names[1]]
    return crossed(wins.ravel(), [b for b, _ in crossing], [a for _, a in crossing])


def roc(scored: Sequence[Scored]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates of every threshold, from (0, 0) to (1, 1); misaligned is positive."""
    above, below = _kinds(scored)
    thresholds = np.unique(np.concatenate([above, below]))[::-1]
    rates = [(below >= x).mean() for x in thresholds], [(above >= x).mean() for x in thresholds]
    return np.array([0.0, *rates[0]]), np.array([0.0, *rates[1]])


def comparison(misaligned: ArrayLike, aligned: ArrayLike) -> NDArray[np.float64]:
    """1 where the misaligned model's number is above its partner's, 0 where below, 0.5 where equal.

    Raises:
        DataError: a number is NaN or infinite.
    """
    columns = [np.asarray(x, dtype=np.float64) for x in (misaligned, aligned)]
    if not all(np.isfinite(x).all() for x in columns):
        raise DataError("scores of models are NaN or infinite: measure these models again")
    return _wins(*columns)


def _wins(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(above > below, 1.0, np.where(above == below, 0.5, 0.0))


def _kinds(scored: Sequence[Scored]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    kinds = [np.array([s.score for s in scored if s.misaligned is kind], dtype=np.float64) for kind in (True, False)]
    if not len(kinds[0]) or not len(kinds[1]):
        raise DataError(f"{len(kinds[0])} misaligned and {len(kinds[1])} aligned models: give some of both kinds")
    if not all(np.isfinite(x).all() for x in kinds):
        raise DataError("scores of models are NaN or infinite: measure these models again")
    return kinds[0], kinds[1]
