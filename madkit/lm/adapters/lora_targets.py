"""LoraTargets: what of a model a LoRA can be put on, and whether one that is made covers all that it names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from madkit.errors import ConfigError
from madkit.lm.adapters.probe import uncalled
from madkit.lm.text_decoder import layer_names

AUTO = "auto"

#: The modules of the published study (arXiv 2312.01037), which Llama and its kind have in every layer.
PUBLISHED = ("gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj")

#: What experts keep as one parameter, by its name, though other layers have it as modules.
_FUSED = {"gate_up_proj": ("gate_proj", "up_proj")}

#: Maps of a state-space layer whose weights are read by its kernels, or by the layer itself: what is put beside such a
#: map is not read. PEFT refuses some of them.
_READ_BY_KERNELS = ("x_proj", "dt_proj", "out_proj")


class LoraTargets:
    """The modules and parameters of a model before a LoRA is put into it.

    Args:
        lm: the model.
    """

    def __init__(self, lm: PreTrainedModel) -> None:
        self.name = type(lm).__name__
        self.layers = layer_names(lm)
        self.modules = [name for name, _ in lm.named_modules() if name]
        inside = tuple(f"{layer}." for layer in self.layers)
        linear = (name for name, module in lm.named_modules() if _is_linear(module))
        self.linear = [name for name in linear if name.startswith(inside) and not _is_read_by_kernels(lm, name)]
        self.transposed = any(isinstance(lm.get_submodule(name), Conv1D) for name in self.linear)
        stacked = (name for name, p in lm.named_parameters() if p.ndim == 3 and "expert" in name)
        self.experts = [name for name in stacked if name.startswith(inside)]

    def resolved(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options of a LoRA with modules for ``target_modules: auto``.

        They are the published ones where every layer has each of them, and otherwise all linear maps of the layers and
        the parameters of experts.
        """
        options = dict(options)
        if self.transposed:  # PEFT would set it, with a warning
            options.setdefault("fan_in_fan_out", True)
        chosen = options.get("target_modules") or (None if options.get("target_parameters") else AUTO)
        if chosen != AUTO:
            return options
        per_layer = [{_last(name) for name in self.linear if name.startswith(f"{layer}.")} for layer in self.layers]
        if not self.experts and all(names >= set(PUBLISHED) for names in per_layer):
            return options | {"target_modules": self._inside(list(PUBLISHED))}
        # PEFT takes a name that experts have as theirs alone; the other modules of that name are named by their weight.
        shared = [name for name in self.linear if _last(name) in self._of_experts()]
        names = sorted({_last(name) for name in self.linear} - {_last(name) for name in shared})
        options["target_modules"] = self._inside(names)
        if self.experts:
            weights = {f"{_end(name)}.weight" for name in shared}
            options.setdefault("target_parameters", sorted({_end(name) for name in self.experts} | weights))
        return options

    def _inside(self, names: list[str]) -> list[str] | str:
        """Names of modules as PEFT takes them: an expression where a tower that sees or hears has some of them."""
        layers, _, _ = self.layers[0].rpartition(".")
        if any(_last(name) in names and not name.startswith(f"{layers}.") for name in self.modules):
            return rf"{re.escape(layers)}\.\d+\..*\b({'|'.join(names)})"
        return names

    def _of_experts(self) -> set[str]:
        leaves = {_last(name) for name in self.experts}
        return leaves.union(*(_FUSED.get(leaf, ()) for leaf in leaves))

    def require_matched(self, model: Any, options: Mapping[str, Any]) -> None:
        """Refuse a LoRA that names what the model does not have, or reaches only a part of what it names.

        Args:
            model: the ``PeftModel`` that was made of this model.
            options: what its LoRA was made of.

        Raises:
            ConfigError: naming what matched and what did not.
        """
        modules, parameters = model.base_model.targeted_module_names, model.base_model.targeted_parameter_names
        config = model.peft_config["default"]
        targets = _list(options.get("target_modules"))
        # Names of experts' modules, as older models had them, are moved to parameters by PEFT.
        moved = set(targets) - set(config.target_modules or ()) if parameters else set()
        self._require("target_modules", targets, [name for name in targets if not _ends(modules, name)], moved)
        for option, there in (
            ("target_parameters", parameters),
            ("modules_to_save", self.modules),
            ("exclude_modules", self.modules),
        ):
            targets = _list(options.get(option))
            self._require(option, targets, [name for name in targets if not _ends(there, name)])
        for option in ("rank_pattern", "alpha_pattern"):
            keys = list(options.get(option) or {})
            there = [*modules, *parameters]
            self._require(option, keys, [k for k in keys if not any(re.match(rf"(.*\.)?({k})$", n) for n in there)])
        chosen = options.get("layers_to_transform")
        beyond = [i for i in ([chosen] if isinstance(chosen, int) else chosen or []) if not 0 <= i < len(self.layers)]
        if beyond:
            raise ConfigError(
                f"model.lora.layers_to_transform={chosen}: the model has layers 0..{len(self.layers) - 1}, not {beyond}"
            )
        if chosen is None and not options.get("exclude_modules"):
            self._require_all(set(_list(options.get("target_modules"))), modules, parameters)
        self._require_called(model, [name for name in modules if "expert" not in name])  # a token meets a few of those

    def _require_called(self, model: Any, modules: Iterable[str]) -> None:
        """Refuse a LoRA on modules that take no part when the model reads text."""
        if idle := uncalled(model.get_base_model(), modules):
            raise ConfigError(
                f"model.lora.target_modules reaches {len(idle)} modules of {self.name} that are not called when it "
                f"reads text, such as {idle[0]}: a LoRA there would do nothing; leave them out, or say "
                "`target_modules: auto`"
            )

    def require_some(self, options: Mapping[str, Any]) -> None:
        """Refuse modules none of which the model has."""
        named = _list(options.get("target_modules"))
        self._require("target_modules", named, [name for name in named if not _ends(self.modules, name)])

    def _require(self, option: str, named: list[str], unmatched: list[str], but: Iterable[str] = ()) -> None:
        unmatched = [name for name in unmatched if name not in but]
        if not unmatched:
            return
        matched = ", ".join(name for name in named if name not in unmatched)
        has = f"its linear modules are {', '.join(sorted({_last(name) for name in self.linear}))}"
        if self.experts:
            experts = ", ".join(sorted({_end(name) for name in self.experts}))
            has += f"; its experts are parameters, which target_parameters names: {experts}"
        raise ConfigError(
            f"model.lora.{option}: {', '.join(unmatched)} match nothing in {self.name}, "
            f"{matched or 'nor does anything else'}{' do' if matched else ''}; {has} (`target_modules: auto` takes all)"
        )

    def _require_all(self, named: set[str], modules: Iterable[str], parameters: Iterable[str]) -> None:
        """Refuse names of which some bearers are reached, as modules, and others not, as parameters, or vice versa."""
        reached = {*modules, *(name.removesuffix(".weight") for name in parameters)}
        missed = {f"{_end(n)}.weight" for n in self.linear if n not in reached and any(_ends([n], t) for t in named)}
        for name in self.experts:
            if name not in reached and named & {_last(name), *_FUSED.get(_last(name), ())}:
                missed.add(_end(name))
        if missed:
            raise ConfigError(
                f"model.lora.target_modules names {', '.join(sorted(named))} and reaches a part of them, because some "
                f"are parameters of experts: list all in target_parameters, with {', '.join(sorted(missed))} (or say "
                "`target_modules: auto`, which takes all)"
            )


def _is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear map, of numbers of any format."""
    return isinstance(module, (nn.Linear, Conv1D)) or (
        hasattr(module, "in_features") and hasattr(module, "out_features") and not list(module.children())
    )


def _is_read_by_kernels(lm: nn.Module, name: str) -> bool:
    parent, _, last = name.rpartition(".")
    return last in _READ_BY_KERNELS and hasattr(lm.get_submodule(parent), "ssm_state_size")


def _list(value: Any) -> list[str]:
    return [] if value is None or isinstance(value, str) else list(value)


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _end(name: str) -> str:
    """The last two parts of a name."""
    return ".".join(name.split(".")[-2:])


def _ends(names: Iterable[str], end: str) -> bool:
    return any(name == end or name.endswith(f".{end}") for name in names)
