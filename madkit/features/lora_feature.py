"""What features have in common that are made of an adapter's weights and of what enters or leaves its modules."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.features.feature import Feature
from madkit.lm.adapters import LoraBranch, lora_branches
from madkit.lm.hooks import Hookpoint
from madkit.lm.text_decoder import layer_names
from madkit.store.variant import ADAPTER_WEIGHTS


class LoraFeature(Feature):
    """A feature with a site for each layer that has modules with a LoRA.

    A vector has some numbers for each module of its site, in the model's order. An embedding counts to the first layer.

    Args:
        first: the first layer to read. What enters layer 0, and so its attention, is the embedding of the last token,
            which prompts of one template share; 0 reads that too.
        modules: ends of the names of modules, such as ``q_proj``; null for all that have a LoRA.

    Raises:
        ConfigError: an option is out of range.
    """

    needs = (ADAPTER_WEIGHTS,)

    def __init__(self, first: int = 1, modules: Sequence[str] | None = None) -> None:
        if first < 0:
            raise ConfigError(f"{type(self).__name__}(first={first}): first must be at least 0")
        if modules is not None and not modules:
            raise ConfigError(f"{type(self).__name__}(modules=[]): name some, or null for all that have a LoRA")
        self.first = first
        self.modules = None if modules is None else list(modules)

    def branches(self, lm: nn.Module) -> dict[str, LoraBranch]:
        """The branches of the modules that it may read, by name."""
        return lora_branches(lm, f"feature {self.name!r}", self.modules)

    def groups(self, lm: nn.Module) -> dict[str, list[str]]:
        """The names of the modules of each site.

        Raises:
            ConfigError: there is none from the first layer on.
        """
        names, layers = list(self.branches(lm)), layer_names(lm)
        groups = {layer: [name for name in names if name.startswith(f"{layer}.")] for layer in layers[self.first :]}
        if self.first == 0:
            inside = tuple(f"{layer}." for layer in layers)
            groups[layers[0]] = [name for name in names if not name.startswith(inside)] + groups[layers[0]]
        groups = {site: found for site, found in groups.items() if found}
        if not groups:
            raise ConfigError(
                f"feature {self.name!r} has first={self.first}, and the LoRA is on no layer from there on: choose a "
                "smaller `first`"
            )
        return groups

    @override
    def sites(self, lm: nn.Module) -> list[str]:
        return list(self.groups(lm))

    @override
    def layers(self, lm: nn.Module) -> list[int | None]:
        names = layer_names(lm)
        return [names.index(site) for site in self.sites(lm)]

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
