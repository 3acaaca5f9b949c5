"""AdapterFolder: the files of a PEFT adapter, checked before anything is made of them."""

from __future__ import annotations

import dataclasses
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from madkit.errors import ConfigError
from madkit.runs import fingerprints, hub

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
TOKENIZER = "tokenizer_config.json"


class AdapterFolder:
    """The files of an adapter, in a folder or from the hub.

    Args:
        name: folder or hub name.
        argument: what the user calls it, for error messages.

    Raises:
        ConfigError: it holds no adapter, several of them, or a whole model.
    """

    def __init__(self, name: str, argument: str = "model.adapter") -> None:
        self.label = f"{argument}={name!r}"
        if Path(name).is_file():
            raise ConfigError(f"{self.label} is a file: name the folder that holds {CONFIG} and {WEIGHTS}")
        try:
            self.path = fingerprints.local_folder(name, files=hub.ADAPTER)
        except ConfigError as error:
            raise ConfigError(
                f"{self.label}: cannot load the adapter; it is no local folder and could not be fetched from the "
                "Hugging Face hub: check the name, the network and (for gated models) `hf auth login`"
            ) from error
        if not (self.path / CONFIG).is_file():
            raise ConfigError(f"{self.label} {self._what_instead()}")

    def _what_instead(self) -> str:
        """What a folder without an adapter's configuration is, and what to do with it."""
        configs = [*self.path.glob(f"*/{CONFIG}"), *self.path.glob(f"*/*/{CONFIG}")]
        if found := sorted(str(file.parent.relative_to(self.path)) for file in configs):
            listed = ", ".join(found[:6]) + (", ..." if len(found) > 6 else "")
            return f"holds adapters in folders of their own ({listed}): name one, such as {str(self.path / found[0])!r}"
        if (self.path / WEIGHTS).is_file():
            return f"holds {WEIGHTS} but no {CONFIG}: copy that file too, or save the adapter again"
        if (self.path / "config.json").is_file():
            return (
                "holds a whole model, not an adapter (config.json): for a merged or fully tuned model say "
                f"`--model.base {self.path} --model.adapter none`, with `--model.reference` for its controls"
            )
        return f"holds no {CONFIG}; run `madkit fit` first or name another folder"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What stands in adapter_config.json.

        Raises:
            ConfigError: it is damaged or does not say which kind of adapter it is.
        """
        file = self.path / CONFIG
        try:
            settings = json.loads(file.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{str(file)!r} is damaged ({str(error).splitlines()[0]}): copy or download the adapter again"
            ) from error
        if not isinstance(settings, dict) or not isinstance(settings.get("peft_type"), str):
            raise ConfigError(f"{str(file)!r} names no `peft_type`: copy or download the adapter again")
        return settings

    @cached_property
    def config(self) -> Any:
        """The adapter's ``PeftConfig``, for inference.

        Raises:
            ConfigError: the installed PEFT does not know this kind of adapter, or one of its settings.
        """
        import peft
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        file = self.path / CONFIG
        kind = PEFT_TYPE_TO_CONFIG_MAPPING.get(self.settings["peft_type"])
        made_by = self.settings.get("peft_version") or "another version"
        if kind is None:
            raise ConfigError(
                f"{str(file)!r}: peft_type={self.settings['peft_type']!r} is unknown to peft {peft.__version__} (the "
                f"adapter was made by {made_by}): upgrade peft, or check the file"
            )
        known = {field.name for field in dataclasses.fields(kind)}
        # What is off changes nothing, so an adapter of a newer PEFT that does not use what is new can be read.
        unknown = sorted(name for name in self.settings.keys() - known - {"runtime_config"} if self.settings[name])
        if unknown:
            raise ConfigError(
                f"{str(file)!r} has settings that peft {peft.__version__} does not know ({', '.join(unknown)}; the "
                f"adapter was made by {made_by}): upgrade peft, or delete them there if they do not change the model"
            )
        options = {name: value for name, value in self.settings.items() if name in known - {"runtime_config"}}
        try:
            return kind(**{**options, "inference_mode": True})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"{str(file)!r} is no configuration of an adapter: {str(error).splitlines()[0]}"
            ) from error

    def tensors(self) -> dict[str, Tensor]:
        """The adapter's weights by their names in the file.

        Raises:
            ConfigError: they are missing, damaged, pickled, or not finite.
        """
        file = self.path / WEIGHTS
        if not file.is_file():
            fingerprints.weights_fingerprint(self.path)  # says where weights are pickled, or none
            raise ConfigError(
                f"{self.label} holds {CONFIG} but no {WEIGHTS}: copy or download the adapter again (for a merged model "
                f"say `--model.base {self.path} --model.adapter none`)"
            )
        try:
            tensors = load_file(file)
        except (SafetensorError, OSError, ValueError) as error:
            raise ConfigError(
                f"{str(file)!r} is damaged ({str(error).splitlines()[0]}): copy or download the adapter again"
            ) from error
        if not tensors:
            raise ConfigError(f"{str(file)!r} holds no tensors: copy or download the adapter again")
        bad = [
            name for name, x in tensors.items() if x.is_floating_point() and not bool(torch.isfinite(x.float()).all())
        ]
        if bad:
            raise ConfigError(
                f"{str(file)!r}: {len(bad)} of its {len(tensors)} tensors are NaN or infinite ({bad[0]}, ...): its "
                "training diverged, or the file is damaged: train it again, or restore the file"
            )
        return tensors

    @property
    def has_tokenizer(self) -> bool:
        """Whether the trainer left a tokenizer beside the adapter."""
        return (self.path / TOKENIZER).is_file()
