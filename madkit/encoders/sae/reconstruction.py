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
from typing_extensions import override

from madkit.encoders.sae.topk import row_topk

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
    decoded: Tensor
    """The latents' part of the reconstruction (n, d); the gradient of sparse ``values`` flows through it."""

    @classmethod
    def sparse(cls, w_dec: Tensor, latents: Tensor, values: Tensor) -> Part:
        """A part whose rows use different latents (n, m)."""
        with torch.enable_grad():  # for the products with decoder rows that the backward pass needs
            values = values.detach().requires_grad_()
            decoded = embedding_bag(latents, w_dec.detach(), mode="sum", per_sample_weights=values)
        return cls(latents, values, decoded)

    def gradient(self, grad_decoded: Tensor) -> Tensor:
        """The gradient of the pre-activations (n, m), from that of ``decoded`` (n, d); sparse parts only."""
        (grad_values,) = torch.autograd.grad(self.decoded, self.values, grad_decoded)
        return grad_values.masked_fill_(self.values.detach() <= 0, 0)


class Reconstruction(torch.autograd.Function):
    """Squared errors of a reconstruction, of one by more latents, and of dead latents' prediction of the residual.

    Arguments of ``apply``: x (n, d); encoder weight (m, d) and bias (m,); decoder weight (m, d) and bias (d,); k; the
    number of latents of the larger reconstruction, k for none; the dead latents (r,), int64, or None; and how many of
    them a row may use. Returns the three sums of squares, scalars, of which the second and third are 0 where they are
    not wanted, the latents (n, k) of the reconstruction and their values (n, k).

    The gradients are exact, for every loss that is a function of the three sums, where the k-th and the next largest
    latent do not tie. x gets none. Autocast applies to the pre-activations and, in their format, to dense products over
    dead latents, as it would without this class.
    """

    @staticmethod
    @override
    def forward(
        ctx: Any,
        x: Tensor,
        w_enc: Tensor,
        b_enc: Tensor,
        w_dec: Tensor,
        b_dec: Tensor,
        k: int,
        larger_k: int,
        dead: Tensor | None,
        revive: int,
    ) -> tuple[Tensor, ...]:
        centred = x - b_dec
        pre = linear(centred, w_enc, b_enc)
        # ReLU after the choice gives the same values as before it, for less work.
        values, latents = row_topk(pre, larger_k, ordered=larger_k > k)
        values = values.to(w_dec.dtype).relu_()
        parts = [Part.sparse(w_dec, latents[:, :k], values[:, :k])]
        residual = centred - parts[0].decoded.detach()
        residuals = [residual]
        if larger_k > k:
            parts.append(Part.sparse(w_dec, latents[:, k:], values[:, k:]))
            residuals.append(residual - parts[1].decoded.detach())
        if dead is not None:
            parts.append(_revived_part(pre, w_dec, dead, revive))
            residuals.append(residual - parts[-1].decoded.detach())
        ctx.save_for_backward(centred, w_enc, w_dec, *residuals)
        ctx.parts, ctx.both, ctx.low = parts, larger_k > k, pre.dtype
        latents, values = parts[0].latents, parts[0].values.detach()
        ctx.mark_non_differentiable(latents, values)
        sums = [r.square().sum() for r in residuals]
        zero = sums[0].new_zeros(())
        return sums[0], sums[1] if ctx.both else zero, sums[-1] if dead is not None else zero, latents, values

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        grad_error, grad_larger, grad_dead = gradients[:3]
        centred, w_enc, w_dec, residual, *others = ctx.saved_tensors
        parts: list[Part] = list(ctx.parts)
        grad_decoded = [-2 * grad_error * residual]
        if ctx.both:
            grad_decoded.append(-2 * grad_larger * others[0])
            grad_decoded[0] = grad_decoded[0] + grad_decoded[1]  # the larger reconstruction has the first k latents too
        grad_b_dec = grad_decoded[0].sum(0)
        if len(parts) > len(grad_decoded):  # the residual is a constant for dead latents
            grad_decoded.append(-2 * grad_dead * others[-1])
        shared = parts.pop() if parts[-1].latents.ndim == 1 else None
        uses = _LatentUses([p.latents for p in parts], len(w_dec))
        grad_values = [p.gradient(g) for p, g in zip(parts, grad_decoded, strict=False)]
        grad_w_dec = uses.total([p.values.detach() for p in parts], torch.cat(grad_decoded[: len(parts)]))
        grad_w_enc = uses.total(grad_values, centred, same=True)
        grad_b_enc = uses.total(grad_values, torch.ones_like(centred[:, :1]), same=True)[:, 0]
        if shared is not None:
            low, above = ctx.low, grad_decoded[-1].to(ctx.low)
            slope = (above @ w_dec[shared.latents].to(low).T).masked_fill_(shared.values <= 0, 0)
            grad_w_dec.index_add_(0, shared.latents, (shared.values.T @ above).to(grad_w_dec.dtype))
            grad_w_enc.index_add_(0, shared.latents, (slope.T @ centred.to(low)).to(grad_w_enc.dtype))
            grad_b_enc.index_add_(0, shared.latents, slope.sum(0).to(grad_b_enc.dtype))
        # The encoder sees x minus this bias; by linearity one product with the sum over rows is enough.
        grad_b_dec = grad_b_dec - grad_b_enc @ w_enc
        return None, grad_w_enc, grad_b_enc, grad_w_dec, grad_b_dec, None, None, None, None


def _revived_part(pre: Tensor, w_dec: Tensor, dead: Tensor, revive: int) -> Part:
    """The strongest ``revive`` of the dead latents (r,) in each row, from pre-activations (n, m)."""
    candidates = pre.index_select(1, dead)
    if revive == len(dead):
        values = candidates.relu_()
    else:
        strongest, columns = row_topk(candidates, revive)
        strongest = strongest.relu_()
        if revive < DENSE_FROM.get(pre.device.type, DENSE_FROM_ELSEWHERE) * len(dead):
            return Part.sparse(w_dec, dead[columns], strongest.to(w_dec.dtype))
        values = torch.zeros_like(candidates).scatter_(1, columns, strongest)
    return Part(dead, values, (values @ w_dec[dead].to(values.dtype)).to(w_dec.dtype))


class _LatentUses:
    """Uses of latents, sorted by latent.

    Args:
        latents: (n, m) of each part.
        count: the number of latents.
    """

    def __init__(self, latents: list[Tensor], count: int) -> None:
        used = torch.cat([part.flatten() for part in latents])
        n = len(latents[0])
        numbers = torch.arange(n * len(latents), device=used.device)
        widths = torch.tensor([part.shape[1] for part in latents], device=used.device).repeat_interleave(n)
        self.order = used.sort(stable=True).indices
        self.rows = numbers.repeat_interleave(widths, output_size=len(used))[self.order]
        self.n = n
        counts = torch.zeros(count, dtype=torch.int64, device=used.device).scatter_add_(0, used, torch.ones_like(used))
        self.starts = counts.cumsum(0) - counts

    def total(self, values: list[Tensor], table: Tensor, *, same: bool = False) -> Tensor:
        """For each latent the sum (count, d) over its uses of value times row.

        Args:
            values: (n, m) of each part.
            table: rows (parts x n, d); or (n, d), if all parts have their rows in common.
            same: whether all parts have their rows in common.
        """
        sorted_values = torch.cat([v.flatten() for v in values])[self.order]
        rows = self.rows % self.n if same else self.rows
        return embedding_bag(rows, table, self.starts, mode="sum", per_sample_weights=sorted_values)
