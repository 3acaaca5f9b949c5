"""What normal scores look like now, from a stream that nobody has labelled and that may hold some anomalies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from madkit.arrays import float_array
from madkit.errors import DataError
from madkit.statistics.conformal import conformal_p_values
from madkit.statistics.distributions import normal_quantile, normal_share

Numbers = NDArray[np.float64]

#: Fewer scores say next to nothing about a quartile.
LEAST_STREAM = 20

_UPPER = 0.75


class StreamNull(NamedTuple):
    """A normal distribution with the median and the upper quartile of a stream: an empirical null (Efron 2004).

    Most of what comes in is normal, so that the middle of the stream is theirs; anomalies are in the tail, which is not
    looked at. The quartile is the upper one, as scores have a longer tail there than below. A share of anomalies moves
    both upwards, and thresholds with them: of normally distributed scores a nominal 1% becomes 0.9% with 1% anomalies
    far away, 0.4% with 5%, 0.1% with 10%, and next to nothing from 20% on. So it errs towards silence as anomalies
    become many, and towards alarms where the tail of normal prompts is longer than that of a normal distribution: there
    is no guarantee. `recalibrated_p_values` adds that of held-out prompts.

    Short streams know their quartiles badly: normal scores and no anomalies make 2.2% of a nominal 1% with 50 prompts,
    1.6% with 100, 1.2% with 200 and 1.0% with 2,000.
    """

    centre: float
    """The median."""
    spread: float
    """The standard deviation of a normal distribution with that upper quartile."""

    @classmethod
    def of(cls, stream: ArrayLike) -> StreamNull:
        """Of the scores (n,) of a stream, among which anomalies are well below a quarter.

        Raises:
            DataError: NaN, infinite or fewer than twenty scores, or so many ties that the quartile is the median.

        Example:
            >>> StreamNull.of([*range(99), 10**6]).centre
            49.5
        """
        x = float_array(stream, "stream")
        if x.ndim != 1 or len(x) < LEAST_STREAM or not np.isfinite(x).all():
            raise DataError(f"stream of shape {x.shape} must be {LEAST_STREAM} finite scores or more, one a prompt")
        centre, upper = np.quantile(x, [0.5, _UPPER])
        if not upper > centre:
            raise DataError(
                f"stream has its upper quartile at its median, {centre:.6g}: choose a score with fewer ties"
            )
        return cls(float(centre), float((upper - centre) / normal_quantile(_UPPER)))

    def p_values(self, scores: ArrayLike) -> Numbers:
        """The probability of a score as high, of each of the scores (n,).

        Example:
            >>> StreamNull(5.0, 2.0).p_values([5.0, 10.0]).round(4).tolist()
            [0.5, 0.0062]
        """
        return normal_share((self.centre - float_array(scores, "scores")) / self.spread)


def recalibrated_p_values(scores: ArrayLike, calibration: ArrayLike, stream: ArrayLike) -> Numbers:
    """P-values of scores that are unusual both among held-out trusted prompts and in what comes in now.

    The larger one of the conformal p-value and that of `StreamNull`. If new prompts are like the held-out ones, false
    alarms are as rare as promised (a p-value that is never smaller than a conformal one keeps its guarantee). If they
    are harder, or otherwise unlike them, the stream says what is usual. It is an offline method: it has seen unlabelled
    prompts, and takes the anomalous ones among them to be few.

    Args:
        scores: (n,) of the prompts in question; they may be of the stream.
        calibration: (m,) of held-out trusted prompts.
        stream: (k,) of unlabelled prompts of the same time.

    Returns:
        (n,) float64.

    Raises:
        DataError: as of `StreamNull` and `madkit.statistics.conformal.conformal_p_values`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> trusted, now = rng.normal(0, 1, 400), rng.normal(3, 1, 400)
        >>> bool(conformal_p_values([3.0], trusted)[0] <= 0.01)
        True
        >>> bool(recalibrated_p_values([3.0], trusted, now)[0] <= 0.01)
        False
    """
    return np.maximum(conformal_p_values(scores, calibration), StreamNull.of(stream).p_values(scores))
