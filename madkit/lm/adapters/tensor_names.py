"""The names of an adapter's tensors, in its file and in the model that it is read into."""

from __future__ import annotations

from collections.abc import Iterable

#: What torch.compile, FSDP and DataParallel put into names.
_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "module"})
#: What model classes nest the layers of one language model in.
_NESTING = frozenset({"base_model", "model", "language_model", "text_model"})


def renamed(names: Iterable[str], wanted: Iterable[str], nesting: str) -> dict[str, str] | None:
    """The name in the model of each name in a file, where there is one way only to pair all of them.

    Names may differ in what wraps a model, in how deep its class nests the layers, and in the adapter's name.

    Args:
        names: in the file.
        wanted: in the model.
        nesting: in what the model's class nests its layers, such as ``transformer``.

    Returns:
        None where some are left over on either side, or two are alike.

    Example:
        >>> wanted = ["base_model.model.model.layers.0.q_proj.lora_A.weight"]
        >>> renamed(["base_model.model.model.language_model.layers.0.q_proj.lora_A.mine.weight"], wanted, "model")
        {'base_model.model.model.language_model.layers.0.q_proj.lora_A.mine.weight': \
'base_model.model.model.layers.0.q_proj.lora_A.weight'}
    """
    names, wanted = list(names), list(wanted)
    target = {_core(name, nesting): name for name in wanted}
    if len(target) < len(wanted):
        return None
    for adapter in [None, *_adapter_names(names, wanted)]:
        cores = {name: _core(name, nesting, adapter) for name in names}
        if len(set(cores.values())) == len(names) and set(cores.values()) == set(target):
            return {name: target[core] for name, core in cores.items()}
    return None


def _core(name: str, nesting: str, adapter: str | None = None) -> str:
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while parts and parts[0] in _NESTING | {nesting}:
        parts.pop(0)
    for place in (-2, -1):  # `lora_A.<adapter>.weight`, `lora_embedding_A.<adapter>`
        if adapter is not None and len(parts) > 1 and parts[place] == adapter:
            del parts[place]
            break
    return ".".join(parts)


def _adapter_names(names: list[str], wanted: list[str]) -> list[str]:
    """What could be the adapter's name: parts at the end of names in the file that end no name in the model."""
    ours, theirs = ({part for name in group for part in name.split(".")[-2:]} for group in (wanted, names))
    return sorted(theirs - ours)
