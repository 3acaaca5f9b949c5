"""The answers of a model to a batch of prompts as tables, one row for each prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch.distributed as dist
from torch import Tensor

from madkit.lm.text_decoder import layer_names
from madkit.poser.measure.perturbations import Perturbation
from madkit.poser.measure.repeated_batch import RepeatedBatch


def baseline_table(repeated: RepeatedBatch) -> pd.DataFrame:
    """The answers without a perturbation: row, kl (which is 0), p_benign and p_misaligned."""
    return pd.DataFrame(_columns(repeated, {}))


def perturbed_table(
    repeated: RepeatedBatch, perturbation: Perturbation, steering: Mapping[int, Tensor], layer: int
) -> pd.DataFrame:
    """The answers under a perturbation, for every draw and coefficient.

    Args:
        repeated: the prompts.
        perturbation: what is added.
        steering: the model's steering vectors by layer.
        layer: the layer of perturbations that name none.

    Returns:
        A table of row, kl, p_benign, p_misaligned, coefficient and draw.
    """
    names, batch = layer_names(repeated.lm), repeated.batch
    parts: list[dict[str, np.ndarray]] = []
    for draw in range(perturbation.draws):
        unit = {
            names[at]: perturbation.vector(steering[at], at, draw, batch["length"], batch["row"])
            for at in perturbation.layers or [layer]
        }
        unit = {name: vector.to(repeated.baseline.device) for name, vector in unit.items()}
        for coefficient in perturbation.coefficients:
            vectors = {name: vector * coefficient for name, vector in unit.items()}
            columns = _columns(repeated, vectors)
            alike = {"coefficient": np.full(len(batch["row"]), coefficient), "draw": np.full(len(batch["row"]), draw)}
            parts.append({**columns, **alike})
    # One table of all: to make one for each coefficient takes a third of the time of what is in it.
    return pd.DataFrame({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def gathered(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all processes, by coefficient or size, draw and prompt. Every process must call this."""
    parts = [list(tables)]
    if dist.is_available() and dist.is_initialized():
        parts = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(parts, list(tables))
    every = [table for part in parts for table in part]
    if not every:
        return pd.DataFrame({"row": [], "kl": [], "p_benign": [], "p_misaligned": []})
    rows = pd.concat(every, ignore_index=True)
    keys = [name for name in ("coefficient", "size", "draw", "row") if name in rows]
    return rows.sort_values(keys, kind="stable", ignore_index=True)


def _columns(repeated: RepeatedBatch, vectors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Of each prompt its row and the answers under vectors."""
    behaviour = repeated.behaviour(vectors)
    answers = {name: values.cpu().numpy() for name, values in behaviour._asdict().items()}
    return {"row": np.array(repeated.batch["row"], dtype=np.int64), **answers}
