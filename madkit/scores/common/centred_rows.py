"""Rows about a common centre, in the precision that is asked for, and never all of them in float64."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Numbers that are centred at once: 1 MiB in float64, which stays in the cache.
CACHED = 2**17


class CentredRows:
    """Rows (n, d) float64 less a centre, with copies of them in low precision.

    Args:
        rows: (n, d) float64, as they are.
        centre: (d,) float64. Norms far from the origin would swamp the differences in a product.
        scale: what low precision takes for 1; unless given, 1 or, where that would overflow or vanish, the
            length of the longest row. Two sets of rows that are compared share one.
    """

    def __init__(self, rows: Tensor, centre: Tensor, scale: float | None = None) -> None:
        self.rows, self.centre = rows, centre
        step = max(1, CACHED // rows.shape[1])
        self.squares = torch.cat([torch.linalg.vector_norm(part - centre, dim=1) for part in rows.split(step)]).square()
        if scale is None:
            longest = float(self.squares.max().sqrt())
            scale = 1.0 if 1e-9 < longest < 1e9 else max(longest, 1e-150)
        self.scale = scale
        # A row so much longer than all others that its square would overflow has no copy, and no bound.
        self.far = self.squares > 1e30 * self.scale**2
        self._copies: dict[torch.dtype, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def copy(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The centred rows divided by `scale` in low precision, and the length (n,) that this lost relative to them."""
        if dtype not in self._copies:
            copy, lost = self.rows.new_empty(self.rows.shape, dtype=dtype), torch.zeros_like(self.squares)
            for chosen, fine in self._scaled():
                if dtype == torch.bfloat16:
                    fine = fine.float()
                copy[chosen] = fine
                if dtype == torch.bfloat16:
                    lost[chosen] = torch.linalg.vector_norm(fine.sub_(copy[chosen]), dim=1).double()
            lost = lost * self.scale / self.squares.sqrt().clamp(min=1e-300)
            lost += torch.finfo(torch.float32 if dtype == torch.bfloat16 else dtype).eps
            self._copies[dtype] = copy, lost
        return self._copies[dtype]

    def columns(self, start: int, stop: int, out: Tensor) -> Tensor:
        """Some features (n, stop - start) of the centred rows, float64, in the memory of `out`, a vector of enough."""
        room = out[: len(self.rows) * (stop - start)].view(len(self.rows), stop - start)
        return torch.sub(self.rows[:, start:stop], self.centre[start:stop], out=room)

    def part(self, chosen: Tensor) -> CentredRows:
        """The chosen rows, (m,) ascending indices."""
        if len(chosen) == len(self.rows):
            return self
        first, last = int(chosen[0]), int(chosen[-1]) + 1
        index = slice(first, last) if last - first == len(chosen) else chosen
        part = object.__new__(CentredRows)
        part.rows, part.centre, part.scale = self.rows[index], self.centre, self.scale
        part.squares, part.far = self.squares[index], self.far[index]
        part._copies = {dtype: (copy[index], lost[index]) for dtype, (copy, lost) in self._copies.items()}
        return part

    def _scaled(self) -> Iterator[tuple[slice, Tensor]]:
        """A few rows at a time, so that they stay in the cache: which, and their centred values divided by `scale`."""
        n, d = self.rows.shape
        step, any_far = max(1, CACHED // d), bool(self.far.any())
        for start in range(0, n, step):
            chosen = slice(start, min(start + step, n))
            fine = self.rows[chosen] - self.centre
            if self.scale != 1:
                fine /= self.scale
            if any_far:
                fine.masked_fill_(self.far[chosen, None], 0.0)
            yield chosen, fine
