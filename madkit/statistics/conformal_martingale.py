"""A stream of scores against held-out ones: evidence that it is not what it was, with a guarantee for all time."""

from __future__ import annotations

import bisect
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from madkit.arrays import float_array
from madkit.errors import ConfigError, DataError

#: How the stake is shared out over bets e p^(e - 1): from the hope for very small p-values to hardly any.
_EXPONENTS = np.linspace(0.1, 0.9, 9)
_LOG_EXPONENTS = np.log(_EXPONENTS)


class ConformalMartingale:
    """A wager against "what comes in is exchangeable with what was held out", in which higher scores win.

    Of each score the smoothed conformal p-value is taken among all scores before it: held-out ones and those of the
    stream. Under the hypothesis these are independent and uniform, so that no bet against them gains on average:
    the capital, 1 at the beginning, is a martingale, and the probability that it ever reaches 1 / a is at most a (Ville
    1939), however long the stream and whenever one looks. Power bets as in Vovk, Nouretdinov and Gammerman (2003),
    "Testing exchangeability on-line".

    At step n a share 1 / (n (n + 1)) of the stake enters, and the rest is kept out of play, so that a change that comes
    late is found as well, for a capital that is about n times smaller.

    Of the libraries, `river` detects drift without such a guarantee, and `nonconform` bets on given p-values with the
    whole stake from the first step on and would bring its detectors along; the wager is a few lines.

    Args:
        calibration: (m,) scores of held-out trusted prompts; m may be 0.
        seed: of the draws that break ties.

    Attributes:
        capital: what the stake of 1 has become.
        highest: the largest that the capital has been.
        n: how many scores have come.

    Raises:
        DataError: a score is NaN or infinite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> martingale = ConformalMartingale(rng.normal(size=500))
        >>> martingale.update(rng.normal(size=500)).alarm(0.01)
        False
        >>> martingale.update(rng.normal(2, 1, size=60)).alarm(0.01)
        True
    """

    def __init__(self, calibration: ArrayLike, seed: int = 0) -> None:
        self._seen = sorted(_finite(calibration, "calibration").tolist())
        self._rng = np.random.default_rng(seed)
        self._played = np.full(len(_EXPONENTS), -math.inf)  # logarithms, by bet
        self.n = 0
        self._log = self._highest = 0.0

    @property
    def capital(self) -> float:  # noqa: D102 - said above
        return _exp(self._log)

    @property
    def highest(self) -> float:  # noqa: D102
        return _exp(self._highest)

    def alarm(self, rate: float) -> bool:
        """Whether the stream is not what was held out, by a rule that ever says so wrongly with this probability.

        Raises:
            ConfigError: the rate is not between 0 and 1.
        """
        if not 0 < rate < 1:
            raise ConfigError(f"rate={rate} is no rate of false alarms: give a number between 0 and 1, such as 0.01")
        return self._highest >= -math.log(rate)

    def update(self, scores: ArrayLike) -> ConformalMartingale:
        """Add scores (b,) of the stream, in their order.

        Raises:
            DataError: one is NaN or infinite; none of them is added then.
        """
        for score in _finite(scores, "scores").tolist():
            self._bet(self._p_value(score))
        return self

    def _p_value(self, score: float) -> float:
        """The share of scores so far that are higher, with a share of those that are equal, itself included."""
        low, high = bisect.bisect_left(self._seen, score), bisect.bisect_right(self._seen, score)
        above, equal = len(self._seen) - high, high - low + 1
        self._seen.insert(high, score)
        return (above + (1 - self._rng.random()) * equal) / len(self._seen)

    def _bet(self, p: float) -> None:
        self.n += 1
        entering = -math.log(self.n * (self.n + 1) * len(_EXPONENTS))
        self._played = np.logaddexp(self._played, entering) + _LOG_EXPONENTS + (_EXPONENTS - 1) * math.log(p)
        kept_out = -math.log(self.n + 1)
        self._log = float(np.logaddexp(np.logaddexp.reduce(self._played), kept_out))
        self._highest = max(self._highest, self._log)


def _exp(logarithm: float) -> float:
    return math.exp(min(logarithm, 700.0))


def _finite(scores: ArrayLike, name: str) -> NDArray[np.float64]:
    values = float_array(scores, name).reshape(-1)
    if not np.isfinite(values).all():
        raise DataError(f"{name} has {int((~np.isfinite(values)).sum())} numbers that are NaN or infinite: mend them")
    return values
