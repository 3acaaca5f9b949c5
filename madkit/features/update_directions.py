"""How far activations point along the directions that an adapter's updates write or read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.features.lora_feature import LoraFeature
from madkit.features.model_memo import ModelMemo
from madkit.features.trace import Trace
from madkit.lm.attention import OUTPUT_NAMES
from madkit.lm.hooks import Hookpoint

SIDES = ("output", "input")
#: How models call the linear maps through which a layer reaches the residual stream.
_WRITERS = (*OUTPUT_NAMES, "down_proj", "fc2", "fc_out", "dense_4h_to_h", "w2")


class UpdateDirections(LoraFeature):
    """Cosines at the last prompt token with the leading singular vectors of each LoRA's update (alpha / r) B A.

    What an update writes or reads most is what tuning has taught the model; a prompt that uses it as no trusted prompt
    does is unusual. The score `TrustedRange` says so as published, by the smallest and largest cosine of the trusted
    prompts.

    Source: WeightWatch, Zhong and Raghunathan (2025), arXiv 2508.00161, with ``side="output"``.

    Updates are decomposed in factored form (QR of B and of A'). Which LoRAs are read: see `LoraActivity`; embeddings
    are left out.

    Args:
        k: how many directions of each update, at most; a LoRA has no more than its rank [20].
        side: ``output``: left singular vectors, with the residual stream that leaves the layer, of the modules that
            write to it (output projections of attention and MLP) [as published]; ``input``: right singular vectors,
            with what enters the module, of all modules.
        first: the first layer to read.
        modules: ends of the names of modules, such as ``down_proj``; null for all that have a LoRA.

    Raises:
        ConfigError: an option is out of range; or, when it is computed, the model has no such LoRA.
    """

    in_name = ("side",)

    def __init__(self, k: int = 20, side: str = "output", first: int = 1, modules: Sequence[str] | None = None) -> None:
        super().__init__(first, modules)
        if k < 1:
            raise ConfigError(f"UpdateDirections(k={k}): k must be at least 1")
        if side not in SIDES:
            raise ConfigError(f"UpdateDirections(side={side!r}): choose from {', '.join(SIDES)}")
        self.k = k
        self.side = side
        self._directions: ModelMemo[dict[str, Tensor]] = ModelMemo()

    @override
    def groups(self, lm: nn.Module) -> dict[str, list[str]]:
        groups = {site: [n for n in names if self._reads(site, n)] for site, names in super().groups(lm).items()}
        groups = {site: names for site, names in groups.items() if names}
        if not groups:
            raise ConfigError(
                f"feature {self.name!r}: the LoRA is on no module of a layer that writes to the residual stream ("
                f"{', '.join(_WRITERS)}): say `side: input`, or leave the feature out"
            )
        return groups

    def _reads(self, site: str, name: str) -> bool:
        return name.startswith(f"{site}.") and (self.side == "input" or name.rsplit(".", 1)[-1] in _WRITERS)

    @override
    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        if self.side == "input":
            return super().hookpoints(lm)
        return [Hookpoint(layer, "output") for layer in self.sites(lm)]

    @override
    @torch.no_grad()
    def __call__(self, trace: Trace) -> dict[str, Tensor]:
        """Up to k cosines a module (B, modules of the site * k), in float32 or better."""
        branches, vectors = self.branches(trace.lm), {}
        directions: dict[str, Tensor] = self._directions.of(trace.lm, dict)
        for site, names in self.groups(trace.lm).items():
            cosines = []
            for name in names:
                if name not in directions:
                    left, _, right = branches[name].singular_vectors(self.k)
                    directions[name] = left if self.side == "output" else right
                if self.side == "output":
                    x = trace.activations[Hookpoint(site, "output")]
                else:
                    x = self.entering(name, branches[name], trace.activations[Hookpoint(name, "input")])
                x = x.to(torch.promote_types(x.dtype, torch.float32))
                directions[name] = directions[name].to(x.device)
                length = x.norm(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
                cosines.append(x @ directions[name].to(x.dtype).T / length)
            vectors[site] = torch.cat(cosines, dim=1)
        return vectors
