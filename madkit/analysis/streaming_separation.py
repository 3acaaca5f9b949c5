"""StateSeparation of rows that stream by, over any number of processes."""

import torch
from torch import Tensor, nn

from madkit.analysis.state_separation import StateSeparation, separation_from_moments
from madkit.arrays import bool_array
from madkit.errors import DataError
from madkit.streaming.accumulator import merge_processes
from madkit.streaming.validation import Rows, check_rows, row_chunks
from madkit.streaming.variances import FeatureStatistics, Variances


class StreamingSeparation(nn.Module):
    """`separation` in one pass, with O(d) memory, for any batch size, order and number of processes.

    Example:
        >>> separation = StreamingSeparation()
        >>> separation.update(torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.tensor([False, True]))
        >>> separation.update(torch.tensor([[0.0, 2.0], [4.0, 2.0]]), torch.tensor([False, True]))
        >>> separation.compute()
        StateSeparation(value=2.4, variance=6.666666666666667, n_alice=2, n_bob=2)
    """

    # Like `update`: a state made in inference mode, as in Lightning's test loop, could not be updated.
    @torch.inference_mode(False)
    def __init__(self) -> None:
        super().__init__()
        self.alice = Variances()
        self.bob = Variances()

    @torch.inference_mode(False)
    @torch.no_grad()
    def update(self, x: Rows, is_bob: Tensor) -> None:
        """Add rows x (n, d) of both characters; `is_bob` (n,) boolean.

        Raises:
            DataError: x has another shape than before, or NaN or infinite values; or is_bob does not fit it.
        """
        width = int(self.alice.width) or int(self.bob.width) or None
        x = check_rows(x, width)
        bob = torch.from_numpy(bool_array(is_bob, "is_bob")).to(x.device)
        if bob.shape != x.shape[:1]:
            raise DataError(f"x has shape {tuple(x.shape)} and is_bob {tuple(bob.shape)}: give (n, d) and (n,)")
        start = 0
        for rows in row_chunks(x):
            part = bob[start : start + len(rows)]
            start += len(rows)
            for side, moments in ((rows[~part], self.alice), (rows[part], self.bob)):
                moments.update(side.to(moments.device).double())

    @torch.inference_mode(False)
    @torch.no_grad()
    def compute(self) -> StateSeparation:
        """The separation over all processes.

        Raises:
            DataError: a character without rows, or all rows equal.
        """
        sides = [merge_processes(moments).result() for moments in (self.alice, self.bob)]
        return separation_from_moments(*(FeatureStatistics(s.n, s.mean.cpu(), s.m2.cpu()) for s in sides))
