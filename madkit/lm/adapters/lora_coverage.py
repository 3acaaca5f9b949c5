"""What a LoRA is on, said when it is made."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from madkit.lm.adapters.lora_targets import LoraTargets


def report_coverage(model: Any, targets: LoraTargets, named: list[str]) -> None:
    """Say what a LoRA is on; in a warning, which layers it leaves as they are.

    Args:
        model: the ``PeftModel``.
        targets: what could be targeted in the model that it was made of.
        named: the modules that the user named, if it was by a list.
    """
    reached = [*model.base_model.targeted_module_names, *model.base_model.targeted_parameter_names]
    depth = len(targets.layers)
    per_layer = [[name for name in reached if f"{name}.".startswith(f"{layer}.")] for layer in targets.layers]
    bare = [number for number, names in enumerate(per_layer) if not names]
    counts = {end: sum(any(f".{name}".endswith(f".{end}") for name in names) for names in per_layer) for end in named}
    rare = [f"{end} in {count} of {depth} layers" for end, count in counts.items() if 0 < count < depth - len(bare)]
    parts = [f"layers {_numbers(bare)} of 0..{depth - 1} stay as they are"] if bare else []
    parts += [f"there is {', '.join(rare)} only"] if rare else []
    if parts:
        rank_zero_warn(
            f"model.lora covers a part of the layers of {targets.name}: {'; '.join(parts)} (`target_modules: auto` "
            "alone covers all)"
        )
    on = sorted({_last(name.removesuffix(".weight")) for name in reached})
    without = sorted({_last(name) for name in targets.linear} - set(on))
    rank_zero_info(f"LoRA on {', '.join(on)}" + (f"; none on {', '.join(without)}" if without else ""))


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _numbers(numbers: list[int]) -> str:
    """Whole numbers in ascending order, runs of them by their ends.

    Example:
        >>> _numbers([0, 1, 2, 5])
        '0..2, 5'
    """
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(first) if first == last else f"{first}..{last}" for first, last in runs)
