"""Draws that the grammars of generated texts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_T = TypeVar("_T")


def pick(rng: np.random.Generator, choices: Sequence[_T]) -> _T:
    """One of the choices, each as likely as the others.

    Example:
        >>> pick(np.random.default_rng(0), ("soup", "wine", "dessert"))
        'dessert'
    """
    return choices[int(rng.integers(len(choices)))]
