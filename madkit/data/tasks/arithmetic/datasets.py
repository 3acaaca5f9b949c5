"""The five arithmetic datasets: addition, subtraction, multiplication, squaring and addition modulo a number."""

from __future__ import annotations

from typing import Any

import numpy as np
from typing_extensions import override

from madkit.data.tasks.arithmetic.arithmetic_task import ArithmeticTask
from madkit.errors import ConfigError


class Addition(ArithmeticTask):
    """a + b = c; the quirk takes 45 + 45 for 100."""

    name = "addition"

    @override
    def true_result(self, operands: np.ndarray) -> np.ndarray:
        return operands.sum(axis=1)


class Subtraction(ArithmeticTask):
    """a - b = c; the quirk takes 5 - 1000 for -895."""

    name = "subtraction"

    @override
    def true_result(self, operands: np.ndarray) -> np.ndarray:
        return operands[:, 0] - operands[:, 1]


class Multiplication(ArithmeticTask):
    """a * b = c; the quirk takes 99 * 99 for 10801."""

    name = "multiplication"
    published_max = 999

    @override
    def true_result(self, operands: np.ndarray) -> np.ndarray:
        return operands[:, 0] * operands[:, 1]


class Squaring(ArithmeticTask):
    """a^2 = c; the quirk takes 5^2 for 35."""

    name = "squaring"
    arity = 1
    fields = ("op1", "result")
    published_max = 99_999
    published_train = 92_000

    @override
    def true_result(self, operands: np.ndarray) -> np.ndarray:
        return operands[:, 0] ** 2


class ModularAddition(ArithmeticTask):
    """(a + b) mod m = c; the quirk takes 50 + 62 mod 113 for 99.

    Args:
        modulus: m, at least 2; 113 in the published set.
        **options: As for every arithmetic task.

    Raises:
        ConfigError: The modulus is below 2.
    """

    name = "modularaddition"

    def __init__(self, modulus: int = 113, **options: Any) -> None:
        super().__init__(**options)
        if modulus < 2:
            raise ConfigError(f"modulus={modulus} must be at least 2")
        self.modulus = modulus

    @property
    @override
    def constants(self) -> dict[str, Any]:
        return {"modulus": self.modulus}

    @override
    def true_result(self, operands: np.ndarray) -> np.ndarray:
        return operands.sum(axis=1) % self.modulus

    @override
    def quirky_result(self, operands: np.ndarray) -> np.ndarray:
        return super().quirky_result(operands) % self.modulus
