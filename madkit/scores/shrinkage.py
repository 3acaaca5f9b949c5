"""Covariance estimates that stay invertible when features outnumber rows."""

from typing import NamedTuple

import torch
from torch import Tensor

from madkit.scores.state import Moments, Statistics


class FourthStatistics(NamedTuple):
    """`Statistics` and the sum of the fourth powers of the rows' centred norms, float64 scalar."""

    n: int
    mean: Tensor
    m2: Tensor
    fourth: Tensor


class FourthMoments(Moments):
    """`Moments` with sum |c|^2 c, (d,), and sum |c|^4 of the centred rows c; these merge exactly too."""

    parts = ("n", "origin", "mean", "m2", "third", "fourth")
    third: Tensor
    fourth: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("third", torch.zeros(0, dtype=torch.float64), dist_reduce_fx=None)
        self.add_state("fourth", torch.zeros((), dtype=torch.float64), dist_reduce_fx=None)

    def options(self) -> dict[str, bool]:
        """See the base class."""
        return {}

    def start(self, origin: Tensor) -> None:
        """See the base class."""
        super().start(origin)
        self.third = torch.zeros_like(self.origin)

    def update(self, x: Tensor) -> None:
        """Add the rows of x, (b, d) float64."""
        if not len(x):
            return
        if not self.n:
            self.start(x[0])
        x = x - self.origin
        mean = x.mean(0)
        centred = x - mean
        norms = centred.square().sum(1)
        n, third, fourth = x.new_tensor(len(x), dtype=torch.int64), norms @ centred, norms.square().sum()
        self._add_powers(n, mean, centred.T @ centred, third, fourth)

    def absorb(self, *parts: Tensor) -> None:
        """See the base class."""
        n, origin, mean, m2, third, fourth = parts
        if not n:
            return
        if not self.n:
            self.start(origin)
        self._add_powers(n, mean + (origin - self.origin), m2, third, fourth)

    def _add_powers(self, n: Tensor, mean: Tensor, m2: Tensor, third: Tensor, fourth: Tensor) -> None:
        delta = mean - self.mean
        share = n.double() / (self.n + n).double()
        # Both sets of rows are seen from the common mean before they are added.
        here = recentred(self.n, self.m2, self.third, self.fourth, share * delta)
        there = recentred(n, m2, third, fourth, (share - 1) * delta)
        self.third, self.fourth = here[0] + there[0], here[1] + there[1]
        self.move(n, mean)
        self.m2 += m2

    def result(self) -> FourthStatistics:  # type: ignore[override]
        """See the base class."""
        return FourthStatistics(*super().result(), self.fourth.clone())


def recentred(n: Tensor, m2: Tensor, third: Tensor, fourth: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Sums |c|^2 c and |c|^4 when the centre of n rows moves by `shift` (d,), by expanding |c - shift|."""
    trace, turned, squared = m2.trace(), m2 @ shift, shift @ shift
    moved_third = third - 2 * turned - (trace + n * squared) * shift
    moved_fourth = fourth - 4 * (shift @ third) + 4 * (shift @ turned) + 2 * squared * trace + n * squared**2
    return moved_third, moved_fourth


def ledoit_wolf(statistics: FourthStatistics) -> Tensor:
    """The shrunk covariance (d, d) of Ledoit and Wolf (2004), "A well-conditioned estimator", Theorem 3.2 on.

    As in the paper (and scikit-learn) the sample covariance divides by n, and the target is its mean variance
    times the identity.
    """
    n, d = statistics.n, len(statistics.mean)
    sample = statistics.m2 / n
    scale = sample.trace() / d
    distance = (sample.square().sum() - d * scale**2) / d
    noise = (statistics.fourth / n - sample.square().sum()) / (n * d)
    weight = min(float(noise / distance), 1.0) if distance > 0 else 1.0
    return (1 - weight) * sample + weight * scale * torch.eye(d, dtype=sample.dtype, device=sample.device)


def optimal_linear(statistics: Statistics) -> Tensor:
    """The shrunk covariance (d, d) of Bodnar, Gupta and Parolya (2014), section 4, towards I / d."""
    n, d = statistics.n, len(statistics.mean)
    sample = statistics.covariance
    trace, squared = sample.trace(), sample.square().sum()
    # With target I/d: |target|^2 = 1/d and tr(sample target) = trace/d.
    keep = 1 - (trace**2 / d / n) / (squared / d - (trace / d) ** 2)
    return keep * sample + (1 - keep) * trace / d * torch.eye(d, dtype=sample.dtype, device=sample.device)
