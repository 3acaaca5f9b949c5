"""What features have to know of trusted prompts before they can be computed: made once, kept in their store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from madkit.errors import DataError, StoreError
from madkit.extraction.forward_pass import Points, read
from madkit.features.feature import Feature
from madkit.lm import forward
from madkit.runs.atomic import write_atomically
from madkit.streaming.accumulator import Accumulator, merge_processes

FILE = "learned.safetensors"


# Statistics made in inference mode, in which Lightning predicts, could not be updated in place.
@torch.inference_mode(False)
@torch.no_grad()
def learn(
    model: Any, features: Sequence[Feature], points: Points, batches: Iterable[dict[str, Any]]
) -> dict[str, dict[str, Tensor]]:
    """Pass trusted prompts through the model, once for all features, and let each learn from them.

    Every process must call this with batches of its own, none if need be; all get the same.

    Args:
        model: the LM, with or without a PEFT adapter.
        features: features that learn.
        points: the hookpoints of each feature, by its name.
        batches: this process' trusted prompts.

    Returns:
        The tensors that each feature learned, by its name.

    Raises:
        DataError: there are no trusted prompts, or a value is NaN or infinite.
    """
    device = next(model.parameters()).device
    statistics = {f.name: _statistics(f, forward.unwrapped(model), device) for f in features}
    for batch in batches:
        for adapter in (True, False):
            group = [f for f in features if f.adapter is adapter]
            readings = read(model, group, points, batch, learning=True) if group else {}
            for feature in group:
                for name, rows in feature.observe(readings[feature.name]).items():
                    require_finite(feature.name, name, rows, batch["row"])
                    statistics[feature.name][name].update(rows.double())
    found = {}
    for feature in features:
        whole = {name: merge_processes(statistic) for name, statistic in statistics[feature.name].items()}
        if not all(int(statistic.n) for statistic in whole.values()):
            raise DataError(f"feature {feature.name!r} learns from trusted prompts and there are none: add some")
        found[feature.name] = feature.learn({name: statistic.result() for name, statistic in whole.items()})
    return found


def _statistics(feature: Feature, lm: nn.Module, device: torch.device) -> dict[str, Accumulator]:
    return {name: statistic.to(device) for name, statistic in feature.statistics(lm).items()}


def save_learned(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write what a feature learned into its store, whole or not at all."""
    content = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(folder / FILE, lambda p: save_file(content, p))


def load_learned(folder: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read what a feature learned, bit by bit the same.

    Raises:
        StoreError: if the file is missing or damaged.
    """
    try:
        return load_file(folder / FILE, device=str(device))
    except (SafetensorError, OSError) as error:
        raise StoreError(
            f"{str(folder / FILE)!r} is missing or damaged ({error}); delete the folder and run `madkit predict` again"
        ) from error


def require_finite(feature: str, site: str, x: Tensor, rows: Tensor) -> None:
    """Refuse vectors x (B, d) that are not numbers.

    Raises:
        DataError: naming the rows (B,) of some of them.
    """
    if not bool(torch.isfinite(x).all()):
        bad = rows[~torch.isfinite(x).all(dim=1)].tolist()
        raise DataError(
            f"feature {feature!r} is NaN or infinite at site {site!r} for rows {bad[:5]}; "
            "try another `--model.dtype` or check the adapter"
        )
