"""Distractors: how many of them alarm, worked out by hand, and that nothing learns from them."""

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from madkit.detection.data import StoreData
from madkit.detection.detection import Detection
from madkit.detection.detector import Detector
from madkit.scores import LocalOutlierFactor, Mahalanobis
from madkit.store.feature_store import FeatureStore
from madkit.store.shards import cut_shards
from madkit.store.variant import Variant

SIZES = {"trusted": 120, "calibration": 99, "test": 200, "distractor": 80}
SITES = ["model.layers.1", "model.layers.2"]


def write(run, distractors=True, answers=True):
    rng = np.random.default_rng(0)
    splits = [split for split, n in SIZES.items() for _ in range(n) if distractors or split != "distractor"]
    n = len(splits)
    table = pd.DataFrame({"row": np.arange(n), "split": splits, "id": [f"q{i}" for i in range(n)]})
    table["anomalous"] = (table["split"] == "test") & (np.arange(n) % 2 == 1)
    table["statement"] = [f"s{i // 2}" for i in range(n)]
    table["character"] = np.where(table["anomalous"], "Bob", "Alice")
    table["name"] = [f"{who}{i // 2 % 3}" for i, who in enumerate(table["character"])]
    table["alice_label"] = np.arange(sum(SIZES.values()))[:n] % 3 == 0
    table["bob_label"] = ~table["alice_label"]
    table["label"] = np.where(table["anomalous"], table["bob_label"], table["alice_label"])
    table = table.assign(difficulty=0.0, difficulty_quantile=0.5, prompt="1 + 1 = 2?")
    x = {site: rng.normal(size=(sum(SIZES.values()), 3))[:n] for site in SITES}
    unusual = np.array(splits) == "distractor"
    if distractors:
        table["distractor"] = np.where(unusual, np.where(np.arange(n) % 2, "far", "near"), "")
    far = unusual & (np.arange(n) % 2 == 1)
    x = {s: v + 2.0 * table["anomalous"].to_numpy()[:, None] + 9.0 * far[:, None] for s, v in x.items()}
    shards = cut_shards(splits, 64)
    logits = np.stack([np.zeros(n), np.where(table["alice_label"] ^ far, 1.0, -1.0)], axis=1)
    stores = [(Variant("activations"), x)] + ([(Variant("answers"), {"logits": logits})] if answers else [])
    for variant, vectors in stores:
        identity = {"base": "b", "adapter": "a", "prompts": {}, "feature": {}, "control": False}
        layers = [1, 2] if len(vectors) == 2 else [None]
        store = FeatureStore.create(variant.folder(run), identity, list(vectors), shards, table, layers)
        for shard in shards:
            rows = torch.tensor(shard.rows)
            store.write(shard.index, rows, {site: torch.tensor(v)[rows] for site, v in vectors.items()})
        store.finish()
    return table, x


def detect(run):
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=run, logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, enable_checkpointing=False,
    )  # fmt: skip
    detectors = [Detector("activations", score) for score in (Mahalanobis(), LocalOutlierFactor(k=5))]
    module = Detection(detectors, ["mean", "max", "zscore"], ceiling=True)
    trainer.test(module, datamodule=StoreData("addition", block_size=50), verbose=False)
    folder = run / "detection"
    return {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "small" / "addition"
    table, x = write(run)
    return table, x, detect(run)


def test_shares_of_alarms_are_those_worked_out_by_hand(found):
    table, x, tables = found
    split = table["split"].to_numpy()
    scores = []
    for v in x.values():
        known = v[split == "trusted"]
        whitened = np.linalg.solve(np.linalg.cholesky(np.cov(known.T)), (v - known.mean(0)).T)
        scores.append((whitened**2).sum(0))
    score = np.mean(scores, axis=0)
    normal, anomalous = (split == "test") & ~table["anomalous"], (split == "test") & table["anomalous"]
    own = tables["distractors"]
    own = own[(own["score"] == "mahalanobis") & (own["aggregation"] == "mean")].set_index(["threshold", "kind"])
    assert set(own.index) == {(t, k) for t in ("normal", "trusted") for k in ("far", "near")}
    held_out = score[split == "calibration"]
    for threshold, alarms in {
        # Of a hundred normal prompts, the highest one alarms.
        "normal": score > np.sort(score[normal])[-2],
        "trusted": np.array([(1 + (held_out >= s).sum()) / (1 + len(held_out)) <= 0.01 for s in score]),
    }.items():
        for kind in ("far", "near"):
            line, rows = own.loc[threshold, kind], (table["distractor"] == kind).to_numpy()
            assert line["alarms"] == pytest.approx(alarms[rows].mean())
            assert line["alarms_low"] <= line["alarms"] <= line["alarms_high"]
            assert line["false_alarms"] == pytest.approx(alarms[normal].mean())
            assert line["tpr"] == pytest.approx(alarms[anomalous].mean())
            area = roc_auc_score(anomalous[rows | anomalous], score[rows | anomalous])
            assert line["auroc"] == pytest.approx(area)
            assert (line["n"], line["n_normal"], line["n_anomalous"]) == (40, 100, 100)
        # The TPR of the results is at this threshold.
        if threshold == "normal":
            results = tables["results"]
            results = results[(results["score"] == "mahalanobis") & (results["aggregation"] == "mean")]
            assert line["tpr"] == results.set_index("subset").loc["all", "tpr"] and line["false_alarms"] == 0.01
    # Distractors of the kind "far" lie beyond all anomalous prompts, and the model errs on them.
    assert own.loc["normal", "far"]["alarms"] == 1.0 and own.loc["normal", "far"]["auroc"] == 0.0
    assert own["right"].to_dict() == {
        (t, k): float(k == "near") for t in ("normal", "trusted") for k in ("far", "near")
    }


def test_nothing_learns_from_them(found, tmp_path):
    write(tmp_path / "small" / "addition", distractors=False)
    without = detect(tmp_path / "small" / "addition")
    with_them = found[2]
    assert set(with_them) - set(without) == {"distractors"}
    for name, table in without.items():
        pd.testing.assert_frame_equal(table, with_them[name], obj=name)
    assert set(with_them["distractors"]["aggregation"]) == {"mean", "zscore"}
    assert "logistic_probe" in set(without["results"]["score"])
