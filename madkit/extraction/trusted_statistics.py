"""What features must know of trusted prompts before they can be computed: learned once, kept in their store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from madkit.errors import DataError, StoreError
from madkit.extraction.forward_pass import Hookpoints, reading, trace
from madkit.features.feature import Feature
from madkit.lm import forward
from madkit.store.tensor_file import TensorFile
from madkit.store.variant import Variant
from madkit.streaming.accumulator import Accumulator, merge_processes

FILE = "learned.safetensors"


# Statistics made in inference mode, in which Lightning predicts, could not be updated in place.
@torch.inference_mode(False)
@torch.no_grad()
def learn(
    model: Any,
    features: Mapping[Variant, Feature],
    hookpoints: Hookpoints,
    batches: Iterable[dict[str, Any]],
    control: Any = None,
) -> dict[Variant, dict[str, Tensor]]:
    """Pass trusted prompts through the model, once for all features, and let each learn from them.

    Every process must call this with its share of the batches, none if need be; all get the same.

    Args:
        model: the LM, with or without a PEFT adapter.
        features: features that learn, with the adapter on or off.
        hookpoints: those of each feature, by its name.
        batches: this process' trusted prompts.
        control: what is read for features with the adapter off; None for the LM with its adapter switched off.

    Returns:
        The tensors that each feature learned.

    Raises:
        DataError: there are no trusted prompts, or a value is NaN or infinite.
    """
    device = next(model.parameters()).device
    statistics = {variant: _statistics(f, forward.unwrapped(model), device) for variant, f in features.items()}
    for batch in batches:
        for adapter in (True, False):
            group = [feature for variant, feature in features.items() if variant.adapter is adapter]
            if not group:
                continue
            lm, switch = reading(model, control, adapter)
            traces = trace(lm, group, hookpoints, batch, adapter=switch, learning=True)
            for feature in group:
                variant = Variant(feature.name, adapter)
                for name, rows in feature.observe(traces[feature.name]).items():
                    require_finite(variant, name, rows, batch["row"])
                    statistics[variant][name].update(rows.double())
    learned = {}
    for variant, feature in features.items():
        total = {name: merge_processes(statistic) for name, statistic in statistics[variant].items()}
        if not all(int(statistic.n) for statistic in total.values()):
            raise DataError(f"feature {str(variant)!r} learns from trusted prompts and there are none: add some")
        learned[variant] = feature.learn({name: statistic.result() for name, statistic in total.items()})
    return learned


def _statistics(feature: Feature, lm: nn.Module, device: torch.device) -> dict[str, Accumulator]:
    return {name: statistic.to(device) for name, statistic in feature.statistics(lm).items()}


def save_learned(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write what a feature learned into its store, all of it or nothing."""
    TensorFile.save(folder / FILE, tensors)


def load_learned(folder: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read what a feature learned, bit by bit the same.

    Raises:
        StoreError: if the file is missing or damaged.
    """
    try:
        file = TensorFile(folder / FILE)
        return {name: file.read(name).to(device) for name in file.shapes}
    except StoreError as error:
        raise StoreError(f"{error}; run `madkit predict` again, which learns it anew") from error


def has_learned(folder: Path) -> bool:
    """Whether a store holds, undamaged, what its feature learned."""
    try:
        TensorFile(folder / FILE).check()
    except StoreError:
        return False
    return True


def require_finite(feature: Variant, site: str, x: Tensor, rows: Tensor) -> None:
    """Refuse vectors x (B, d) that are not numbers.

    Raises:
        DataError: naming the rows (B,) of some of them.
    """
    if not bool(torch.isfinite(x).all()):
        bad = rows[~torch.isfinite(x).all(dim=1)].tolist()
        raise DataError(
            f"feature {str(feature)!r} is NaN or infinite at site {site!r} for rows {bad[:5]}; "
            "try another `--model.dtype` or check the adapter"
        )
