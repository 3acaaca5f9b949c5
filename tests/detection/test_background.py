"""The background ratio: a score of the tuned model minus the same of its base, each measured on calibration prompts."""

import json

import numpy as np
import pandas as pd
import pytest
from small_stores import SITES, detect, write_stores

from madkit.derived import Delta
from madkit.detection.detector import Detector
from madkit.errors import ConfigError, DataError, StoreError
from madkit.scores import LocalOutlierFactor, Mahalanobis, MaxSoftmax


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "small" / "addition"
    write_stores(folder)
    return folder


def test_it_is_the_difference_of_zscores(run):
    score = LocalOutlierFactor(k=10)
    plain = detect(run, Detector("activations", score), Detector("activations", score, adapter=False))
    calibration = pd.read_parquet(run / "detection" / "calibration.parquet")
    scores = detect(run, Detector("activations", score, background=True))
    for site in SITES:
        zscores = []
        for adapter in (True, False):
            values, held_out = (
                t[(t["site"] == site) & (t["adapter"] == adapter)]["value"].to_numpy() for t in (plain, calibration)
            )
            zscores.append((values - held_out.mean()) / held_out.std(ddof=1))
        found = scores[scores["site"] == site]
        assert set(found["score"]) == {"lof_k10_background"} and found["adapter"].all()
        np.testing.assert_allclose(found["value"], zscores[0] - zscores[1], rtol=1e-9)
    aggregate = scores[(scores["site"] == "aggregate") & (scores["aggregation"] == "mean")]["value"]
    assert len(aggregate) == 40


def test_it_stands_beside_its_parts_or_alone(run):
    results = []
    ratio = Detector("activations", Mahalanobis(), background=True)
    parts = [Detector("activations", Mahalanobis(), adapter) for adapter in (True, False)]
    for detectors in ([ratio], [*parts, ratio]):
        detect(run, *detectors)
        table = pd.read_parquet(run / "detection" / "results.parquet")
        table = table[table["feature"] == "activations"]
        results.append(table[table["score"] == "mahalanobis_background"]["auroc"].to_numpy())
        names = set(zip(table["score"], table["adapter"], strict=True))
        assert names == {(d.key[1], d.adapter) for d in detectors}
        costs = json.loads((run / "detection" / "summary.json").read_text())["cost"]
        assert {(c["score"], c["adapter"]) for c in costs} == names
        separation = pd.read_parquet(run / "detection" / "separation.parquet")
        assert len(separation) == len({d.adapter for d in detectors}) * len(SITES)
        # What its scores are made of can be loaded.
        for place in ("", "controls/"):
            folder = run / "detection" / "detectors" / f"{place}activations" / "mahalanobis" / SITES[0]
            assert (folder / "config.json").is_file()
    np.testing.assert_array_equal(*results)
    assert set(table.loc[table["score"] == "mahalanobis_background", "needs"]) == {"trusted prompts, base model"}


def test_mistakes_are_named(tmp_path):
    for bad in ({"feature": Delta()}, {"feature": "activations", "adapter": False}):
        with pytest.raises(ConfigError, match="background=true"):
            Detector(score=Mahalanobis(), background=True, **bad)
    run = tmp_path / "small" / "addition"
    write_stores(run, controls=SITES[:1])
    with pytest.raises(StoreError, match="which a background ratio needs"):
        detect(run, Detector("activations", Mahalanobis(), background=True))


@pytest.mark.parametrize("value", [0.0, 0.1])  # of twenty times 0.1 the standard deviation is not 0
def test_a_score_that_calibration_prompts_share_measures_nothing(run, monkeypatch, value):
    monkeypatch.setattr(MaxSoftmax, "score", lambda self, x: x[:, 0].double() * 0 + value)
    with pytest.raises(DataError, match="have one score"):
        detect(run, Detector("activations", MaxSoftmax(), background=True))
