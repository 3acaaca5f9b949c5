"""Operands for arithmetic: drawn without repetition, and each of them belongs to one split only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from madkit.errors import DataError
from madkit.statistics.hashing import GAMMA, splitmix64

_ENUMERABLE = 1 << 20
_CHUNK = 1 << 16
_MAX_ROUNDS = 2000


class OperandSampler:
    """Draws operand tuples, mostly small ones, for the splits of a dataset.

    An operand is `int(10**(d*u))` with u uniform, as in the published sets; here d is chosen so that the
    largest is `high`, and a share `uniform` of the draws is uniform over `low..high` instead.

    What "no leak between splits" means here: a tuple of operands, in whatever order (3+5 and 5+3, but also
    3-5 and 5-3), belongs to exactly one split. No split therefore contains a statement, a result, or an
    error about operands that another split has shown. Single operands do recur, as there are few of them.

    Args:
        arity: Operands in a question, 1 or 2.
        low: The smallest operand, 0 or more.
        high: The largest operand.
        uniform: Share of uniform draws, 0 to 1.
        shares: For each split, its share of all tuples; adds up to 1.
        seed: Which partition of the tuples.
    """

    def __init__(self, arity: int, low: int, high: int, uniform: float, shares: Mapping[str, float], seed: int) -> None:
        self.arity, self.low, self.high, self.uniform = arity, low, high, uniform
        self.base = high + 1
        self._names = list(shares)
        self._bounds = np.cumsum(list(shares.values()))[:-1]
        self._salt = np.random.default_rng(seed).integers(0, 2**63, dtype=np.uint64).astype(np.int64)
        self.enumerable = (high - low + 1) ** arity <= _ENUMERABLE
        if self.enumerable:
            self._enumerate()

    def split_of(self, operands: np.ndarray) -> np.ndarray:
        """The split that each tuple belongs to.

        Args:
            operands: (n, arity) integers.

        Returns:
            (n,) array of str objects.
        """
        units = self._units(operands)
        if self.enumerable:
            positions = np.searchsorted(self._all_units, units)
            index = self._unit_split[np.minimum(positions, len(self._all_units) - 1)]
        else:
            index = np.searchsorted(self._bounds, self._uniform_hash(units), side="right")
        return np.array(self._names, dtype=object)[index]

    def draw(self, rng: np.random.Generator, split: str, n: int) -> np.ndarray:
        """Draw n different tuples of one split.

        Returns:
            (n, arity) int64, in the order of the draw.

        Raises:
            DataError: The range holds fewer than n tuples of this split.
        """
        if n == 0:
            return np.empty((0, self.arity), dtype=np.int64)
        codes = self._draw_enumerated(rng, split, n) if self.enumerable else self._draw_rejected(rng, split, n)
        return codes[:, None] if self.arity == 1 else np.stack([codes // self.base, codes % self.base], axis=1)

    def _units(self, operands: np.ndarray) -> np.ndarray:
        """One number for each tuple, the same for both orders."""
        ordered = np.sort(np.asarray(operands, dtype=np.int64), axis=1)
        return ordered[:, 0] if self.arity == 1 else ordered[:, 0] * self.base + ordered[:, 1]

    def _uniform_hash(self, units: np.ndarray) -> np.ndarray:
        """A hash of each unit as a number in [0, 1)."""
        mixed = splitmix64((units.astype(np.int64) + self._salt) * GAMMA)
        return (mixed.view(np.uint64) >> np.uint64(11)).astype(np.float64) / 2.0**53

    def _enumerate(self) -> None:
        values = np.arange(self.low, self.high + 1)
        weights = self.uniform / len(values) + (1 - self.uniform) * self._log_uniform(values)
        if self.arity == 1:
            operands, self._weights = values[:, None], weights
        else:
            first, second = np.meshgrid(values, values, indexing="ij")
            operands = np.stack([first.ravel(), second.ravel()], axis=1)
            self._weights = np.outer(weights, weights).ravel()
        self._codes = operands[:, 0] if self.arity == 1 else operands @ np.array([self.base, 1])
        drawable = self._weights > 0
        self._codes, self._weights = self._codes[drawable], self._weights[drawable]
        self._all_units, inverse, sizes = np.unique(
            self._units(operands[drawable]), return_inverse=True, return_counts=True
        )
        # Splits get their exact share of the tuples, which matters when there are few of them.
        order = np.argsort(self._uniform_hash(self._all_units))
        filled = np.cumsum(sizes[order]) - 0.5 * sizes[order]
        self._unit_split = np.empty(len(order), dtype=np.int64)
        self._unit_split[order] = np.searchsorted(self._bounds * len(self._codes), filled, side="right")
        self._code_split = self._unit_split[inverse]

    def _log_uniform(self, values: np.ndarray) -> np.ndarray:
        start = max(self.low, 1)
        inside = np.maximum(values, 1)
        density = np.log1p(1 / inside) / np.log((self.high + 1) / start)
        return np.where(values >= start, density, 0.0)

    def _draw_enumerated(self, rng: np.random.Generator, split: str, n: int) -> np.ndarray:
        rows = np.flatnonzero(self._code_split == self._names.index(split))
        if n > len(rows):
            raise self._too_few(split, n, len(rows))
        # The n smallest of exponentials with these rates are a weighted draw without replacement
        # (Efraimidis, Spirakis 2006), just as if repeated draws were thrown away one by one.
        keys = rng.exponential(size=len(rows)) / self._weights[rows]
        smallest = np.argpartition(keys, n - 1)[:n]  # half a million are not sorted for a few thousand
        return self._codes[rows[smallest[np.argsort(keys[smallest])]]]

    def _draw_rejected(self, rng: np.random.Generator, split: str, n: int) -> np.ndarray:
        index = self._names.index(split)
        share = float(np.diff([0.0, *self._bounds, 1.0])[index])
        total = (self.high - self.low + 1) ** self.arity
        if n > share * total / 2:
            raise self._too_few(split, n, int(share * total / 2))
        size = int(min(max(_CHUNK, 1.2 * n / share), 1 << 22))
        drawn = np.empty(0, dtype=np.int64)
        for _ in range(_MAX_ROUNDS):
            operands = self._draw_operands(rng, size)
            splits = np.searchsorted(self._bounds, self._uniform_hash(self._units(operands)), side="right")
            operands = operands[splits == index]
            codes = operands[:, 0] if self.arity == 1 else operands @ np.array([self.base, 1])
            drawn = np.concatenate([drawn, codes])
            drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
            if len(drawn) >= n:
                return drawn[:n]
        raise self._too_few(split, n, len(drawn))

    def _draw_operands(self, rng: np.random.Generator, size: int) -> np.ndarray:
        shape = (size, self.arity)
        start = max(self.low, 1)
        drawn = (start * ((self.high + 1) / start) ** rng.random(shape)).astype(np.int64)
        drawn = np.minimum(drawn, self.high)
        if self.uniform:
            flat = rng.integers(self.low, self.high + 1, shape)
            drawn = np.where(rng.random(shape) < self.uniform, flat, drawn)
        return drawn

    def _too_few(self, split: str, n: int, available: int) -> DataError:
        return DataError(
            f"n_{split} needs {n} different operand tuples in each quarter of the questions, but operands "
            f"{self.low} to {self.high} leave {available} for this split: lower n_{split}, or raise max or "
            "repeats"
        )
