"""A fresh LoRA inside a base model, and how it is saved once it is trained."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from madkit.errors import ConfigError
from madkit.lm.adapters import probe
from madkit.lm.adapters.adapter_folder import CONFIG, WEIGHTS
from madkit.lm.adapters.base_identity import record_base
from madkit.lm.adapters.base_weights import BaseWeights
from madkit.lm.adapters.lora_coverage import report_coverage
from madkit.lm.adapters.lora_targets import LoraTargets
from madkit.runs.hub import hub_name

#: How a LoRA begins that is made of activations or gradients, which are not at hand before training.
_NEED_DATA = ("eva", "corda", "lora_ga")


def attach_lora(lm: PreTrainedModel, options: Mapping[str, Any]) -> Any:
    """Freeze ``lm`` and add a fresh LoRA inside it.

    Args:
        lm: the base model.
        options: what ``peft.LoraConfig`` takes, such as ``{"r": 8, "target_modules": ["q_proj", "v_proj"]}``, where
            ``target_modules`` may also be ``auto``.

    Returns:
        The ``PeftModel``. Adapter weights are float32 whatever the dtype of the base.

    Raises:
        ConfigError: an option does not fit, or names what the model does not have.
    """
    from peft import LoraConfig, get_peft_model

    targets = LoraTargets(lm)
    chosen = targets.resolved(options)
    begin = str(chosen.get("init_lora_weights", True)).lower()
    seeded = begin.startswith("pissa_niter")  # drawn at random, and the same in a run that continues
    try:
        config = LoraConfig(task_type="CAUSAL_LM", **chosen)
        with torch.random.fork_rng(devices=[], enabled=seeded):
            if seeded:
                torch.manual_seed(0)
            model = get_peft_model(lm, config, autocast_adapter_dtype=True)
    except (TypeError, ValueError) as error:
        targets.require_some(chosen)
        raise ConfigError(
            f"model.lora={dict(chosen)!r} does not fit this model: {str(error).splitlines()[0]}"
        ) from error
    targets.require_matched(model, chosen)
    named = options.get("target_modules")
    report_coverage(model, targets, list(named) if isinstance(named, (list, tuple, set)) else [])
    return model


class FreshLora:
    """A LoRA in training, and what has to be known of its beginning to save it.

    Args:
        lm: the base model; frozen, with the LoRA inside it, from then on.
        options: as for `attach_lora`.

    Raises:
        ConfigError: an option does not fit, names what the model does not have, or leads to an adapter that does not
            give the tuned model when it is added to the base.
    """

    def __init__(self, lm: PreTrainedModel, options: Mapping[str, Any]) -> None:
        _require_savable(options)
        weights = BaseWeights(lm)
        self._base = weights.digest
        begin = options.get("init_lora_weights", True)
        # Only a beginning with a name can rewrite the base, and a prompt need not be run for the others.
        alone = probe.own_logits(lm) if isinstance(begin, str) else None
        dtype = lm.dtype
        self.model = attach_lora(lm, options)
        self._begun: dict[str, Tensor] = {}
        if alone is not None and weights.changed(self.model):
            if not probe.agree(probe.own_logits(self.model.get_base_model()), alone, dtype):
                raise ConfigError(
                    f"model.lora.init_lora_weights={begin!r} rewrites the base's weights so that the model is another "
                    "one before it is trained, and an adapter saved of it would not give the tuned model: leave it out"
                )
            self._begun = {name: tensor.detach().cpu().clone() for name, tensor in self._tensors().items()}

    def _tensors(self) -> dict[str, Tensor]:
        from peft import get_peft_model_state_dict

        # Embeddings are frozen, so there is no need to ask the hub whether they were resized.
        return get_peft_model_state_dict(self.model, save_embedding_layers=False)

    def save(self, folder: Path, base: str) -> None:
        """Write a PEFT adapter folder, with a record of which base it belongs to.

        Where the beginning of the LoRA was taken out of the base's weights (PiSSA, OLoRA), it is taken out of the LoRA
        here, which makes it one of twice the rank that is added to the base as it was: W + B A - B0 A0.
        """
        config = self.model.peft_config["default"]
        # An absolute path lets a script load the adapter from any working directory.
        name, revision = (str(Path(base).resolve()), None) if Path(base).exists() else hub_name(base)
        config.base_model_name_or_path, config.revision = name, revision
        self.model.save_pretrained(folder, save_embedding_layers=False)
        if self._begun:
            save_file(_less(self._tensors(), self._begun), folder / WEIGHTS, metadata={"format": "pt"})
            _doubled(config).save_pretrained(str(folder))
        _put_in_order(folder / CONFIG)
        record_base(folder, name, base, self._base)


def _put_in_order(path: Path) -> None:
    """Sort what PEFT holds in sets, whose order varies from process to process: equal adapters are equal files."""
    options = json.loads(path.read_text(encoding="utf-8"))
    for name in ("target_modules", "exclude_modules"):
        if isinstance(options.get(name), list):
            options[name].sort()
    path.write_text(json.dumps(options, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _require_savable(options: Mapping[str, Any]) -> None:
    begin = str(options.get("init_lora_weights", True)).lower()
    if begin.startswith(_NEED_DATA):
        raise ConfigError(
            f"model.lora.init_lora_weights={begin!r} needs a pass over data before the LoRA is made, which `fit` "
            "does not make: leave it out, or choose gaussian, orthogonal, pissa or olora"
        )
    if begin.startswith(("pissa", "olora")):
        patterns = options.get("rank_pattern") or options.get("alpha_pattern")
        if options.get("use_dora") or (options.get("use_rslora") and patterns):
            raise ConfigError(
                f"model.lora.init_lora_weights={begin!r} cannot be saved together with use_dora, or with use_rslora "
                "and patterns: leave one of them out"
            )
    for option, why in (("alora_invocation_tokens", "acts"), ("layer_replication", "copies layers")):
        if options.get(option):
            raise ConfigError(
                f"model.lora.{option}: such a LoRA {why} outside of the base's layers, where features cannot follow: "
                "leave it out"
            )


def _less(tensors: Mapping[str, Tensor], begun: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a LoRA without its beginning: [B, -B0] [A; A0]."""
    less = {}
    for name, tensor in tensors.items():
        now, before = tensor.detach().cpu(), begun[name].to(tensor.dtype)
        if ".lora_A." in name:
            now = torch.cat([now, before], dim=0)
        elif name.endswith(".lora_B.weight"):
            now = torch.cat([now, -before], dim=1)
        less[name] = now.contiguous()
    return less


def _doubled(config: Any) -> Any:
    """The configuration of a LoRA of twice the rank and the same scale."""
    config = copy.deepcopy(config)
    config.init_lora_weights, config.inference_mode = True, True
    config.r *= 2
    config.lora_alpha *= math.sqrt(2) if config.use_rslora else 2
    config.rank_pattern = {name: 2 * value for name, value in (config.rank_pattern or {}).items()}
    config.alpha_pattern = {name: 2 * value for name, value in (config.alpha_pattern or {}).items()}
    return config
