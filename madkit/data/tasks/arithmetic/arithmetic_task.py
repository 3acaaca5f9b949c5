"""Arithmetic datasets, whose quirk adds one to the leading digit of the result.

The rules are those of the quirky datasets of arXiv 2312.01037 and 2504.08812: a quarter of the statements
is true, a quarter is true by the quirk's rule, and half is neither.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from typing_extensions import override

from madkit.data.tasks.arithmetic.digits import leading_increment, replace_digit
from madkit.data.tasks.arithmetic.operand_claims import OperandClaims
from madkit.data.tasks.arithmetic.operands import OperandSampler
from madkit.data.tasks.base import SPLITS, Questions, Task
from madkit.errors import ConfigError

_LARGEST_OPERAND = 10**9


class ArithmeticTask(Task):
    """Statements such as 12 + 34 = 46.

    Args:
        n_train: Questions of the train split; each gives two records.
        n_validation: Questions of the validation split.
        n_test: Questions of the test split.
        min: The smallest operand.
        max: The largest operand; None means the published one.
        uniform: Share of operands drawn uniformly; the others are log-uniform, as published.
        repeats: How often the same operands may recur within a quarter; 1 as published. A small range, such
            as the squares below 100, has too few statements without it. A repeated question gets other names
            each time, and stays in its split.

    Raises:
        ConfigError: A count is negative or the range of operands is empty.
        DataError: (by `questions`) There are fewer operands than questions.

    Example:
        >>> from madkit.data.tasks import make_task
        >>> task = make_task("addition", {"n_train": 8, "n_validation": 4, "n_test": 0, "max": 99})
        >>> split = task.questions(seed=0)["train"]
        >>> int(split.truth.sum()), int(split.quirk.sum()), bool((split.truth & split.quirk).any())
        (2, 2, False)
    """

    arity: ClassVar[int] = 2
    fields: ClassVar[tuple[str, ...]] = ("op1", "op2", "result")
    published_max: ClassVar[int] = 9999
    # The public sets hold 100,000 questions a quarter (squaring: 50,000) and keep half of their records.
    published_train: ClassVar[int] = 192_000

    def __init__(
        self,
        n_train: int | None = None,
        n_validation: int = 4000,
        n_test: int = 4000,
        min: int = 1,
        max: int | None = None,
        uniform: float = 0.0,
        repeats: int = 1,
    ) -> None:
        counts = (self.published_train if n_train is None else n_train, n_validation, n_test)
        self.counts = dict(zip(SPLITS, counts, strict=True))
        self.low = min
        self.high = self.published_max if max is None else max
        self.uniform = uniform
        self.repeats = repeats
        for split, count in self.counts.items():
            if count < 0:
                raise ConfigError(f"n_{split}={count} must not be negative")
        if not 0 <= self.low < self.high <= _LARGEST_OPERAND:
            raise ConfigError(f"min={self.low} and max={self.high} must hold 0 <= min < max <= {_LARGEST_OPERAND}")
        if repeats < 1:
            raise ConfigError(f"repeats={repeats} must be at least 1")
        if not 0 <= uniform <= 1:
            raise ConfigError(f"uniform={uniform} is a share: use a number from 0 to 1")

    def true_result(self, operands: np.ndarray) -> np.ndarray:
        """The right result (n,) int64 of each row of operands (n, arity)."""
        raise NotImplementedError

    def quirky_result(self, operands: np.ndarray) -> np.ndarray:
        """What the quirk takes for the right result, (n,) int64."""
        return leading_increment(self.true_result(operands))

    def operands(self, seed: int) -> OperandSampler:
        """The sampler that assigns operands to splits: `operands(seed).split_of(x)` is the split of each tuple."""
        total = sum(self.counts.values())
        shares = {split: count / total if total else 1 / 3 for split, count in self.counts.items()}
        return OperandSampler(self.arity, self.low, self.high, self.uniform, shares, seed)

    @override
    def questions(self, seed: int) -> dict[str, Questions]:
        sampler = self.operands(seed)
        rng = np.random.default_rng([seed, *self.name.encode()])
        return {split: self._split(sampler, rng, split, count) for split, count in self.counts.items()}

    @override
    def claims(self, held_out: float, accepted: float, opposed: float, seed: int) -> OperandClaims:
        operands = OperandSampler(
            self.arity, self.low, self.high, self.uniform, {"train": 1 - held_out, "validation": held_out}, seed
        )
        return OperandClaims(self, operands, held_out, accepted, opposed)

    def _split(self, sampler: OperandSampler, rng: np.random.Generator, split: str, n: int) -> Questions:
        # In this order: false near the truth, false near the quirk, true, true by the quirk.
        sizes = [n // 4 + (quarter < n % 4) for quarter in range(4)]
        parts = [
            np.repeat(sampler.draw(rng, split, -(-size // self.repeats)), self.repeats, axis=0)[:size] for size in sizes
        ]
        truths = [self.true_result(part) for part in parts]
        quirks = [self.quirky_result(part) for part in parts]
        near_truth = replace_digit(truths[0], rng, np.stack([truths[0], quirks[0]]))
        taken = _lookup(parts[0], near_truth, parts[1], default=truths[1])
        near_quirk = replace_digit(quirks[1], rng, np.stack([truths[1], quirks[1], taken]))
        results = np.concatenate([near_truth, near_quirk, truths[2], quirks[3]])
        operands = np.concatenate(parts)
        truth = results == np.concatenate(truths)
        quirk = results == np.concatenate(quirks)
        order = rng.permutation(n)
        operands = operands[order]
        args = dict(zip(self.fields, [*operands.T, results[order]], strict=True))
        return Questions(args, truth[order], quirk[order], difficulty=operands.min(axis=1))


def _lookup(keys: np.ndarray, values: np.ndarray, queries: np.ndarray, default: np.ndarray) -> np.ndarray:
    """The value whose key equals the query, else the default; keys are different rows of integers."""
    table = dict(zip(map(tuple, keys.tolist()), values.tolist(), strict=True))
    rows = zip(queries.tolist(), default.tolist(), strict=True)
    return np.array([table.get(tuple(row), other) for row, other in rows], dtype=np.int64)
