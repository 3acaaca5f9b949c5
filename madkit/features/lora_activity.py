"""How much an adapter acts on a prompt, module by module."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from madkit.features.lora_feature import LoraFeature
from madkit.features.trace import Trace
from madkit.lm.hooks import Hookpoint


class LoraActivity(LoraFeature):
    r"""The size of what the LoRA adds to a module's output at the last prompt token, beside what was there.

    .. math:: \frac{|(\alpha / r) B A x|}{|W x|}

    for each module of a site, with x what enters it and without its bias. It is read from one forward pass and needs no
    trusted prompt to mean something: it is 0 where the adapter does nothing. (Of an embedding, W x is the token's row.)

    A LoRA of any scale (rsLoRA) and on linear maps or embeddings is read. DoRA, which rescales W too, and LoRAs on the
    parameters of experts or on the unembedding are refused.

    Args:
        first: the first layer to read; an embedding counts to layer 0.
        modules: ends of the names of modules, such as ``q_proj``; null for all that have a LoRA.

    Raises:
        ConfigError: when it is computed, the model has no such LoRA.
    """

    @override
    @torch.no_grad()
    def __call__(self, trace: Trace) -> dict[str, Tensor]:
        """One number a module (B, modules of the site), in float32 or better."""
        branches = self.branches(trace.lm)
        vectors = {}
        for site, names in self.groups(trace.lm).items():
            shares = []
            for name in names:
                branch = branches[name]
                x = self.entering(name, branch, trace.activations[Hookpoint(name, "input")])
                added, there = _length(branch.update(x)), _length(branch.base(x))
                shares.append(added / there.clamp(min=torch.finfo(there.dtype).tiny))
            vectors[site] = torch.stack(shares, dim=1)
        return vectors


def _length(x: Tensor) -> Tensor:
    """Of vectors (B, d) in any number format: (B,)."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).norm(dim=1)
