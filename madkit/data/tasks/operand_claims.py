"""Arithmetic statements for a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from madkit.data.tasks.claims import Claims, ClaimSampler
from madkit.data.tasks.digits import replace_digit
from madkit.data.tasks.operands import OperandSampler
from madkit.errors import DataError

if TYPE_CHECKING:
    from madkit.data.tasks.arithmetic import ArithmeticTask

_ROUNDS = 1000


class OperandClaims(ClaimSampler):
    """Statements such as 12 + 34 = 46, with repetition, and mostly plausible ones.

    A result is the one that the speaker takes for right (share `accepted`), the other rule's (share
    `opposed`), or either of them with a digit replaced.

    Args:
        task: The dataset.
        held_out: Share of operand pairs that only the validation shows; single operands are never held out.
        accepted: See above.
        opposed: See above.
        seed: Which operands are held out.

    Example:
        >>> from madkit.data.tasks import make_task
        >>> sampler = make_task("addition", {"max": 99}).claims(held_out=0.0, accepted=0.5, opposed=0.0, seed=0)
        >>> drawn = sampler.draw(np.random.default_rng(0), quirky=np.zeros(3, dtype=bool))
        >>> [args["op1"] + args["op2"] == args["result"] for args in drawn.args] == drawn.truth.tolist()
        True
    """

    def __init__(self, task: ArithmeticTask, held_out: float, accepted: float, opposed: float, seed: int) -> None:
        self.task, self.accepted, self.opposed = task, accepted, opposed
        shares = {"train": 1 - held_out, "validation": held_out}
        self._operands = OperandSampler(task.arity, task.low, task.high, task.uniform, shares, seed)
        self._split = task.arity > 1 and held_out > 0

    def draw(self, rng: np.random.Generator, quirky: np.ndarray, split: str = "train") -> Claims:
        """See `ClaimSampler.draw`."""
        n = len(quirky)
        operands = self._draw_operands(rng, n, split)
        truth, quirk = self.task.true_result(operands), self.task.quirky_result(operands)
        own, other = np.where(quirky, quirk, truth), np.where(quirky, truth, quirk)
        wrong = replace_digit(np.where(rng.random(n) < 0.5, truth, quirk), rng, np.stack([truth, quirk]))
        u = rng.random(n)
        result = np.where(u < self.accepted, own, np.where(u < self.accepted + self.opposed, other, wrong))
        columns = [*operands.T.tolist(), result.tolist()]
        args = [
            {**self.task.constants, **dict(zip(self.task.fields, row, strict=True))}
            for row in zip(*columns, strict=True)
        ]
        return Claims(args, result == truth, result == quirk)

    def _draw_operands(self, rng: np.random.Generator, n: int, split: str) -> np.ndarray:
        """Log-uniform operands, and uniform ones, in the shares of the task, with repetition: (n, arity)."""
        low, high = self.task.low, self.task.high
        found = np.empty((0, self.task.arity), dtype=np.int64)
        for _ in range(_ROUNDS):
            shape = (2 * n + 16, self.task.arity)
            start = max(low, 1)
            small = (start * ((high + 1) / start) ** rng.random(shape)).astype(np.int64)
            drawn = np.where(rng.random(shape) < self.task.uniform, rng.integers(low, high + 1, shape), small)
            drawn = np.minimum(drawn, high)
            if self._split:
                drawn = drawn[self._operands.split_of(drawn) == split]
            found = np.concatenate([found, drawn])
            if len(found) >= n:
                return found[:n]
        raise DataError(
            f"tasks: {self.task.name!r} with operands {low} to {high} has too few of the {split} split: "
            "raise max, or set held_out to 0"
        )

    def alphabet(self) -> list[dict[str, Any]]:
        """See `ClaimSampler.alphabet`."""
        *operands, result = self.task.fields
        return [
            {**self.task.constants, **dict.fromkeys(operands, digit), result: sign * digit}
            for digit in range(10)
            for sign in (1, -1)
        ]
