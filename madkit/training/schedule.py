"""The learning-rate schedule of every recipe: a rise, a plateau and a fall."""

from __future__ import annotations

from collections.abc import Callable

from madkit.errors import ConfigError


def require_shares(warmup: float, decay: float) -> None:
    """Refuse a warm-up and a decay that do not fit into a run.

    Raises:
        ConfigError: one is not a share, or together they are more than all steps.
    """
    if not (0 <= warmup <= 1 and 0 <= decay <= 1 and warmup + decay <= 1 + 1e-9):
        raise ConfigError(
            f"warmup={warmup} and decay={decay} are shares of all steps: each in 0..1, together at most 1"
        )


def trapezoid(total: int, warmup: float, decay: float) -> Callable[[int], float]:
    """The factor on the learning rate at each optimizer step.

    Args:
        total: number of optimizer steps of the run.
        warmup: share of the steps in which the factor rises linearly to 1.
        decay: share of the steps, at the end, in which it falls linearly towards 0.

    Returns:
        A function of the step, counted from 0, for ``LambdaLR``.

    Example:
        >>> factor = trapezoid(10, warmup=0.2, decay=0.5)
        >>> [round(factor(step), 2) for step in range(10)]
        [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    """
    up = round(total * warmup)
    down = round(total * decay)

    def factor(step: int) -> float:
        rising = (step + 1) / up if up else 1.0
        falling = (total - step) / down if down else 1.0
        return max(0.0, min(1.0, rising, falling))

    return factor
