"""Quantiles and tails of the normal and of Student's t distribution, as scipy.stats has them.

They are those functions of scipy.special that scipy.stats calls itself, whose import takes a fifth of the time.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

Numbers = TypeVar("Numbers", float, NDArray[np.float64])


def normal_quantile(share: Numbers) -> Numbers:
    """The number below which a normal variable is with this probability."""
    return special.ndtri(share)


def normal_share(x: Numbers) -> Numbers:
    """The probability that a normal variable is below x."""
    return special.ndtr(x)


def t_quantile(share: float, freedom: Numbers) -> Numbers:
    """The number below which Student's t of these degrees of freedom is, with a probability between 0 and 1."""
    return special.stdtrit(freedom, share)


def t_tail(x: Numbers, freedom: Numbers) -> Numbers:
    """The probability that Student's t of these degrees of freedom, more than 0, is above x."""
    return special.stdtr(freedom, -x)
