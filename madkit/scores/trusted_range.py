"""How far a row leaves the range of the trusted rows."""

import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import DataError
from madkit.scores.common.score import Score
from madkit.streaming.extremes import Extremes, Range


class TrustedRange(Score):
    """How far the feature that leaves the trusted rows' range furthest does so, in widths of that range.

    Formula: max over i of max(low_i - x_i, x_i - high_i) / (high_i - low_i), with low_i and high_i the smallest and
    largest value of feature i on trusted rows. It is above 0 if any feature leaves its range, and at least -1/2.

    Source: the monitor of WeightWatch, Zhong and Raghunathan (2025), arXiv 2508.00161, which raises an alarm above 0.
    The number itself, which ranks rows that raise none, is madkit's.

    Blind to: correlations, and how usual a value is inside of its range. Features that are constant on trusted rows are
    left out. With more trusted rows the range only grows.

    Use when: each feature means something by itself, as those of `UpdateDirections` do, and one of them has to explain
    an alarm.

    Raises:
        DataError: when fitting, no feature varies.

    Example:
        >>> trusted = torch.tensor([[0.0, 7.0], [2.0, 7.0]])
        >>> TrustedRange().fit(trusted)(torch.tensor([[3.0, 9.0], [1.0, 7.0]]))
        tensor([ 0.5000, -0.5000], dtype=torch.float64)
    """

    accumulator = Extremes
    low: Tensor
    high: Tensor

    @override
    def estimate(self, trusted: Range, untrusted: None) -> dict[str, Tensor]:
        if not (trusted.high > trusted.low).any():
            raise DataError(f"{self.short}: no feature varies over n={trusted.n} trusted rows: give other rows")
        return {"low": trusted.low, "high": trusted.high}

    @override
    def score(self, x: Tensor) -> Tensor:
        width = self.high - self.low
        beyond = torch.maximum(self.low - x, x - self.high) / width
        return beyond.masked_fill(width == 0, -torch.inf).amax(1)
