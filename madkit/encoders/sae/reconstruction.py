"""The errors of a top-k autoencoder, with gradients that touch only the latents that were used.

The three losses share their latents, so they share work as well. Both weights' gradients are sums over the rows that
used a latent: latents are sorted once, and `embedding_bag` writes each row of a gradient one time, without an outer
product for every use and, on a GPU, without atomic additions, whose order is random. The encoder's gradient of all
losses together costs what that of one does. What a step needs besides is one dense product, the pre-activations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag, linear

from madkit.encoders.sae.topk import largest

# The share of dead latents that a row uses from which dense products beat sparse ones. Processors differ in how much
# faster they multiply than they gather rows: a CPU core 2 to 4 times (measured), a GPU 20 times and more (estimated).
DENSE_FROM = {"cpu": 0.5}
DENSE_FROM_ELSEWHERE = 1 / 16


class Part(NamedTuple):
    """Latents that add to a reconstruction."""

    latents: Tensor
    """Columns (n, m), int64; or (m,), where all rows are given the same ones."""
    values: Tensor
    """How strongly each row uses them (n, m)."""
    made: Tensor
    """What they decode to (n, d), without the bias; through it the gradient of `values`, if they are sparse."""

    @classmethod
    def sparse(cls, w_dec: Tensor, latents: Tensor, values: Tensor) -> Part:
        """Each row has its own latents."""
        with torch.enable_grad():  # for the products with decoder rows that the backward pass needs
            values = values.detach().requires_grad_()
            made = embedding_bag(latents, w_dec.detach(), mode="sum", per_sample_weights=values)
        return cls(latents, values, made)

    def gradient(self, of_made: Tensor) -> Tensor:
        """That of the pre-activations (n, m), from that (n, d) of what they decode to; sparse parts only."""
        (found,) = torch.autograd.grad(self.made, self.values, of_made)
        return found.masked_fill_(self.values.detach() <= 0, 0)


class Reconstruction(torch.autograd.Function):
    """Squared errors of a reconstruction, of one by more latents, and of dead latents' prediction of the residual.

    Arguments of ``apply``: x (n, d); encoder weight (m, d) and bias (m,); decoder weight (m, d) and bias (d,); k; the
    number of latents `most` of the larger reconstruction, k for none; the dead latents (r,), int64, or None; and how
    many of them a row may use. Gives the three sums of squares, scalars, of which the second and third are 0 where not
    asked for, the latents (n, k) of the reconstruction and their values (n, k).

    The gradients are exact, for every loss that is a function of the three sums, where no two candidates for the last
    place tie. x gets none. Autocast applies to the pre-activations and, in their format, to dense products over dead
    latents, as it would without this class.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_enc: Tensor,
        b_enc: Tensor,
        w_dec: Tensor,
        b_dec: Tensor,
        k: int,
        most: int,
        dead: Tensor | None,
        revive: int,
    ) -> tuple[Tensor, ...]:
        """See the class."""
        centred = x - b_dec
        pre = linear(centred, w_enc, b_enc)
        # ReLU after the choice gives the same values as before it, for less work.
        values, latents = largest(pre, most, ordered=most > k)
        values = values.to(w_dec.dtype).relu_()
        parts = [Part.sparse(w_dec, latents[:, :k], values[:, :k])]
        residual = centred - parts[0].made.detach()
        residuals = [residual]
        if most > k:
            parts.append(Part.sparse(w_dec, latents[:, k:], values[:, k:]))
            residuals.append(residual - parts[1].made.detach())
        if dead is not None:
            parts.append(_revived(pre, w_dec, dead, revive))
            residuals.append(residual - parts[-1].made.detach())
        ctx.save_for_backward(centred, w_enc, w_dec, *residuals)
        ctx.parts, ctx.both, ctx.low = parts, most > k, pre.dtype
        latents, values = parts[0].latents, parts[0].values.detach()
        ctx.mark_non_differentiable(latents, values)
        sums = [r.square().sum() for r in residuals]
        zero = sums[0].new_zeros(())
        return sums[0], sums[1] if ctx.both else zero, sums[-1] if dead is not None else zero, latents, values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        """See the class."""
        of_error, of_larger, of_dead = gradients[:3]
        centred, w_enc, w_dec, residual, *others = ctx.saved_tensors
        parts: list[Part] = list(ctx.parts)
        of_made = [-2 * of_error * residual]
        if ctx.both:
            of_made.append(-2 * of_larger * others[0])
            of_made[0] = of_made[0] + of_made[1]  # the larger reconstruction has the first k latents too
        of_b_dec = of_made[0].sum(0)
        if len(parts) > len(of_made):  # the residual is a constant for dead latents
            of_made.append(-2 * of_dead * others[-1])
        alike = parts.pop() if parts[-1].latents.ndim == 1 else None
        entries = _Entries([p.latents for p in parts], len(w_dec))
        of_values = [p.gradient(g) for p, g in zip(parts, of_made, strict=False)]
        of_w_dec = entries.total([p.values.detach() for p in parts], torch.cat(of_made[: len(parts)]))
        of_w_enc = entries.total(of_values, centred, same=True)
        of_b_enc = entries.total(of_values, torch.ones_like(centred[:, :1]), same=True)[:, 0]
        if alike is not None:
            low, above = ctx.low, of_made[-1].to(ctx.low)
            slope = (above @ w_dec[alike.latents].to(low).T).masked_fill_(alike.values <= 0, 0)
            of_w_dec.index_add_(0, alike.latents, (alike.values.T @ above).to(of_w_dec.dtype))
            of_w_enc.index_add_(0, alike.latents, (slope.T @ centred.to(low)).to(of_w_enc.dtype))
            of_b_enc.index_add_(0, alike.latents, slope.sum(0).to(of_b_enc.dtype))
        # The encoder sees x minus this bias; by linearity one product with the sum over rows is enough.
        of_b_dec = of_b_dec - of_b_enc @ w_enc
        return None, of_w_enc, of_b_enc, of_w_dec, of_b_dec, None, None, None, None


def _revived(pre: Tensor, w_dec: Tensor, dead: Tensor, revive: int) -> Part:
    """The `revive` dead latents (r,) of each row that are strongest, from pre-activations (n, m)."""
    among = pre.index_select(1, dead)
    if revive == len(dead):
        values = among.relu_()
    else:
        strongest, places = largest(among, revive)
        strongest = strongest.relu_()
        if revive < DENSE_FROM.get(pre.device.type, DENSE_FROM_ELSEWHERE) * len(dead):
            return Part.sparse(w_dec, dead[places], strongest.to(w_dec.dtype))
        values = torch.zeros_like(among).scatter_(1, places, strongest)
    return Part(dead, values, (values @ w_dec[dead].to(values.dtype)).to(w_dec.dtype))


class _Entries:
    """Uses of latents, sorted by latent.

    Args:
        latents: (n, m) of each part.
        count: the number of latents.
    """

    def __init__(self, latents: list[Tensor], count: int) -> None:
        every = torch.cat([part.flatten() for part in latents])
        n = len(latents[0])
        numbers = torch.arange(n * len(latents), device=every.device)
        widths = torch.tensor([part.shape[1] for part in latents], device=every.device).repeat_interleave(n)
        self.order = every.sort(stable=True).indices
        self.rows = numbers.repeat_interleave(widths, output_size=len(every))[self.order]
        self.n = n
        uses = torch.zeros(count, dtype=torch.int64, device=every.device).scatter_add_(0, every, torch.ones_like(every))
        self.starts = uses.cumsum(0) - uses

    def total(self, values: list[Tensor], table: Tensor, *, same: bool = False) -> Tensor:
        """For each latent the sum (count, d) over its uses of value times row.

        Args:
            values: (n, m) of each part.
            table: rows (parts x n, d); or (n, d), which all parts have in common.
            same: whether they do.
        """
        sorted_values = torch.cat([v.flatten() for v in values])[self.order]
        rows = self.rows % self.n if same else self.rows
        return embedding_bag(rows, table, self.starts, mode="sum", per_sample_weights=sorted_values)
