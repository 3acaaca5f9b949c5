"""Ways to set a threshold, judged on prompts that are harder than the trusted ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from madkit.detection.covariates import covariates
from madkit.detection.detector import Assumptions
from madkit.detection.held_out_scores import held_out_scores
from madkit.detection.result_tables import scores_table
from madkit.detection.site_scores import SiteScores
from madkit.detection.subsets import contested
from madkit.detection.thresholds import threshold_table
from madkit.store.variant import Variant

N, M = 800, 200
FEATURE, CONTROL = Variant("activations"), Variant("activations", adapter=False)
SETTINGS = {
    (FEATURE, "mine"): Assumptions("online", "", "trusted prompts"),
    (CONTROL, "mine"): Assumptions("online", "", "trusted prompts, base model"),
}


@pytest.fixture(scope="module")
def study():
    """Test prompts are longer than trusted ones, which moves scores by 2 on average; anomalies move them by 5 more."""
    rng = np.random.default_rng(0)
    anomalous = np.arange(N) % 2 == 1
    prompts = pd.DataFrame({"row": np.arange(N), "anomalous": anomalous, "statement": np.arange(N) // 4})
    prompts["name"] = np.where(anomalous, "Bob", "Alice")
    prompts["alice_label"] = prompts["bob_label"] = rng.random(N) < 0.5
    lengths = [rng.normal(mean, 4, n).clip(1).astype(int) for mean, n in ((26, N), (16, M))]
    test, held_out = (rng.normal(size=(len(x), 1)) + 0.2 * x[:, None] for x in lengths)
    base = [rng.normal(size=(len(x), 1)) for x in lengths]
    sites = {
        (FEATURE, "a"): SiteScores(["mine"], np.arange(N), test + 5 * anomalous[:, None], np.arange(M), held_out),
        (CONTROL, "a"): SiteScores(["mine"], np.arange(N), base[0], np.arange(M), base[1]),
    }
    texts = [pd.Series(["x" * n for n in x]) for x in lengths]
    return sites, prompts, texts


def table(study, **settings):
    sites, prompts, texts = study
    scores = scores_table(sites, ["mean", "rank"], dict.fromkeys(sites))
    held_out = held_out_scores(sites, ["mean", "rank"])
    known = covariates(sites, *texts)
    return threshold_table(scores, held_out, SETTINGS, contested(prompts)["all"], known, **settings)


def test_a_stream_brings_false_alarms_down_and_keeps_what_is_caught(study):
    found = table(study)
    assert set(found["feature"]) == {"activations"} and set(found["aggregation"]) == {"mean"}
    found = found.set_index("method")
    sites, prompts, _ = study
    scores, normal = sites[FEATURE, "a"], ~prompts["anomalous"].to_numpy()
    values, calibration = scores.values[:, 0], scores.calibration[:, 0]
    p = np.array([(1 + (calibration >= value).sum()) / (1 + M) for value in values])
    assert found.loc["trusted", "false_alarms"] == pytest.approx((p[normal] <= 0.01).mean()) and (
        found.loc["trusted", "false_alarms"] > 0.1
    )
    assert found.loc["labels", "false_alarms"] <= 0.01
    for way in ("stream", "recalibrated", "nuisance_recalibrated"):
        assert found.loc[way, "false_alarms"] < 0.03 and found.loc[way, "tpr"] > found.loc["labels", "tpr"] - 0.1
    assert found.loc["nuisance", "false_alarms"] < 0.05  # length explains the shift
    assert found.loc["weighted", "false_alarms"] < found.loc["trusted", "false_alarms"] / 3
    for name in ("false_alarms", "tpr"):
        assert found[f"{name}_low"].le(found[name]).all() and found[name].le(found[f"{name}_high"]).all()


@pytest.mark.parametrize("value", [0.1, 0.3, 0.9])
def test_a_control_that_is_equal_on_all_calibration_prompts_explains_nothing(study, value):
    """By rounding, the standard deviation of 200 equal numbers is 1e-17 in place of 0."""
    sites, _, texts = study
    usual = covariates(sites, *texts)
    flat = replace(sites[CONTROL, "a"], calibration=np.full((M, 1), value))
    known = covariates({**sites, (CONTROL, "a"): flat}, *texts)
    np.testing.assert_array_equal(known.held_out, usual.held_out[:, :1])
    np.testing.assert_array_equal(known.test, usual.test[:, :1])
    assert usual.needs and not known.needs


def test_only_what_is_offline_has_seen_a_stream(study):
    found, other = (table(study, shares=shares).set_index(["method", "share"]) for shares in ([0.0, 0.1], [0.2]))
    offline = found["needs"].str.contains("untrusted prompts")
    assert (offline == found.index.get_level_values("share").notna()).all()
    assert set(found.loc[offline, "setting"]) == {"offline"}
    assert found["setting"].xs("trusted").tolist() == ["online"]
    assert found["needs"].xs("nuisance").tolist() == ["trusted prompts, base model"]
    assert found["needs"].xs("weighted").tolist() == ["trusted prompts, base model, untrusted prompts"] * 2
    pd.testing.assert_frame_equal(found[~offline], other[other.index.get_level_values("share").isna()])
    shares = found["false_alarms"].xs("stream")
    assert shares[0.1] < shares[0.0]  # anomalies lift the threshold
    n = found["n_stream"].xs("stream")
    assert n.tolist() == [200, 222] and set(found["n_calibration"]) == {M}


def test_few_prompts_are_no_stream(study):
    sites, prompts, texts = study
    few = {
        key: SiteScores(s.names, s.rows[:30], s.values[:30], s.held_out[:50], s.calibration[:50])
        for key, s in sites.items()
    }
    found = table((few, prompts[:30], [texts[0][:30], texts[1][:50]]))
    assert set(found["method"]) == {"trusted", "nuisance", "labels"}
    assert found["nominal"].unique() == pytest.approx([1 / 51])
