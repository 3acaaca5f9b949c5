"""How far a covariance is drawn towards the identity, so that it can be inverted with fewer rows than features."""

import numpy as np

from madkit.streaming.covariance import CovarianceStatistics


def ledoit_wolf(statistics: CovarianceStatistics) -> tuple[float, float]:
    """Ledoit and Wolf (2004), "A well-conditioned estimator", Theorem 3.2 on.

    As in the paper (and scikit-learn) the sample covariance divides by n, and the target is its mean variance
    times the identity.

    Returns:
        The factor of the covariance (which divides by n - 1), and what is added to all its eigenvalues.
    """
    n, d = statistics.n, len(statistics.mean)
    biased = (n - 1) / n
    scale, squared = biased * statistics.trace / d, biased**2 * statistics.squared
    distance = (squared - d * scale**2) / d
    noise = (statistics.fourth / n - squared) / (n * d)
    weight = float(np.clip(float(noise / distance), 0.0, 1.0)) if distance > 0 else 1.0
    return (1 - weight) * biased, weight * float(scale)


def optimal_linear(statistics: CovarianceStatistics) -> tuple[float, float]:
    """Bodnar, Gupta and Parolya (2014), section 4, towards I / d; returns as `ledoit_wolf` does.

    The weight is an estimate, and of a covariance that is about the identity it may come out below 0, far below where
    there are few features: then the identity with the sample's mean variance is all that is kept, as the paper's
    optimal weight lies within 0 and 1. One feature has nothing to be drawn to: its variance is kept.
    """
    n, d = statistics.n, len(statistics.mean)
    trace, squared = statistics.trace, statistics.squared
    # With target I/d: |target|^2 = 1/d and tr(sample target) = trace/d.
    distance = float(squared / d - (trace / d) ** 2)
    keep = float(np.clip(1 - float(trace**2 / d / n) / distance, 0.0, 1.0)) if distance > 0 else 0.0
    return keep, (1 - keep) * float(trace / d)
