"""Conformal p-values: how unusual a score is among held-out ones, with a false-alarm rate that holds as it stands."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from madkit.arrays import float_array
from madkit.errors import ConfigError, DataError

Numbers = NDArray[np.float64]


def conformal_p_values(scores: ArrayLike, calibration: ArrayLike) -> Numbers:
    """Of each score, (1 + number of calibration scores that are as high) / (1 + their number).

    If a new prompt and the calibration prompts are exchangeable, its p-value is at most a with a probability of at most
    a, for every a, whatever the score and its distribution (Vovk, Gammerman and Shafer 2005, proposition 2.8; as a test
    for outliers Bates et al. 2023, arXiv 2104.08279). Ties count as higher, which only makes alarms rarer.

    Args:
        scores: (n,) finite numbers, higher = more anomalous.
        calibration: (m,) scores of held-out trusted prompts, by the same score.

    Returns:
        (n,) float64, in steps of 1 / (1 + m).

    Raises:
        DataError: other shapes, NaN or infinite numbers, or no calibration scores.

    Example:
        >>> conformal_p_values([0.0, 2.5, 9.0], [1.0, 2.0, 3.0]).tolist()
        [1.0, 0.5, 0.25]
    """
    x, held_out = float_array(scores, "scores"), float_array(calibration, "calibration")
    for name, values in (("scores", x), ("calibration", held_out)):
        if values.ndim != 1 or not np.isfinite(values).all():
            raise DataError(f"{name} of shape {values.shape} must be finite numbers, one for each prompt")
    if not len(held_out):
        raise DataError("calibration is empty: hold out some trusted prompts")
    as_high = len(held_out) - np.searchsorted(np.sort(held_out), x, "left")
    return (1 + as_high) / (1 + len(held_out))


#: The false-alarm rate that detectors are judged at.
NOMINAL = 0.01


def smallest_rate(m: int) -> float:
    """The smallest false-alarm rate that m calibration prompts can promise, which is that of the largest score.

    Example:
        >>> smallest_rate(99)
        0.01
    """
    return 1 / (1 + m)


def nominal_rate(m: int) -> float:
    """The false-alarm rate that thresholds are set for: `NOMINAL`, or the smallest that m calibration prompts promise.

    Example:
        >>> nominal_rate(500), nominal_rate(49)
        (0.01, 0.02)
    """
    return max(NOMINAL, smallest_rate(m))


def needed_calibration(fpr: float) -> int:
    """How many calibration prompts a promise of a false-alarm rate needs.

    Example:
        >>> needed_calibration(0.01), needed_calibration(0.05)
        (99, 19)
    """
    m = math.ceil(1 / fpr) - 1
    return m if smallest_rate(m) <= fpr else m + 1


def require_rate(fpr: float, m: int) -> float:
    """Refuse a false-alarm rate that m calibration prompts cannot promise, at which nothing would ever alarm.

    Raises:
        ConfigError: the rate is out of range, or too small.

    Example:
        >>> require_rate(0.01, 50)
        Traceback (most recent call last):
            ...
        madkit.errors.ConfigError: fpr=0.01 needs 99 calibration prompts and there are 50, which can promise 0.0196: \
give more trusted prompts, or an fpr of 0.0197 or more
    """
    if not 0 < fpr < 1:
        raise ConfigError(f"fpr={fpr} is no rate of false alarms: give a number between 0 and 1, such as 0.01")
    if (least := smallest_rate(m)) > fpr:
        upwards = math.ceil(least * 10**4) / 10**4
        raise ConfigError(
            f"fpr={fpr} needs {needed_calibration(fpr)} calibration prompts and there are {m}, which can promise "
            f"{least:.3g}: give more trusted prompts, or an fpr of {upwards:.4g} or more"
        )
    return fpr


def realised_rate(fpr: float, m: int, confidence: float = 0.9) -> float:
    """What the false-alarm rate of one monitor is at most, with some confidence over draws of its calibration prompts.

    A nominal rate holds on average over calibration sets; that of one set, for as long as it is used, follows a beta
    distribution: Beta(k, m + 1 - k) with k the largest number with k / (m + 1) <= fpr, for scores without ties (Vovk
    2012, "Conditional validity of inductive conformal predictors", proposition 2a).

    Args:
        fpr: the nominal rate.
        m: number of calibration prompts.
        confidence: the share of calibration sets for which it holds.

    Raises:
        ConfigError: as `require_rate`.

    Example:
        >>> round(realised_rate(0.01, 99), 4), round(realised_rate(0.01, 9999), 4)
        (0.023, 0.0113)
    """
    from scipy.stats import beta

    require_rate(fpr, m)
    k = math.floor(fpr * (m + 1))
    k += (k + 1) / (m + 1) <= fpr  # what rounding has taken away
    return float(beta.ppf(confidence, k, m + 1 - k))


def benjamini_hochberg(p_values: ArrayLike) -> Numbers:
    """Adjusted p-values: those at most q are a selection of which, on average, at most a share q is false.

    Source: Benjamini and Hochberg (1995). Conformal p-values of one calibration set depend on each other in the way
    that keeps this true (Bates et al. 2023, arXiv 2104.08279, theorem 2).

    Args:
        p_values: (n,) numbers between 0 and 1.

    Returns:
        (n,) float64, at least as large as the p-values.

    Raises:
        DataError: a number is no p-value.

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.5]).round(2).tolist()
        [0.03, 0.06, 0.5]
    """
    from scipy.stats import false_discovery_control

    p = float_array(p_values, "p_values")
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DataError(f"p_values of shape {p.shape} must be numbers between 0 and 1, one for each prompt")
    return np.asarray(false_discovery_control(p)) if len(p) else p
