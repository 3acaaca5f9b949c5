"""An adapter from a folder or the hub, inside its base model."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from madkit.errors import ConfigError
from madkit.lm.adapters import probe
from madkit.lm.adapters.adapter_folder import WEIGHTS, AdapterFolder
from madkit.lm.adapters.base_identity import require_base
from madkit.lm.adapters.base_weights import BaseWeights
from madkit.lm.adapters.embeddings import resize_embeddings
from madkit.lm.adapters.tensor_names import renamed

#: How a LoRA begins of which only half is in its file: the rest was taken out of the base's weights in training, by
#: numbers that are drawn anew, or from data that are not at hand, when PEFT loads it.
_NOT_REPEATED = ("pissa_niter", "corda", "lora_ga")

_OTHER_TASKS = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "SEQ_2_SEQ_LM")

#: What PEFT raises, for many reasons, for an adapter that does not fit.
_MISFITS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


class AdaptedModel(NamedTuple):
    """A base model with an adapter in it."""

    model: Any
    """The ``PeftModel``, in evaluation mode."""
    fault: str | None
    """Why the model is not its base when the adapter is switched off; None if it is."""


def load_adapter(
    lm: PreTrainedModel, adapter: str, *, accepted_base: str | None = None, argument: str = "model.adapter"
) -> Any:
    """Add a PEFT adapter to its base model: all of it, or none.

    Args:
        lm: the base model.
        adapter: folder or hub name of the adapter.
        accepted_base: what the adapter calls its base, if ``lm`` is known to be that under another name.
        argument: what the user calls the adapter, for error messages.

    Returns:
        The ``PeftModel``, in evaluation mode. Adapter weights are float32 where the base has fewer bits.

    Raises:
        ConfigError: there is no adapter, it is damaged or incomplete, belongs to another base, or acts outside of the
            modules that madkit runs.
    """
    return _load(lm, AdapterFolder(adapter, argument), BaseWeights(lm), accepted_base)


def load_adapted(
    lm: PreTrainedModel, adapter: str, *, accepted_base: str | None = None, argument: str = "model.adapter"
) -> AdaptedModel:
    """The same as `load_adapter`, with whether the adapter can be switched off.

    The base is compared with the model whose adapter is off in all of its weights, and in the logits of a probe prompt.
    """
    weights, alone = BaseWeights(lm), probe.own_logits(lm)
    dtype = lm.dtype
    model = _load(lm, AdapterFolder(adapter, argument), weights, accepted_base)
    return AdaptedModel(model, control_fault(model, weights, alone, dtype))


def require_readable(adapter: str, argument: str = "model.adapter") -> None:
    """Refuse, before its base is loaded, an adapter that could not be read into any."""
    folder = AdapterFolder(adapter, argument)
    _require_inside(folder)
    folder.tensors()


def control_fault(model: Any, weights: BaseWeights, alone: Tensor, dtype: torch.dtype) -> str | None:
    """Why a model with its adapter switched off is not its base; None if it is.

    Args:
        model: the ``PeftModel``.
        weights: of the base before the adapter was put into it.
        alone: the base's logits of the probe prompt.
        dtype: the base's number format.
    """
    if changed := weights.changed(model):
        return f"the adapter changes {len(changed)} of the base's own weights, such as {changed[0]}"
    try:
        with model.disable_adapter():
            off = probe.own_logits(model.get_base_model())
    except _MISFITS as error:
        return f"the adapter cannot be switched off ({_first_line(error)})"
    return None if probe.agree(off, alone, dtype) else "with the adapter off, a probe prompt has other logits"


def _load(lm: PreTrainedModel, adapter: AdapterFolder, weights: BaseWeights, accepted_base: str | None) -> Any:
    _require_inside(adapter)
    tensors = adapter.tensors()
    require_base(adapter, str(lm.name_or_path), weights, accepted_base)
    dtype, classname = lm.dtype, type(lm).__name__
    nesting = lm.base_model_prefix
    resize_embeddings(lm, tensors, adapter, weights)
    from peft import PeftModelForCausalLM

    _bring_together(lm, adapter)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # all that PEFT warns of is checked below
            model = PeftModelForCausalLM(lm, adapter.config, autocast_adapter_dtype=True)
    except _MISFITS as error:
        raise ConfigError(
            f"{adapter.label} does not fit {classname}: {_first_line(error)}; use the base that it was trained on "
            f"({_named_base(adapter)})"
        ) from error
    _fill(model, tensors, adapter, nesting)
    model = model.eval()
    _require_same_forward(model, adapter, dtype)
    return model


def _bring_together(lm: PreTrainedModel, adapter: AdapterFolder) -> None:
    """Take back what is spread over CPU and devices; reading the adapter spreads it again, as `PeftModel` does."""
    places = set((getattr(lm, "hf_device_map", None) or {}).values())
    if "disk" in places:
        raise ConfigError(f"{adapter.label}: a part of its base is left on the disk: use more or larger devices")
    if "cpu" in places:
        from accelerate.hooks import remove_hook_from_submodules  # type: ignore[import-untyped]

        remove_hook_from_submodules(lm)


def _require_inside(adapter: AdapterFolder) -> None:
    """Refuse what does not act inside the layers, or cannot be made again from its file."""
    config, kind = adapter.config, adapter.settings["peft_type"]
    if adapter.settings.get("task_type") in _OTHER_TASKS:
        raise ConfigError(
            f"{adapter.label} was trained for task_type={adapter.settings['task_type']}, not as a language model: name "
            "one that was"
        )
    if config.is_prompt_learning or kind == "XLORA" or getattr(config, "alora_invocation_tokens", None):
        what = "an activated LoRA" if kind == "LORA" else kind
        raise ConfigError(
            f"{adapter.label} is {what}, which acts outside of the model's layers, where nothing would see it: only "
            "adapters that change layers can be read (LoRA and the like)"
        )
    if getattr(config, "layer_replication", None):
        raise ConfigError(
            f"{adapter.label} copies layers of its base (layer_replication), so its layers are not the base's: merge "
            "it where it was trained, and say `--model.base <merged model> --model.adapter none`"
        )
    begun = str(getattr(config, "init_lora_weights", ""))
    if begun.startswith(_NOT_REPEATED):
        raise ConfigError(
            f"{adapter.label} was begun with init_lora_weights={begun!r}, which took its beginning out of the base's "
            "weights in a way that cannot be repeated: where it was trained, save it with "
            "`save_pretrained(..., path_initial_model_for_weight_conversion=...)`; or, if model.base is the base with "
            "those weights, set init_lora_weights to true in adapter_config.json"
        )


@torch.inference_mode(False)
@torch.no_grad()
def _fill(model: Any, tensors: Mapping[str, Tensor], adapter: AdapterFolder, nesting: str) -> None:
    """Read all tensors of an adapter's file into all places that it has in the model."""
    from peft import get_peft_model_state_dict

    places = get_peft_model_state_dict(model, save_embedding_layers=False)
    for place in places.values():  # so that what is not filled shows
        if place.is_floating_point() and not place.is_meta:
            place.fill_(torch.nan)
    base = set(model.state_dict())
    own = {name for name in tensors if name not in base or name in places}
    if own != set(places) and (paired := renamed(own, places, nesting)) is not None:
        tensors = {paired.get(name, name): tensor.contiguous() for name, tensor in tensors.items()}
        with tempfile.TemporaryDirectory() as folder:
            save_file(tensors, Path(folder) / WEIGHTS)
            left_over = _read_into(model, folder, adapter)
    else:
        left_over = _read_into(model, str(adapter.path), adapter)
    after = get_peft_model_state_dict(model, save_embedding_layers=False)
    whole = [n for n, x in tensors.items() if n in after and not x.is_floating_point() and after[n].is_floating_point()]
    if whole:
        raise ConfigError(
            f"{adapter.label}: {len(whole)} of its tensors are integers ({whole[0]}, ...) where numbers of another "
            "type belong: copy or save it again"
        )
    empty = [n for n, x in after.items() if x.is_floating_point() and not x.is_meta and bool(torch.isnan(x).any())]
    if empty or left_over:
        raise ConfigError(_misfit(adapter, len(tensors), len(after), empty, left_over))


def _read_into(model: Any, folder: str, adapter: AdapterFolder) -> list[str]:
    """Read a file into the model; the names of tensors for which there is no place."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = model.load_adapter(folder, "default", autocast_adapter_dtype=True)
    except KeyError as error:
        raise ConfigError(
            f"{adapter.label} is incomplete: it lacks {error.args[0]}; copy or download it again"
        ) from error
    except _MISFITS as error:
        raise ConfigError(
            f"{adapter.label} belongs to another base model, or its adapter_config.json to another file (its weights "
            f"have other shapes): use the base that it was trained on ({_named_base(adapter)})"
        ) from error
    return list(result.unexpected_keys)


def _misfit(adapter: AdapterFolder, n: int, places: int, empty: list[str], left_over: list[str]) -> str:
    parts = []
    if empty:
        parts.append(f"it lacks {len(empty)} of the {places} tensors that its config asks for (such as {empty[0]})")
    if left_over:
        parts.append(f"{len(left_over)} of its {n} tensors have no place in the model (such as {left_over[0]})")
    chosen = adapter.settings.get("layers_to_transform")
    if left_over and chosen is not None:
        parts.append(f"its adapter_config.json says layers_to_transform={chosen}")
    return (
        f"{adapter.label} cannot be read whole: {'; '.join(parts)}: it is incomplete, or was made for another model "
        f"class than that of {_named_base(adapter)!r} here; copy or save it again"
    )


def _require_same_forward(model: Any, adapter: AdapterFolder, dtype: torch.dtype) -> None:
    """Refuse an adapter whose effect is not that of its own forward pass."""
    try:
        ours, theirs = probe.own_logits(model.get_base_model()), probe.wrapped_logits(model)
    except _MISFITS as error:
        raise ConfigError(f"{adapter.label} cannot be run: {_first_line(error)}") from error
    if not bool(torch.isfinite(ours).all()):
        raise ConfigError(f"{adapter.label}: the logits of a probe prompt are NaN or infinite: try another model.dtype")
    if not probe.agree(ours, theirs, dtype):
        raise ConfigError(
            f"{adapter.label} ({adapter.settings['peft_type']}) acts outside of the model's layers: its own forward "
            "pass gives other logits than the layers do; only adapters that change layers can be read (LoRA, ...)"
        )


def _named_base(adapter: AdapterFolder) -> str:
    return str(adapter.settings.get("base_model_name_or_path"))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
