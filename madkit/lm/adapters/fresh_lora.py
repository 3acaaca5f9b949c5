"""A fresh LoRA inside a base model."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from madkit.errors import ConfigError


def attach_lora(lm: PreTrainedModel, options: dict[str, Any]) -> Any:
    """Freeze ``lm`` and add a fresh LoRA inside it.

    Args:
        lm: the base model.
        options: what ``peft.LoraConfig`` takes, such as ``{"r": 8, "target_modules": ["q_proj", "v_proj"]}``.

    Returns:
        The ``PeftModel``. Adapter weights are float32 whatever the dtype of the base.
    """
    from peft import LoraConfig, get_peft_model

    try:
        config = LoraConfig(task_type="CAUSAL_LM", **options)
        return get_peft_model(lm, config, autocast_adapter_dtype=True)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.lora={options!r} does not fit this model: {str(error).splitlines()[0]}") from error
