"""Arithmetic: the quirk adds one to the leading digit of the result."""

from madkit.data.tasks.arithmetic.datasets import Addition, ModularAddition, Multiplication, Squaring, Subtraction

__all__ = ["Addition", "ModularAddition", "Multiplication", "Squaring", "Subtraction"]
