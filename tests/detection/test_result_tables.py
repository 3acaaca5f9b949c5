"""Tidy tables: every statistic of every detector, paired comparisons, and layers of the right feature."""

import numpy as np
import pandas as pd
import pytest

from madkit.detection.detector import Assumptions
from madkit.detection.held_out_scores import held_out_scores
from madkit.detection.result_tables import comparisons_table, results_table, scores_table
from madkit.detection.site_scores import SiteScores
from madkit.statistics.aggregation import AGGREGATIONS
from madkit.store.variant import Variant

FEATURE = Variant("activations")
LAYERS = {(FEATURE, "model.layers.1"): 1, (FEATURE, "model.layers.2"): 2}
SETTINGS = {(FEATURE, name): Assumptions("online", "", "trusted prompts") for name in ("good", "bad")}


def study(n=80):
    rng = np.random.default_rng(0)
    anomalous = np.arange(n) % 2 == 1
    prompts = pd.DataFrame({"row": np.arange(100, 100 + n), "anomalous": anomalous})
    prompts["alice_label"] = rng.random(n) < 0.5
    prompts["bob_label"] = prompts["alice_label"] ^ (rng.random(n) < 0.5)
    prompts["statement"], prompts["name"] = np.arange(n) // 4, np.where(anomalous, "Bob", "Alice")
    prompts = prompts.set_index("row", drop=False)
    sites = {}
    for site in ("model.layers.1", "model.layers.2"):
        values = rng.normal(size=(n, 2)) + np.array([1.5, 0.0]) * anomalous[:, None]
        sites[FEATURE, site] = SiteScores(
            ["good", "bad"], prompts["row"].to_numpy(), values, np.arange(30), rng.normal(size=(30, 2))
        )
    return sites, prompts


def test_tables_hold_every_statistic_of_every_detector():
    from sklearn.metrics import average_precision_score, roc_auc_score

    sites, prompts = study()
    table = scores_table(sites, list(AGGREGATIONS), LAYERS)
    found = results_table(table, prompts, SETTINGS, held_out_scores(sites, list(AGGREGATIONS)))
    assert len(found) == 2 * (2 + len(AGGREGATIONS)) * 3
    assert not found.isna().drop(columns="layer").any().any()
    line = found[(found["score"] == "good") & (found["site"] == "model.layers.2") & (found["subset"] == "all")].iloc[0]
    values, labels = sites[FEATURE, "model.layers.2"].values[:, 0], prompts["anomalous"]
    assert line["auroc"] == pytest.approx(roc_auc_score(labels, values))
    assert line["partial_auroc"] == pytest.approx(roc_auc_score(labels, values, max_fpr=0.01))
    assert line["average_precision"] == pytest.approx(average_precision_score(labels, values))
    for name in ("partial_auroc", "tpr", "average_precision"):
        assert (found[f"{name}_low"] <= found[name]).all() and (found[name] <= found[f"{name}_high"]).all()


@pytest.mark.parametrize(("m", "nominal"), [(30, 1 / 31), (250, 0.01)])
def test_false_alarms_are_those_of_a_threshold_set_on_held_out_prompts(m, nominal):
    sites, prompts = study()
    rng = np.random.default_rng(1)
    sites = {
        key: SiteScores(site.names, site.rows, site.values, np.arange(m), rng.normal(-1, 1, (m, 2)))
        for key, site in sites.items()
    }
    table = scores_table(sites, ["mean"], LAYERS)
    found = results_table(table, prompts, SETTINGS, held_out_scores(sites, ["mean"]))
    assert found["nominal"].unique() == pytest.approx([nominal])
    for (score, site, subset), line in found.set_index(["score", "site", "subset"]).iterrows():
        own = [scores for (_, name), scores in sites.items() if site in ("aggregate", name)]
        index = ["good", "bad"].index(score)
        calibration, values = (np.mean([getattr(s, n)[:, index] for s in own], 0) for n in ("calibration", "values"))
        agree = (prompts["alice_label"] == prompts["bob_label"]).to_numpy()
        members = {"all": agree | ~agree, "agree": agree, "disagree": ~agree}[subset]
        normal = values[members & ~prompts["anomalous"].to_numpy()]
        alarms = [(1 + (calibration >= value).sum()) / (1 + m) <= nominal + 1e-12 for value in normal]
        assert line["false_alarms"] == pytest.approx(np.mean(alarms))
        assert 0 <= line["false_alarms_low"] <= line["false_alarms"] <= line["false_alarms_high"] <= 1
    assert found["false_alarms"].max() > 0.05  # they are further out than the held-out ones


def test_without_calibration_prompts_nothing_is_said_of_false_alarms():
    sites, prompts = study()
    found = results_table(scores_table(sites, ["mean"], LAYERS), prompts, SETTINGS)
    assert found[["false_alarms", "false_alarms_low", "false_alarms_high", "nominal"]].isna().all().all()


def test_comparisons_are_paired_and_adjusted():
    from madkit.statistics import compare, holm

    sites, prompts = study()
    table = scores_table(sites, ["mean", "rank"], LAYERS)
    found = comparisons_table(table, prompts)
    assert set(found["aggregation"]) == {"mean", "rank"} and set(found["subset"]) == {"all", "agree", "disagree"}
    own = [site.values.T for site in sites.values()]
    good, bad = np.mean(own, axis=0)
    line = found[(found["aggregation"] == "mean") & (found["subset"] == "all")].iloc[0]
    expected = compare(good, bad, prompts["anomalous"], clusters=prompts["statement"])
    assert (line["a"], line["b"]) == ("activations/good", "activations/bad")
    assert line["difference"] == pytest.approx(expected.difference) and line["p_value"] == pytest.approx(
        expected.p_value
    )
    assert line["p_holm"] == pytest.approx(holm([expected.p_value])[0])


def test_what_cannot_be_aggregated_is_left_out_and_said():
    sites, _ = study()
    flat = {
        key: SiteScores(site.names, site.rows, site.values, site.held_out, np.ones_like(site.calibration))
        for key, site in sites.items()
    }
    with pytest.warns(UserWarning, match="not aggregated by zscore"):
        table = scores_table(flat, ["zscore", "rank"], LAYERS)
    assert set(table["aggregation"]) == {"", "rank"}


def test_two_features_with_a_site_of_one_name_keep_their_own_layers():
    sites, _ = study()
    other, control = Variant("other"), Variant("activations", adapter=False)
    sites |= {(variant, "model.layers.1"): sites[FEATURE, "model.layers.1"] for variant in (other, control)}
    layers = LAYERS | {(other, "model.layers.1"): 7, (control, "model.layers.1"): None}
    table = scores_table(sites, ["mean"], layers)
    table = table[table["site"] == "model.layers.1"].drop_duplicates(["feature", "adapter"])
    found = table.set_index(["feature", "adapter"])["layer"]
    assert found["activations", True] == 1 and found["other", True] == 7 and pd.isna(found["activations", False])


def test_a_control_is_a_detector_beside_the_one_that_it_controls():
    sites, prompts = study()
    control = Variant("activations", adapter=False)
    sites |= {(control, site): scores for (_, site), scores in list(sites.items())}
    layers = LAYERS | {(control, site): layer for (_, site), layer in LAYERS.items()}
    table = scores_table(sites, ["mean"], layers)
    settings = {
        (variant, name): Assumptions("online", "", "trusted prompts")
        for variant in (FEATURE, control)
        for name in ("good", "bad")
    }
    results = results_table(table, prompts, settings)
    assert results["adapter"].dtype == bool and results["adapter"].mean() == 0.5
    assert set(results["feature"]) == {"activations"}
    pairs = comparisons_table(table, prompts)
    pairs = pairs[pairs["subset"] == "all"]
    assert len(pairs) == 6
    same = pairs[(pairs["a"] == pairs["b"]) & (pairs["adapter_a"] != pairs["adapter_b"])]
    assert len(same) == 2 and (same["difference"] == 0).all()
