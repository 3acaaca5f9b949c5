"""Sparse coders of the `sparsify` library: making them, and losses whose gradients reach the encoder.

Nothing outside this file imports sparsify.
"""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from madkit.encoders.sae.reconstruction import Reconstruction
from madkit.errors import ConfigError


@cache
def _library() -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a line when it is imported
        import sparsify
    return sparsify


def new_coder(width: int, latents: int, k: int, *, multi_topk: bool = False) -> Any:
    """A fresh top-k `sparsify.SparseCoder` with unit-norm decoder rows.

    Raises:
        ConfigError: k is larger than there are latents to choose from.
    """
    needed = 4 * k if multi_topk else k
    if k < 1 or needed > latents:
        raise ConfigError(
            f"k={k} of {latents} latents: k must be at least 1 and "
            + ("4 k" if multi_topk else "k")
            + " at most the number of latents"
        )
    lib = _library()
    return lib.SparseCoder(width, lib.SparseCoderConfig(num_latents=latents, k=k, multi_topk=multi_topk))


class CoderLosses(NamedTuple):
    """Sums over the rows of a batch."""

    error: Tensor
    """Squared error of the reconstruction, scalar."""
    auxk: Tensor
    """Squared error of dead latents' prediction of the residual, scaled down where they are few; scalar."""
    multi: Tensor
    """Squared error with four times as many latents, scalar; 0 without Multi-TopK."""
    fired: Tensor
    """How many rows used each latent (latents,), int64."""


def coder_losses(coder: Any, x: Tensor, dead: Tensor | None = None) -> CoderLosses:
    """The reconstruction of x (n, d) and its auxiliary losses (Gao et al., arXiv 2406.04093, appendix A).

    Gradients of all of them reach all parameters. With the library's encoder those of the auxiliary losses would not
    reach the encoder, because it passes none on to pre-activations.

    Args:
        coder: a top-k `SparseCoder`.
        x: (n, d), a constant: no gradient comes back to it.
        dead: (latents,) boolean, latents that the AuxK loss is to revive; None for no AuxK loss.
    """
    k, wanted = coder.cfg.k, max(x.shape[1] // 2, 1)
    chosen = None if dead is None else dead.nonzero()[:, 0]
    few = 0 if chosen is None else len(chosen)
    error, larger, revived, latents, acts = Reconstruction.apply(
        x.detach(), coder.encoder.weight, coder.encoder.bias, coder.W_dec, coder.b_dec,
        k, 4 * k if coder.cfg.multi_topk else k, chosen if few else None, min(wanted, few),
    )  # fmt: skip
    # As many dead latents as half of the coordinates; fewer than that count for less.
    auxk = min(few / wanted, 1.0) * revived
    used = (acts > 0).flatten().long()
    fired = torch.zeros(coder.num_latents, dtype=torch.int64, device=x.device).scatter_add_(0, latents.flatten(), used)
    return CoderLosses(error, auxk, larger, fired)


class ScaledCoder(nn.Module):
    """A coder in training: it sees activations divided by their root mean squared deviation.

    A learning rate then means the same at every layer of every model. Decoder rows keep unit norm, and the scale is
    folded into the biases when the coder is saved, so the file is an ordinary coder of raw activations.

    Args:
        coder: a `SparseCoder`.
    """

    since_fired: Tensor

    def __init__(self, coder: Any) -> None:
        super().__init__()
        self.coder = coder
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)
        self.register_buffer("since_fired", torch.zeros(coder.num_latents, dtype=torch.int64))

    @torch.no_grad()
    def standardise(self, mean: Tensor, variance: float) -> None:
        """Set the scale, and the decoder's bias to the mean.

        Args:
            mean: (d,) of the activations.
            variance: their mean variance over coordinates.
        """
        self.scale.fill_(variance**0.5)
        self.coder.b_dec.copy_(mean / variance**0.5)

    def losses(self, x: Tensor, dead: Tensor | None = None) -> CoderLosses:
        """The losses of scaled activations, from raw ones x (n, d); see `coder_losses`."""
        return coder_losses(self.coder, self.scaled(x), dead)

    @torch.no_grad()
    def remove_growth(self) -> None:
        """Take out of the decoder's gradient the part that would only lengthen rows, which have unit norm."""
        rows, gradient = self.coder.W_dec, self.coder.W_dec.grad
        along = torch.einsum("md,md->m", gradient, rows)
        gradient.addcmul_(rows, along[:, None], value=-1)  # needs no second matrix for the part along the rows

    def scaled(self, x: Tensor) -> Tensor:
        """Raw activations x (n, d) as the coder sees them."""
        return x.to(self.scale.dtype) / self.scale

    @torch.no_grad()
    def exported(self) -> Any:
        """The coder of raw activations: the same latents times the scale, so the same reconstruction."""
        cfg = self.coder.cfg
        coder = _library().SparseCoder(self.coder.d_in, cfg)
        coder.load_state_dict({k: v.detach().cpu() for k, v in self.coder.state_dict().items()})
        coder.b_dec.mul_(self.scale.cpu())
        coder.encoder.bias.mul_(self.scale.cpu())
        return coder
