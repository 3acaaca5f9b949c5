"""An adapter from a folder or the hub, inside its base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from madkit.errors import ConfigError
from madkit.lm.loading import explained


def load_adapter(lm: PreTrainedModel, adapter: str) -> Any:
    """Add a PEFT adapter, stored in a folder or on the hub, to ``lm``.

    Raises:
        ConfigError: there is no adapter, or it was trained for modules that ``lm`` does not have.
    """
    from peft import PeftModel

    if Path(adapter).exists() and not (Path(adapter) / "adapter_config.json").exists():
        raise ConfigError(
            f"model.adapter={adapter!r} holds no adapter_config.json; run `madkit fit` first or name another folder"
        )
    try:
        with explained("model.adapter", adapter, "adapter"):
            return PeftModel.from_pretrained(lm, adapter, autocast_adapter_dtype=True).eval()
    except RuntimeError as error:
        raise ConfigError(
            f"model.adapter={adapter!r} belongs to another base model (its weights have other shapes); "
            "use the base named in its adapter_config.json"
        ) from error
