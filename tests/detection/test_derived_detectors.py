"""Detectors of derived features in the `test` stage: what they see, write and leave alone."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from small_stores import SITES, detect, write_stores

from madkit.derived import Conditional, Delta, LayerDifferences, Paired
from madkit.detection.detector import Detector
from madkit.errors import ConfigError, DataError, StoreError
from madkit.scores import ConditionalT, LocalOutlierFactor, Mahalanobis, load_score
from madkit.scores.common.saved_module import SavedModule
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant


def every():
    return [
        Detector(Conditional(studentised=True), LocalOutlierFactor(k=10)),
        Detector(Conditional(), Mahalanobis()),
        Detector(Delta(), Mahalanobis()),
        Detector(LayerDifferences(), Mahalanobis()),
        Detector(Paired(), ConditionalT()),
        Detector("activations", Mahalanobis()),
    ]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "small" / "addition"
    write_stores(folder)
    return folder


def test_what_the_base_explains_is_taken_out(run):
    detect(run, *every())
    results = pd.read_parquet(run / "detection" / "results.parquet")
    auroc = results[(results["aggregation"] == "mean") & (results["subset"] == "all")]
    auroc = auroc.set_index(["feature", "score"])["auroc"]
    for feature, score in (
        ("conditional_studentised", "lof_k10"), ("conditional", "mahalanobis"), ("paired", "conditional_t")
    ):  # fmt: skip
        assert auroc[feature, score] > 0.95
    assert auroc["activations", "mahalanobis"] < 0.8
    layers = results[results["aggregation"] == ""].groupby("feature")["layer"].unique().map(sorted).to_dict()
    needs = results.groupby("feature")["needs"].unique().map(list).to_dict()
    assert needs["delta"] == ["trusted prompts, base model"] and needs["activations"] == ["trusted prompts"]
    assert layers["layer_differences"] == [2] and layers["delta"] == layers["conditional"] == [1, 2]


def test_blocks_make_no_difference(run):
    scores = detect(run, *every())
    np.testing.assert_allclose(detect(run, *every(), block_size=7)["value"], scores["value"], rtol=1e-8, atol=1e-8)


def test_what_was_fitted_gives_the_scores_again(run):
    scores = detect(run, Detector(Conditional(studentised=True), Mahalanobis()))
    folder = run / "detection" / "detectors" / "conditional_studentised"
    stores = [FeatureStore.current(Variant("activations", adapter).folder(run)) for adapter in (False, True)]
    for site in SITES:
        conditional, score = SavedModule.load(folder / "derived" / site), load_score(folder / "mahalanobis" / site)
        values = score(conditional([store.read(site, "test")[1] for store in stores]))
        np.testing.assert_allclose(values, scores[scores["site"] == site]["value"], rtol=1e-12)
    cost = json.loads((run / "detection" / "summary.json").read_text())["cost"]
    assert [c["feature"] for c in cost] == ["conditional_studentised"]


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ConfigError, match="adapter=false"):
        Detector(Delta(), Mahalanobis(), adapter=False)
    run = tmp_path / "small" / "addition"
    write_stores(run, controls=SITES[:1])
    with pytest.raises(StoreError, match="differ in their sites"):
        detect(run, Detector(Delta(), Mahalanobis()))
    with pytest.raises(StoreError, match="'other'"):
        detect(run, Detector(Delta("other"), Mahalanobis()))
    one = tmp_path / "one" / "addition"
    write_stores(one, sites=SITES[:1])
    with pytest.raises(StoreError, match="layer differences need two"):
        detect(one, Detector(LayerDifferences(), Mahalanobis()))
    with pytest.raises(DataError, match="neighbouring sites"):
        LayerDifferences()([torch.zeros(1, 2), torch.zeros(1, 3)])
