"""The answers of a model to a batch of prompts as tables, one row for each prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import torch.distributed as dist
from torch import Tensor

from madkit.lm.text_decoder import layer_names
from madkit.poser.measure.perturbations import Perturbation
from madkit.poser.measure.repeated_batch import RepeatedBatch


def baseline_table(repeated: RepeatedBatch) -> pd.DataFrame:
    """The answers without a perturbation: row, kl (which is 0), p_benign and p_misaligned."""
    return _table(repeated, {})


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
    tables = []
    for draw in range(perturbation.draws):
        unit = {
            names[at]: perturbation.vector(steering[at], at, draw, batch["length"], batch["row"])
            for at in perturbation.layers or [layer]
        }
        unit = {name: vector.to(repeated.baseline.device) for name, vector in unit.items()}
        for coefficient in perturbation.coefficients:
            vectors = {name: vector * coefficient for name, vector in unit.items()}
            tables.append(_table(repeated, vectors).assign(coefficient=coefficient, draw=draw))
    return pd.concat(tables, ignore_index=True)


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


def _table(repeated: RepeatedBatch, vectors: Mapping[str, Tensor]) -> pd.DataFrame:
    behaviour = repeated.behaviour(vectors)
    columns = {name: values.cpu().numpy() for name, values in behaviour._asdict().items()}
    return pd.DataFrame({"row": repeated.batch["row"], **columns})
