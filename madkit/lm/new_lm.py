"""Language models with random weights, of an architecture from plain options."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from madkit.errors import ConfigError
from madkit.lm.loading_errors import first_line
from madkit.lm.model_class import implementation_of, model_class
from madkit.lm.probe import check_forward


def new_config(options: dict[str, Any]) -> PretrainedConfig:
    """An architecture from plain options, such as ``{"model_type": "llama", "hidden_size": 64, ...}``.

    Example:
        >>> new_config({"model_type": "mistral", "hidden_size": 32}).hidden_size
        32
    """
    options = dict(options)
    model_type = options.pop("model_type", None)
    if model_type is None:
        raise ConfigError("model.config has no `model_type`; name an architecture such as llama or mistral")
    try:
        return AutoConfig.for_model(model_type, **options)
    except ValueError as error:
        if "model type" not in first_line(error) and "identifier" not in first_line(error):
            raise ConfigError(f"model.config={options!r}: {first_line(error)}") from error
        raise ConfigError(
            f"model.config.model_type={model_type!r} is not an architecture of transformers; "
            "try llama, mistral or gpt_neox"
        ) from error
    except Exception as error:  # each architecture checks its options in its own way
        raise ConfigError(f"model.config={options!r}: {' '.join(str(error).split())}") from error


def new_causal_lm(config: PretrainedConfig, *, attention: str = "auto") -> PreTrainedModel:
    """A model with random weights, in evaluation mode.

    Raises:
        ConfigError: the options of the architecture do not fit together, or madkit cannot read it.
    """
    try:
        lm = model_class(config).from_config(config, attn_implementation=implementation_of(attention, config))
    except Exception as error:  # each architecture checks its options in its own way
        raise ConfigError(f"model.config of {config.model_type!r}: {first_line(error)}") from error
    check_forward(lm.eval(), "model.config.model_type", str(config.model_type))
    return lm
