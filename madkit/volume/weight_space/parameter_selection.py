"""Which weights of a language model are chosen, and their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from madkit.errors import ConfigError
from madkit.lm.text_decoder import language_modules, layer_names

#: What wrappers add to the names of parameters; without it a model has the same directions, wrapped or not.
WRAPPING = re.compile(
    r"^base_model\.model\.|(?<=\.)(base_layer|original_module)\.|_orig_mod\.|_fsdp_wrapped_module\.|^module\."
)


def canonical(name: str) -> str:
    """A parameter's name in the model without its wrappers.

    Example:
        >>> canonical("base_model.model.model.layers.0.mlp.up_proj.base_layer.weight")
        'model.layers.0.mlp.up_proj.weight'
    """
    return WRAPPING.sub("", name)


def chosen_parameters(lm: nn.Module, weights: str | int) -> dict[str, nn.Parameter]:
    r"""The parameters that are perturbed, by canonical name; tied ones once, under their first name.

    Args:
        lm: the model, with or without an adapter.
        weights: ``all``, but not those of a tower that sees or hears; ``lora``, the matrices of adapters; a layer's
            number; or a regular expression that is searched in canonical names, such as ``mlp`` or
            ``layers\.(14|15)\.``. The matrices of adapters are chosen only where ``lora`` is part of it: otherwise
            they stay as they are and count as part of the weights that they are added to.

    Raises:
        ConfigError: nothing is chosen, or a chosen parameter is quantised.
    """
    added = _added(lm)
    language = {id(p) for module in language_modules(lm) for p in module.parameters()}
    chosen = {
        canonical(name): p
        for name, p in lm.named_parameters()
        if matches(lm, weights, canonical(name))
        and ("lora_" in name or id(p) not in added)
        and (weights != "all" or id(p) in language)
    }
    if not chosen:
        names = [canonical(name) for name, _ in lm.named_parameters()]
        raise ConfigError(
            f"weights={weights!r} chooses none of the model's {len(names)} parameters, such as "
            f"{names[len(names) // 2]!r}; use all, lora, a layer's number or a regular expression"
        )
    for name, parameter in chosen.items():
        if not parameter.is_floating_point():
            raise ConfigError(f"parameter {name!r} is quantised ({parameter.dtype}): load the model in bfloat16")
    return chosen


def matches(lm: nn.Module, weights: str | int, name: str) -> bool:
    """Whether ``weights`` chooses the parameter of a canonical name; see `chosen_parameters`."""
    if isinstance(weights, int):
        layers = layer_names(lm)
        if not 0 <= weights < len(layers):
            raise ConfigError(f"weights={weights}: the model has layers 0..{len(layers) - 1}")
        return name.startswith(canonical(layers[weights]) + ".") and "lora_" not in name
    if weights in ("all", "lora"):
        return ("lora_" in name) == (weights == "lora")
    try:
        return re.search(weights, name) is not None and ("lora_" not in name or "lora" in weights)
    except re.error as error:
        raise ConfigError(f"weights={weights!r} is no regular expression: {error}") from error


def adapter_deltas(lm: nn.Module) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Weights under an active adapter, each with what the adapter adds to it.

    Raises:
        ConfigError: the effect of an adapter is not a sum.
    """
    module: Any
    for name, module in lm.named_modules():
        if not _is_adapted(module) or module.disable_adapters or getattr(module, "merged", False):
            continue
        for adapter in module.active_adapters:
            if not hasattr(module, "lora_A"):
                raise ConfigError(f"the adapter of {name!r} is not a plain LoRA: merge it (merge_and_unload) first")
            if adapter not in module.lora_A and adapter not in module.lora_embedding_A:
                continue
            if adapter in getattr(module, "lora_variant", {}) or module.lora_bias.get(adapter):
                raise ConfigError(f"the adapter of {name!r} is not a plain LoRA: merge it (merge_and_unload) first")
            with torch.no_grad():
                # A LoRA of experts wraps a parameter of a module, another one a module and its weight.
                weight = module.get_param() if hasattr(module, "get_param") else module.base_layer.weight
                yield weight, module.get_delta_weight(adapter)


def _is_adapted(module: Any) -> bool:
    """Whether a module is one of the base's, wrapped by an adapter or replaced by a copy of its own."""
    return hasattr(module, "active_adapters") and (hasattr(module, "base_layer") or hasattr(module, "original_module"))


def _added(lm: nn.Module) -> set[int]:
    """The ids of the parameters that adapters brought with them."""
    added: set[int] = set()
    for module in filter(_is_adapted, lm.modules()):
        base: Any = module.base_layer if hasattr(module, "base_layer") else module.original_module
        added |= {id(p) for p in module.parameters()} - {id(p) for p in base.parameters()}
    return added
