"""Mahalanobis distance to the trusted rows that got the same answer."""

import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError, DataError
from madkit.scores.common.score import Score
from madkit.streaming.covariance import covariance_statistics
from madkit.streaming.pool import Pool


class AnswerMahalanobis(Score):
    """Squared Mahalanobis distance to the mean of the trusted rows that got the same answer, divided by d.

    Formula: (x - mu_a)' C^+ (x - mu_a) / d, with a the row's own answer, the sign of its last number, mu_a the mean of
    the trusted rows with that answer, and C the covariance (n - 2) of trusted rows about the mean of their answer.

    Source: Lee et al. (2018), arXiv 1807.03888, eq. 2, with the model's answer for the class; `relative`: Ren et al.
    (2021), arXiv 2106.09022.

    Blind to: an anomaly that changes the answer and nothing else. With "nearest" to a row that looks as rows with the
    other answer do.

    Use when: rows are those of `Answered`, and test prompts are answered in other shares than trusted ones, which a
    distance to all of them together takes for an anomaly.

    Args:
        answer: "own", or "nearest" for the smaller of the distances to the two means [as in Lee et al.].
        relative: subtract the distance to the mean of all trusted rows under their covariance.
        rcond: directions whose variance is at most `rcond` times the largest are dropped.

    Raises:
        ConfigError: an argument is out of range.
        DataError: when fitting, an answer that fewer than two trusted rows got, or rows without variance.

    Example:
        >>> yes, no = [[1.0, 9.0], [3.0, 8.0]], [[-1.0, -9.0], [-3.0, -7.0]]
        >>> AnswerMahalanobis().fit(torch.tensor(yes + no))(torch.tensor([[2.0, 1.0], [2.0, -1.0]]))
        tensor([0., 8.], dtype=torch.float64)
    """

    accumulator = Pool
    means: Tensor
    directions: Tensor
    variances: Tensor
    mean: Tensor
    all_directions: Tensor
    all_variances: Tensor

    def __init__(self, answer: str = "own", relative: bool = False, rcond: float = 1e-3) -> None:
        super().__init__()
        if answer not in ("own", "nearest"):
            raise ConfigError(f"answer={answer!r} is unknown: give 'own' or 'nearest'")
        if not 0 <= rcond < 1:
            raise ConfigError(f"rcond={rcond} is out of range: give 0 <= rcond < 1, such as 1e-3")
        self.answer, self.relative, self.rcond = answer, relative, float(rcond)

    @override
    def estimate(self, trusted: Tensor, untrusted: None) -> dict[str, Tensor]:
        x, yes = trusted[:, :-1], trusted[:, -1] > 0
        counts = int((~yes).sum()), int(yes.sum())
        if min(counts) < 2 or not x.shape[1]:
            raise DataError(
                f"{self.short}: {counts[0]} trusted rows have a last number up to 0 and {counts[1]} above: give rows "
                "of `Answered`, at least two with each answer"
            )
        means = torch.stack([x[~yes].mean(0), x[yes].mean(0)])
        within = covariance_statistics(x - means[yes.long()]).varied(self.short)
        variances, directions = within.leading(self.rcond)
        together = covariance_statistics(x)
        all_variances, all_directions = together.leading(self.rcond)
        return {
            "means": means,
            "directions": directions,
            # Two means were taken from the rows, not one.
            "variances": variances * (within.n - 1) / (within.n - 2),
            "mean": together.mean,
            "all_directions": all_directions,
            "all_variances": all_variances,
        }

    @override
    def score(self, x: Tensor) -> Tensor:
        x, yes = x[:, :-1], x[:, -1] > 0
        distances = torch.stack([self._distance(x, mean, self.directions, self.variances) for mean in self.means], 1)
        score = distances.amin(1) if self.answer == "nearest" else distances.gather(1, yes.long()[:, None])[:, 0]
        if self.relative:
            score = score - self._distance(x, self.mean, self.all_directions, self.all_variances)
        return score

    def _distance(self, x: Tensor, mean: Tensor, directions: Tensor, variances: Tensor) -> Tensor:
        return (((x - mean) @ directions.T).square() / variances).sum(1) / x.shape[1]
