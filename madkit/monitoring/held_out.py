"""Which trusted prompts a monitor is fitted on, and which are held out to say what is usual."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from madkit.data.prompts.tokens import TokenizedPrompts
from madkit.errors import ConfigError, DataError
from madkit.statistics import needed_calibration

#: What a promise of 1% needs.
_ONE_PERCENT = needed_calibration(0.01)
#: Fewer prompts than this are too few to fit on and to hold out from.
_LEAST = 12


@dataclass(frozen=True)
class Parts:
    """Positions of trusted prompts by what they are used for."""

    fit: NDArray[np.int64]
    """What scores are fitted on."""
    scale: NDArray[np.int64]
    """What the scores of different sites are measured by."""
    calibration: NDArray[np.int64]
    """What p-values are taken among."""

    @property
    def order(self) -> NDArray[np.int64]:
        """All that is read, one part after another."""
        return np.concatenate([self.fit, self.scale, self.calibration])

    @property
    def splits(self) -> list[str]:
        """The split of each in a store, in this order."""
        return ["trusted"] * len(self.fit) + ["calibration"] * (len(self.scale) + len(self.calibration))


def hold_out(tokens: TokenizedPrompts, calibration: int | float | None = None, seed: int = 0) -> Parts:
    """Share out trusted prompts, as `share_out` does; equal ones stay together."""
    return share_out(groups_of(tokens), calibration, seed)


def share_out(groups: NDArray[np.int64], calibration: int | float | None = None, seed: int = 0) -> Parts:
    """Share out trusted prompts at random; equal ones stay together.

    By default a third is held out for p-values, and as many as a promise of 1% needs where at least as many are left;
    an eighth of the rest for the scale of sites. Prompts in three parts, so that a p-value is among prompts of which
    nothing has been learned: else it would promise too much.

    Args:
        groups: a number (n,) for each prompt, 0 and up, the same for equal ones.
        calibration: how many, or which share, to hold out for p-values.
        seed: which ones.

    Raises:
        ConfigError: `calibration` leaves too few to fit on.
        DataError: there are too few prompts, or too few different ones.
    """
    n = len(groups)
    distinct = int(groups.max(initial=-1)) + 1
    if distinct < _LEAST:
        raise DataError(f"{n} trusted prompts, {distinct} different ones, are too few: give {_LEAST} or more")
    wanted = _wanted(distinct, calibration)
    order = np.random.default_rng([seed, distinct]).permutation(distinct)
    scale = max(4, (distinct - wanted) // 8)
    cuts = np.split(order, [wanted, wanted + scale])
    held_out, measured, fitted = (np.flatnonzero(np.isin(groups, cut)) for cut in cuts)
    # A prompt that is there twice would count twice among p-values, where each has to be a draw of its own.
    _, first = np.unique(groups[held_out], return_index=True)
    return Parts(fitted, measured, np.sort(held_out[first]))


def groups_of(tokens: TokenizedPrompts) -> NDArray[np.int64]:
    """A number (n,) for each prompt, the same for equal ones."""
    pairs = zip(tokens.starts.tolist(), tokens.starts[1:].tolist(), strict=False)
    return numbered(tokens.ids[a:b].tobytes() for a, b in pairs)


def numbered(keys: Iterable[bytes]) -> NDArray[np.int64]:
    """A number (n,) for each key, 0 and up, the same for equal ones."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def different(tokens: TokenizedPrompts) -> NDArray[np.int64]:
    """Positions of the first of all equal prompts."""
    return np.sort(np.unique(groups_of(tokens), return_index=True)[1])


def _wanted(n: int, calibration: int | float | None) -> int:
    """How many of n different prompts are held out for p-values."""
    if calibration is None:
        third = n // 3
        return max(third, min(_ONE_PERCENT, n // 2))
    wanted = round(calibration * n) if isinstance(calibration, float) else int(calibration)
    if not 1 <= wanted <= n - 8:
        raise ConfigError(
            f"calibration={calibration} of {n} different trusted prompts holds out {wanted}: give a share, or a number "
            "that leaves 8 or more"
        )
    return wanted
