"""What features have in common that are made of an adapter's weights and of what enters or leaves its modules."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.features.feature import Feature, layer_of
from madkit.lm.adapters import LoraBranch, lora_branches
from madkit.lm.hooks import Hookpoint
from madkit.lm.text_decoder import layer_names
from madkit.store.variant import ADAPTER_WEIGHTS


class LoraFeature(Feature):
    """A feature with a site for each layer that has modules with a LoRA, and for each such module outside of them.

    A vector has some numbers for each module of its site, in the model's order.

    Args:
        modules: ends of the names of modules, such as ``q_proj``; null for all that have a LoRA.
    """

    needs = (ADAPTER_WEIGHTS,)

    def __init__(self, modules: Sequence[str] | None = None) -> None:
        if modules is not None and not modules:
            raise ConfigError(f"{type(self).__name__}(modules=[]): name some, or null for all that have a LoRA")
        self.modules = None if modules is None else list(modules)

    def branches(self, lm: nn.Module) -> dict[str, LoraBranch]:
        """The branches of the modules that it reads, by name."""
        return lora_branches(lm, f"feature {self.name!r}", self.modules)

    def groups(self, lm: nn.Module) -> dict[str, list[str]]:
        """The names of the modules of each site."""
        layers = layer_names(lm)
        groups: dict[str, list[str]] = {}
        for name in self.branches(lm):
            inside = next((layer for layer in layers if name.startswith(f"{layer}.")), name)
            groups.setdefault(inside, []).append(name)
        return groups

    @override
    def sites(self, lm: nn.Module) -> list[str]:
        return list(self.groups(lm))

    @override
    def layers(self, lm: nn.Module) -> list[int | None]:
        names = layer_names(lm)
        return [layer_of(site) if site in names else None for site in self.sites(lm)]

    @override
    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        return [Hookpoint(name, "input") for names in self.groups(lm).values() for name in names]

    def entering(self, name: str, branch: LoraBranch, x: Tensor) -> Tensor:
        """What enters a module, of each prompt.

        Raises:
            ConfigError: the model hands it something else than a token's vector.
        """
        if not branch.takes(x):
            raise ConfigError(
                f"feature {self.name!r}: {name} does not get one vector for each token: name others in `modules`"
            )
        return x
