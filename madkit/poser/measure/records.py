"""Measure one model on one set of prompts, step by step, and keep each part as soon as it is whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from madkit.errors import ConfigError, StoreError
from madkit.lm import forward
from madkit.lm.hooks import Hookpoint, Reader, layer_names
from madkit.poser.measure.perturbations import Perturbation
from madkit.poser.measure.prompted import Prompted
from madkit.poser.measure.prompts import Batch
from madkit.runs.atomic import write_json, write_parquet
from madkit.runs.fingerprints import digest


class Record:
    """The folder of one model on one set of prompts: `job.json`, and one file for each part that is finished.

    Args:
        folder: where.
        settings: what decides the numbers, but for the model itself, and for what each part adds.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings

    @property
    def model(self) -> str | None:
        """Fingerprint of the model that was measured under these settings; None if none was."""
        path = self.folder / "job.json"
        if not path.is_file():
            return None
        content = json.loads(path.read_text())
        return content["model"] if content["settings"] == self.settings else None

    def begin(self, model: str) -> None:
        """Continue with what the same model gave under the same settings; anything else is removed."""
        if self.model == model:
            return
        if self.folder.is_dir():
            shutil.rmtree(self.folder)
        write_json(self.folder / "job.json", {"model": model, "settings": self.settings})

    def path(self, name: str, options: Any = None) -> Path:
        """The file of a part."""
        return self.folder / f"{name.replace(' ', '_')}-{digest(options)[:8]}.parquet"

    def has(self, name: str, options: Any = None) -> bool:
        """Whether a part is finished."""
        return self.path(name, options).is_file()

    def write(self, table: pd.DataFrame, name: str, options: Any = None) -> None:
        """Keep a part."""
        write_parquet(self.path(name, options), table)

    def read(self, name: str, options: Any = None) -> pd.DataFrame:
        """A finished part.

        Raises:
            StoreError: it is not there.
        """
        path = self.path(name, options)
        if not path.is_file():
            raise StoreError(f"{path} is missing; repeat `madkit test`, which measures what is not there")
        return pd.read_parquet(path)


def options_of(perturbation: Perturbation) -> dict[str, Any]:
    """What decides a perturbation's numbers."""
    return {"kind": perturbation.kind, **asdict(perturbation)}


@dataclass
class SteeringSums:
    """The mean activation at the last token of critical prompts minus that of clean ones, by layer."""

    lm: PreTrainedModel
    layers: list[int]

    def __post_init__(self) -> None:
        names = layer_names(self.lm)
        if beyond := [layer for layer in self.layers if not 0 <= layer < len(names)]:
            raise ConfigError(f"layer {beyond[0]}: the model has layers 0..{len(names) - 1}; choose another `layer`")
        self.points = {layer: Hookpoint(names[layer], "output") for layer in self.layers}
        self.means: dict[int, Tensor] = {}

    @torch.no_grad()
    def add(self, batch: Batch, sign: float, n: int) -> None:
        """Add prompts of one side; n is how many there are on it in all."""
        with Reader(self.lm, self.points.values(), stop=True) as reader:
            mask = batch["attention_mask"]
            forward.hidden_states(self.lm, batch["input_ids"], mask, padded=forward.is_padded(mask))
        for layer, point in self.points.items():
            part = reader.values[point].double().sum(0) * (sign / n)
            self.means[layer] = self.means[layer] + part if layer in self.means else part

    def vectors(self) -> dict[int, Tensor]:
        """The steering vectors (d,), float32, on the CPU."""
        return {layer: mean.float().cpu() for layer, mean in self.means.items()}


def baseline_rows(lm: PreTrainedModel, batch: Batch) -> pd.DataFrame:
    """What the model says without a perturbation."""
    return _table(batch, Prompted(lm, batch, cached=False), {})


def perturbed_rows(
    lm: PreTrainedModel,
    batch: Batch,
    perturbations: Sequence[Perturbation],
    steering: dict[int, Tensor],
    layer: int,
) -> dict[str, pd.DataFrame]:
    """What the model says under each perturbation, for every draw and coefficient.

    Args:
        lm: the plain transformers model.
        batch: prompts.
        perturbations: those that move the same tokens share the first pass.
        steering: the model's steering vectors by layer.
        layer: the layer of perturbations that name none.

    Returns:
        By name, tables of coefficient, draw, row, kl, p_benign and p_misaligned.
    """
    names = layer_names(lm)
    found: dict[str, list[pd.DataFrame]] = {p.name: [] for p in perturbations}
    for tokens in ("last", "all"):
        some = [p for p in perturbations if p.tokens == tokens]
        if not some:
            continue
        prompted = Prompted(lm, batch, cached=tokens == "last")
        for perturbation in some:
            for draw in range(perturbation.draws):
                unit = {
                    names[at]: perturbation.vector(steering[at], at, draw, batch["length"], batch["row"])
                    for at in perturbation.layers or [layer]
                }
                unit = {name: vector.to(prompted.baseline.device) for name, vector in unit.items()}
                for coefficient in perturbation.coefficients:
                    vectors = {name: vector * coefficient for name, vector in unit.items()}
                    rows = _table(batch, prompted, vectors).assign(coefficient=coefficient, draw=draw)
                    found[perturbation.name].append(rows)
    return {name: pd.concat(tables, ignore_index=True) for name, tables in found.items()}


def _table(batch: Batch, prompted: Prompted, vectors: dict[str, Tensor]) -> pd.DataFrame:
    behaviour = prompted.behaviour(vectors)
    columns = {name: values.cpu().numpy() for name, values in behaviour._asdict().items()}
    return pd.DataFrame({"row": batch["row"], **columns})
