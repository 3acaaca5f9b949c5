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
SPLITS = ["trusted"] * 60 + ["calibration"] * 20 + ["test"] * 40 + ["untrusted"] * 20
DIM = 4


def write_stores(run, change=None, sites=SITES, controls=SITES, answers=False, untrusted_bob=False):
    """Activations that the adapter moves in one way, those of anomalous prompts in another, little against all else.

    Args:
        run: the run folder.
        change: which prompts get vectors that lie far from all others.
        sites: with the adapter on.
        controls: with the adapter off.
        answers: also the model's answers, by its activations.
        untrusted_bob: whether half of the untrusted prompts are anomalous, too.
    """
    rng = np.random.default_rng(0)
    n = len(SPLITS)
    bob = np.arange(n) % 2 == 1
    table = pd.DataFrame({"row": np.arange(n), "split": SPLITS, "id": [f"q{i}" for i in range(n)]})
    table["anomalous"] = bob & table["split"].isin(["test", "untrusted"] if untrusted_bob else ["test"])
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
        base = {site: np.where(change[:, None], x + 1000, x) for site, x in base.items()}
        tuned = {site: np.where(change[:, None], -20 * x, x) for site, x in tuned.items()}
    vectors = [(Variant("activations"), tuned, sites), (Variant("activations", False), base, controls)]
    if answers:
        vectors.append((Variant("answers"), {"logits": tuned[SITES[0]][:, :2]}, ["logits"]))
    for variant, values, names in vectors:
        identity = {"base": "b", "adapter": "a", "prompts": {}, "feature": {}, "control": not variant.adapter}
        layers = [int(name[-1]) if name[-1].isdigit() else None for name in names]
        store = FeatureStore.create(variant.folder(run), identity, list(names), shards, table, layers)
        for shard in shards:
            rows = torch.tensor(shard.rows)
            store.write(shard.index, rows, {name: torch.tensor(values[name])[rows] for name in names})
        store.finish()


def detect(run, *detectors, block_size=4096, aggregations=("mean", "zscore")):
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=run, logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, enable_checkpointing=False,
    )  # fmt: skip
    detection = Detection(list(detectors), list(aggregations))
    trainer.test(detection, datamodule=StoreData("addition", block_size), verbose=False)
    return pd.read_parquet(run / "detection" / "scores.parquet")
