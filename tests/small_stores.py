"""Feature stores of a tuned model and its base, made in a moment, and detectors on them."""

import lightning as L
import numpy as np
import pandas as pd
import torch

from madkit.detection.data import StoreData
from madkit.detection.detection import Detection
from madkit.store.feature_store import FeatureStore
from madkit.store.shards import cut_shards
from madkit.store.variant import Variant

SITES = ["model.layers.1", "model.layers.2"]
SPLITS = ["trusted"] * 60 + ["calibration"] * 20 + ["test"] * 40
DIM = 4


def write_stores(run, change=None, sites=SITES, controls=SITES):
    """Activations that the adapter moves in one way, those of anomalous prompts in another, little against all else."""
    rng = np.random.default_rng(0)
    n = len(SPLITS)
    bob = np.arange(n) % 2 == 1
    table = pd.DataFrame({"row": np.arange(n), "split": SPLITS, "id": [f"q{i}" for i in range(n)]})
    table["anomalous"] = bob & (table["split"] == "test")
    table["character"] = table["name"] = np.where(table["anomalous"], "Bob", "Alice")
    table["alice_label"], table["bob_label"] = rng.random(n) < 0.5, rng.random(n) < 0.5
    table["label"] = np.where(table["anomalous"], table["bob_label"], table["alice_label"])
    table["statement"] = [f"s{i}" for i in range(n)]
    table = table.assign(difficulty=0.0, difficulty_quantile=0.5, prompt="1 + 1 = 2?")
    shards = cut_shards(SPLITS, 40)
    mixing, hard = rng.normal(size=(DIM, DIM)), 20.0 * (table["split"] == "test").to_numpy()[:, None]
    base = {site: rng.normal(size=(n, DIM)) * 10 + hard for site in SITES}
    quirk = table["anomalous"].to_numpy()[:, None] * 3.0
    tuned = {site: x @ mixing + rng.normal(size=(n, DIM)) * 0.5 + quirk for site, x in base.items()}
    if change is not None:
        base, tuned = ({s: np.where(change[:, None], x + 1000, x) for s, x in v.items()} for v in (base, tuned))
    for adapter, vectors, names in ((True, tuned, sites), (False, base, controls)):
        variant = Variant("activations", adapter)
        identity = {"base": "b", "adapter": "a", "prompts": {}, "feature": {}, "control": not adapter}
        layers = [int(name[-1]) for name in names]
        store = FeatureStore.create(variant.folder(run), identity, list(names), shards, table, layers)
        for shard in shards:
            rows = torch.tensor(shard.rows)
            store.write(shard.index, rows, {name: torch.tensor(vectors[name])[rows] for name in names})
        store.finish()


def detect(run, *detectors, block_size=4096):
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=run, logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, enable_checkpointing=False,
    )  # fmt: skip
    detection = Detection(list(detectors), ["mean", "zscore"])
    trainer.test(detection, datamodule=StoreData("addition", block_size), verbose=False)
    return pd.read_parquet(run / "detection" / "scores.parquet")
