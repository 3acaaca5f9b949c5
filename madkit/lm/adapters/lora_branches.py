"""What a LoRA adds to the modules of a model: the branch B A beside each weight W, as numbers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from madkit.errors import ConfigError
from madkit.lm.adapters.adapter_folder import AdapterFolder

#: What madkit calls the adapter inside a model.
_ADAPTER = "default"
#: Singular values below this share of the largest are rounding.
_RANK = 1e-12


class LoraBranch:
    """The branch (alpha / r) B A that a LoRA has put beside one linear map or embedding W.

    With rsLoRA the scale is alpha / sqrt(r).

    Args:
        layer: PEFT's module, which holds the base's.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.embeds = _ADAPTER in layer.lora_embedding_A
        self.rank = int(layer.r[_ADAPTER])

    @torch.no_grad()
    def update(self, x: Tensor) -> Tensor:
        """(alpha / r) B A x (B, out) of what enters the module at one token: vectors (B, in) or token ids (B,)."""
        scale = self._layer.scaling[_ADAPTER]
        if self.embeds:
            a, b = self._layer.lora_embedding_A[_ADAPTER], self._layer.lora_embedding_B[_ADAPTER]
            return scale * (a.T[x] @ b.T)
        a, b = self._layer.lora_A[_ADAPTER], self._layer.lora_B[_ADAPTER]
        return scale * b(a(x.to(a.weight.dtype)))

    @torch.no_grad()
    def base(self, x: Tensor) -> Tensor:
        """W x (B, out), without a bias."""
        base = self._layer.get_base_layer()
        if self.embeds:
            return base.weight[x]
        bias = getattr(base, "bias", None)
        return base(x) if bias is None else base(x) - bias

    def takes(self, x: Tensor) -> bool:
        """Whether x could have entered the module at one token of each of B prompts."""
        return x.ndim == 1 if self.embeds else x.ndim == 2 and x.shape[1] == self._layer.in_features

    @torch.no_grad()
    def singular_vectors(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """The leading singular values and vectors of B A, by QR of B and of A'; the product is never made.

        The largest number of each left vector is positive. Where there are fewer directions than asked for, as of a
        LoRA that has not been trained, the others are zero.

        Args:
            k: how many, at most the rank.

        Returns:
            Left vectors (k, out), values (k,), descending, and right vectors (k, in), float64 on the CPU.
        """
        layer = self._layer
        a, b = (
            (layer.lora_embedding_A[_ADAPTER], layer.lora_embedding_B[_ADAPTER])
            if self.embeds
            else (layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight)
        )
        q_out, r_out = torch.linalg.qr(b.detach().cpu().double())
        q_in, r_in = torch.linalg.qr(a.detach().cpu().double().T)
        left, values, right = torch.linalg.svd(layer.scaling[_ADAPTER] * r_out @ r_in.T)
        left, right = (q_out @ left).T[:k], (q_in @ right.T).T[:k]
        values = values[:k]
        signs = left.gather(1, left.abs().argmax(1, keepdim=True)).sign()
        there = (values > _RANK * values[0])[:, None]
        return torch.where(there, left * signs, 0.0), values, torch.where(there, right * signs, 0.0)


def adapted_skeleton(lm: nn.Module, adapter: str, argument: str = "model.adapter") -> nn.Module:
    """A copy of a skeleton with the modules of an adapter in it, without weights, to look up which those are.

    Args:
        lm: a skeleton of the base model.
        adapter: folder or hub name of the adapter.
        argument: what the user calls the adapter, for error messages.
    """
    from peft import inject_adapter_in_model

    folder = AdapterFolder(adapter, argument)
    try:
        with torch.device("meta"):
            return inject_adapter_in_model(folder.config, copy.deepcopy(lm), low_cpu_mem_usage=True)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(f"{folder.label} does not fit {type(lm).__name__} ({reason}): name its own base") from error


def lora_branches(lm: nn.Module, reader: str, modules: Sequence[str] | None = None) -> dict[str, LoraBranch]:
    """The branches of a model's LoRA by the names of their modules, in the model's order.

    Args:
        lm: a model with an adapter in it, on or off, with weights or without.
        reader: what reads them, for error messages.
        modules: ends of names, such as ``q_proj`` or ``layers.3.mlp.down_proj``; null for all that have a branch.

    Raises:
        ConfigError: there is no LoRA, one of `modules` has no branch, or a branch is of a kind whose update is no
            product B A, or acts on something else than what each token brings.
    """
    from peft.tuners.lora import LoraLayer

    layers = {name: module for name, module in lm.named_modules() if isinstance(module, LoraLayer)}
    if not layers:
        raise ConfigError(
            f"{reader} reads the weights of a LoRA, and there is none in the model that it is computed of: name one as "
            "model.adapter, not merged into its base, or leave the feature out (of model.controls too)"
        )
    ends = list(modules) if modules is not None else [""]
    if unknown := [end for end in ends if not any(_ends(name, end) for name in layers)]:
        raise ConfigError(
            f"{reader} has modules={ends}, and the LoRA has none that end in {', '.join(unknown)}; it is on "
            f"{', '.join(sorted({name.rsplit('.', 1)[-1] for name in layers}))}"
        )
    chosen = {name: layer for name, layer in layers.items() if any(_ends(name, end) for end in ends)}
    unembedding: Any = getattr(lm, "get_output_embeddings", lambda: None)
    head = unembedding()
    for name, layer in chosen.items():
        if reason := _unread(name, layer, head):
            raise ConfigError(f"{reader} cannot read {name}, {reason}: name others in `modules`, or leave it out")
    return {name: LoraBranch(layer) for name, layer in chosen.items()}


def _ends(name: str, end: str) -> bool:
    return not end or name == end or name.endswith(f".{end}")


def _unread(name: str, layer: Any, head: Any) -> str | None:
    """Why a branch cannot be read; None if it can."""
    if _ADAPTER in layer.lora_variant:
        return f"whose update is not B A alone ({type(layer.lora_variant[_ADAPTER]).__name__})"
    if layer is head:
        return "which is the unembedding, beyond the last layer"
    if _ADAPTER in layer.lora_embedding_A:
        return None
    if _ADAPTER not in layer.lora_A:
        return "which the adapter leaves alone"
    if getattr(layer.lora_A[_ADAPTER], "weight", torch.empty(0)).ndim != 2:
        return "which is no linear map"
    if hasattr(layer, "parameter_name") or "expert" in name:
        return "an expert, which not every token meets"
    return None
