"""Scores by a formula that learns nothing of the rows."""

from typing import Any

from torch import Tensor
from typing_extensions import override

from madkit.scores.common.score import Score
from madkit.streaming.row_count import RowCount


class FixedScore(Score):
    """A score that is given and not fitted: a subclass defines `score` only.

    `fit` or `finalize` still come first, so that it is used as any other score is, and knows how long rows are.

    Example:
        >>> import torch
        >>> class Length(FixedScore):
        ...     def score(self, x: Tensor) -> Tensor:
        ...         return torch.linalg.vector_norm(x, dim=1)
        >>> Length().fit(torch.zeros(1, 2))(torch.tensor([[3.0, 4.0]]))
        tensor([5.], dtype=torch.float64)
    """

    accumulator = RowCount

    @override
    def estimate(self, trusted: Any, untrusted: Any) -> dict[str, Tensor]:
        return {}
