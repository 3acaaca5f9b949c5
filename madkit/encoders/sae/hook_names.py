"""The hookpoint that a published autoencoder names, in the words of TransformerLens or of transformers."""

from __future__ import annotations

import inspect
import re

from torch import nn

from madkit.errors import ConfigError
from madkit.lm.hooks import Hookpoint
from madkit.lm.text_decoder import layer_names

_ATTENTION = ("self_attn", "attn", "attention")
_OUT = ("o_proj", "out_proj", "c_proj", "dense")


def hookpoint_named(hook: str, lm: nn.Module) -> Hookpoint:
    """The tensor of a model that a name stands for.

    Args:
        hook: of TransformerLens: ``blocks.5.hook_resid_pre``, ``hook_resid_post``, ``hook_mlp_out``, ``hook_attn_out``
            or ``attn.hook_z``; or a module of transformers, ``layers.5.mlp`` or ``model.layers.5``, whose output is
            meant unless ``.input`` follows.
        lm: the model; a skeleton will do.

    Raises:
        ConfigError: the model has no such tensor, or madkit knows no tensor of that name.
    """
    if match := re.fullmatch(r"blocks\.(\d+)\.((?:\w+\.)?hook_\w+)", hook):
        return _of_transformer_lens(hook, _layer(hook, int(match[1]), lm), match[2], lm)
    name, side = (hook.removesuffix(".input"), "input") if hook.endswith(".input") else (hook, "output")
    name = name.removesuffix(".output")
    modules = dict(lm.named_modules())
    candidates = [name, f"{getattr(lm, 'base_model_prefix', '')}.{name}"]
    if match := re.search(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)((?:\.\w+)*)$", name):
        # The same layer of a model that nests them otherwise, as one that sees, too.
        candidates.append(_layer(hook, int(match[1]), lm) + match[2])
    for candidate in candidates:
        if candidate in modules:
            return Hookpoint(candidate, side)  # type: ignore[arg-type]
    raise ConfigError(
        f"the SAE reads {hook!r}, which is no module of {type(lm).__name__}: take an SAE of this model, or say by "
        "`hooks` which tensor it reads"
    )


def _layer(hook: str, number: int, lm: nn.Module) -> str:
    names = layer_names(lm)
    if number >= len(names):
        raise ConfigError(f"the SAE reads {hook!r}, and the model has layers 0..{len(names) - 1}: take one of these")
    return names[number]


def _of_transformer_lens(hook: str, layer: str, inside: str, lm: nn.Module) -> Hookpoint:
    block = lm.get_submodule(layer)
    children = dict(block.named_children())
    # Layers that norm what a part writes: TransformerLens' hook comes after that norm.
    normed = "post_feedforward_layernorm" in children
    attention = next((name for name in _ATTENTION if name in children), None)
    point: Hookpoint | None = None
    if inside == "hook_resid_pre":
        point = Hookpoint(layer, "input")
    elif inside == "hook_resid_post":
        point = Hookpoint(layer, "output")
    elif inside == "hook_mlp_out" and "mlp" in children:
        point = Hookpoint(f"{layer}.post_feedforward_layernorm" if normed else f"{layer}.mlp", "output")
    elif inside == "hook_attn_out" and attention:
        point = Hookpoint(f"{layer}.post_attention_layernorm" if normed else f"{layer}.{attention}", "output")
    elif inside == "attn.hook_z" and attention:
        projections = [n for n, _ in children[attention].named_modules() if n.rpartition(".")[2] in _OUT]
        if len(projections) == 1:
            point = Hookpoint(f"{layer}.{attention}.{projections[0]}", "input")
    if point is None or _adds_the_residual(lm.get_submodule(point.module)):
        raise ConfigError(
            f"the SAE reads {hook!r}, for which madkit knows no tensor of {type(lm).__name__}: take one of "
            "hook_resid_pre, hook_resid_post, hook_mlp_out, hook_attn_out or attn.hook_z, where the model has it"
        )
    return point


def _adds_the_residual(module: nn.Module) -> bool:
    """Whether a module is handed the residual stream to add what it makes to it, and so gives out the sum."""
    return "residual" in inspect.signature(type(module).forward).parameters
