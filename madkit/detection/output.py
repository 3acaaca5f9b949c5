"""What the `test` stage writes and logs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from torchmetrics.classification import BinaryAUROC

from madkit.analysis.quirkiness import accuracy, losses, quirkiness_coefficient
from madkit.analysis.state_separation import separation
from madkit.detection.result_tables import RESULT_KEYS, contested
from madkit.runs.atomic import write_json, write_parquet
from madkit.runs.cost import Cost
from madkit.runs.folder import provenance, root_of
from madkit.training.tensorboard import tensorboard_writer

PROMPT_COLUMNS = [
    "row", "id", "name", "character", "label", "alice_label", "bob_label", "agree", "anomalous", "difficulty",
    "difficulty_quantile", "prompt", "logit_no", "logit_yes", "log_odds",
]  # fmt: skip


def log_auroc(trainer: L.Trainer, table: pd.DataFrame, prompts: pd.DataFrame) -> None:
    """AUROC to TensorBoard: a curve over layers per detector and subset, and a point for each aggregate.

    The table is whole on every process, so the metric must not add the processes up once more.
    """
    writer = tensorboard_writer(trainer)
    if writer is None:
        return
    subsets = contested(prompts)
    for found, group in table.groupby(RESULT_KEYS, sort=False, dropna=False):
        key: Any = found
        feature, score, _, layer, aggregation = key
        scores = group.set_index("row")["value"]
        for name, (rows, labels) in subsets.items():
            metric = BinaryAUROC(thresholds=None, normalization=None, sync_on_compute=False)
            metric.update(
                torch.from_numpy(scores.loc[rows].to_numpy(copy=True)),
                torch.from_numpy(labels.astype(np.int64)),
            )
            tag = f"auroc_{aggregation}" if aggregation else "auroc_by_layer"
            step = int(layer) if pd.notna(layer) else 0
            writer.add_scalar(f"{tag}/{feature}/{score}/{name}", metric.compute(), step)


def behaviour(prompts: pd.DataFrame, stores: dict[str, Any]) -> pd.DataFrame:
    """The prompts with the model's logits and log odds, which are NaN where no answers were extracted."""
    prompts = prompts.copy()
    prompts["agree"] = prompts["alice_label"].astype(bool) == prompts["bob_label"].astype(bool)
    logits = np.full((len(prompts), 2), np.nan)
    if "answers" in stores:
        rows, x = stores["answers"].read("logits", "test")
        logits = pd.DataFrame(x.double().numpy(), index=rows.numpy()).loc[prompts["row"]].to_numpy()
    prompts["logit_no"], prompts["logit_yes"] = logits.T
    prompts["log_odds"] = prompts["logit_yes"] - prompts["logit_no"]
    return prompts[PROMPT_COLUMNS].reset_index(drop=True)


def write(
    trainer: L.Trainer,
    tables: dict[str, pd.DataFrame],
    prompts: pd.DataFrame,
    separations: dict[tuple[str, str], Any],
    layers: dict[str, int | None],
    costs: Mapping[str, Cost],
) -> Path:
    """Write everything that figures are drawn from; returns the folder.

    Args:
        trainer: knows the run folder and the stores.
        tables: by file name: "results" and any others.
        prompts: the test prompts.
        separations: by feature and site.
        layers: the layer of each site.
        costs: of each detector, by ``<feature>/<score>``, at all its sites together.
    """
    root = root_of(trainer)
    folder = root / "detection"
    stores = trainer.datamodule.stores  # type: ignore[attr-defined]
    names = {"model": root.parent.name, "dataset": root.name}
    prompts = behaviour(prompts, stores)
    known = bool(prompts["log_odds"].notna().all())
    is_bob = prompts["anomalous"].to_numpy(dtype=bool)
    if known:
        logits = prompts[["logit_no", "logit_yes"]].to_numpy()
        separations = {**separations, ("logits", "logits"): separation(logits, is_bob)}
    apart = [
        {
            **names, "feature": feature, "site": site, "layer": layers.get(site),
            "separation": s.value, "variance": s.variance, "n_alice": s.n_alice, "n_bob": s.n_bob,
        }
        for (feature, site), s in separations.items()
    ]  # fmt: skip
    for name in set(tables) - {"results"}:
        write_parquet(folder / f"{name}.parquet", tables[name])
    write_parquet(folder / "prompts.parquet", prompts)
    write_parquet(folder / "separation.parquet", pd.DataFrame(apart).astype({"layer": "Int64"}))
    some = next(iter(stores.values()))
    summary = {
        **names,
        **(_quirk(prompts) if known else {}),
        "n_test": len(prompts),
        "cost": dict(costs),
        "identity": some.identity,
        "features_key": some.folder.name,
        "made_by": provenance(),
    }
    write_json(folder / "summary.json", summary)
    # Last, because readers take its presence as the sign of a finished stage.
    write_parquet(folder / "results.parquet", tables["results"].assign(**names))
    return folder


def _quirk(prompts: pd.DataFrame) -> dict[str, Any]:
    """Quirkiness, losses and accuracies."""
    columns: dict[str, Any] = {c: prompts[c].to_numpy() for c in ("log_odds", "character", "alice_label", "bob_label")}
    return {
        "quirkiness": quirkiness_coefficient(**columns)._asdict(),
        "losses": {name: value._asdict() for name, value in losses(**columns)._asdict().items()},
        "accuracy": {name: value._asdict() for name, value in accuracy(**columns)._asdict().items()},
    }
