"""Arithmetic statements for a corpus."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from typing_extensions import override

from madkit.data.tasks.arithmetic.digits import replace_digit
from madkit.data.tasks.arithmetic.operands import OperandSampler
from madkit.data.tasks.base import Claims, ClaimSampler
from madkit.errors import DataError

_ROUNDS = 1000


class ArithmeticRule(Protocol):
    """What statements need to know of a dataset; every `ArithmeticTask` says it."""

    @property
    def name(self) -> str:
        """The dataset."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the operands, then of the result."""

    @property
    def constants(self) -> dict[str, Any]:
        """Values that are the same in every statement."""

    def true_result(self, operands: np.ndarray) -> np.ndarray:
        """The right result (n,) int64 of each row of operands (n, arity)."""

    def quirky_result(self, operands: np.ndarray) -> np.ndarray:
        """What the quirk takes for the right result, (n,) int64."""


class OperandClaims(ClaimSampler):
    """Statements such as 12 + 34 = 46, with repetition, and mostly plausible ones.

    A result is the one that the speaker takes for right (share `accepted`), the other rule's (share
    `opposed`), or either of them with a digit replaced.

    Args:
        rule: The dataset.
        operands: Says which operands the training and the validation show.
        held_out: Share of operand pairs that only the validation shows; single operands are never held out.
        accepted: See above.
        opposed: See above.

    Example:
        >>> from madkit.data.tasks import make_task
        >>> sampler = make_task("addition", {"max": 99}).claims(held_out=0.0, accepted=0.5, opposed=0.0, seed=0)
        >>> drawn = sampler.draw(np.random.default_rng(0), quirky=np.zeros(3, dtype=bool))
        >>> [args["op1"] + args["op2"] == args["result"] for args in drawn.args] == drawn.truth.tolist()
        True
    """

    def __init__(
        self, rule: ArithmeticRule, operands: OperandSampler, held_out: float, accepted: float, opposed: float
    ) -> None:
        self.rule, self.accepted, self.opposed = rule, accepted, opposed
        self._operands = operands
        self._has_splits = operands.arity > 1 and held_out > 0

    @override
    def draw(self, rng: np.random.Generator, quirky: np.ndarray, split: str = "train") -> Claims:
        n = len(quirky)
        operands = self._draw_operands(rng, n, split)
        truth, quirk = self.rule.true_result(operands), self.rule.quirky_result(operands)
        believed, other = np.where(quirky, quirk, truth), np.where(quirky, truth, quirk)
        wrong = replace_digit(np.where(rng.random(n) < 0.5, truth, quirk), rng, np.stack([truth, quirk]))
        u = rng.random(n)
        result = np.where(u < self.accepted, believed, np.where(u < self.accepted + self.opposed, other, wrong))
        columns = [*operands.T.tolist(), result.tolist()]
        args = [
            {**self.rule.constants, **dict(zip(self.rule.fields, row, strict=True))}
            for row in zip(*columns, strict=True)
        ]
        return Claims(args, result == truth, result == quirk)

    def _draw_operands(self, rng: np.random.Generator, n: int, split: str) -> np.ndarray:
        """Log-uniform operands, and uniform ones, in the shares of the task, with repetition: (n, arity)."""
        sampler = self._operands
        low, high = sampler.low, sampler.high
        operands = np.empty((0, sampler.arity), dtype=np.int64)
        for _ in range(_ROUNDS):
            shape = (2 * n + 16, sampler.arity)
            start = max(low, 1)
            small = (start * ((high + 1) / start) ** rng.random(shape)).astype(np.int64)
            drawn = np.where(rng.random(shape) < sampler.uniform, rng.integers(low, high + 1, shape), small)
            drawn = np.minimum(drawn, high)
            if self._has_splits:
                drawn = drawn[sampler.split_of(drawn) == split]
            operands = np.concatenate([operands, drawn])
            if len(operands) >= n:
                return operands[:n]
        raise DataError(
            f"tasks: {self.rule.name!r} with operands {low} to {high} has too few of the {split} split: "
            "raise max, or set held_out to 0"
        )

    @override
    def alphabet(self) -> list[dict[str, Any]]:
        *operands, result = self.rule.fields
        return [
            {**self.rule.constants, **dict.fromkeys(operands, digit), result: sign * digit}
            for digit in range(10)
            for sign in (1, -1)
        ]
