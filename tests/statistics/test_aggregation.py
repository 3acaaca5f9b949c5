"""Ways to aggregate over sites, by brute force and by what must not change them; the ceiling; tidy tables."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from madkit.detection.result_tables import Site, comparisons, long_table, results
from madkit.detection.supervised_probe import probe
from madkit.errors import DataError
from madkit.statistics import aggregate, auroc
from madkit.statistics.aggregation import AGGREGATIONS, CALIBRATED

numbers = st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None)
@given(scores=numbers, calibration=numbers)
def test_ranks_and_fisher_by_counting(scores, calibration):
    n = len(calibration)
    ranks, fisher = [], []
    for row in scores:
        columns = [[held[j] for held in calibration] for j in range(3)]
        below = [sum(h < s for h in held) + sum(h == s for h in held) / 2 for s, held in zip(row, columns, strict=True)]
        p = [(1 + sum(h >= s for h in held)) / (1 + n) for s, held in zip(row, columns, strict=True)]
        ranks.append(sum(below) / n / 3)
        fisher.append(-2 * sum(map(math.log, p)))
    np.testing.assert_allclose(aggregate("rank", scores, calibration), ranks, rtol=1e-12)
    np.testing.assert_allclose(aggregate("fisher", scores, calibration), fisher, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("way", CALIBRATED)
def test_calibrated_scores_do_not_depend_on_a_sites_scale(way):
    rng = np.random.default_rng(0)
    scores, calibration = rng.normal(size=(50, 4)), rng.normal(size=(30, 4))
    scale, shift = np.array([1, 1e6, 1e-6, 10.0]), np.array([0, -5, 3, 1e3])
    moved = aggregate(way, scores * scale + shift, calibration * scale + shift)
    np.testing.assert_allclose(moved, aggregate(way, scores, calibration), rtol=1e-6)
    # The raw mean is ruled by the site with the largest numbers.
    raw = aggregate("mean", scores * scale + shift)
    assert np.corrcoef(raw, scores[:, 1])[0, 1] > 0.999


def test_ranks_are_blind_to_monotone_maps_and_zscore_is_the_plain_formula():
    rng = np.random.default_rng(1)
    scores, calibration = rng.normal(size=(20, 3)), rng.normal(size=(40, 3))
    for way in ("rank", "fisher"):
        np.testing.assert_allclose(
            aggregate(way, np.exp(scores), np.exp(calibration)), aggregate(way, scores, calibration), rtol=1e-12
        )
    z = (scores - calibration.mean(0)) / np.std(calibration, axis=0, ddof=1)
    np.testing.assert_allclose(aggregate("zscore", scores, calibration), z.mean(1), rtol=1e-12)
    np.testing.assert_allclose(aggregate("max", scores), scores.max(1))


def test_a_weak_large_site_does_not_hide_a_strong_small_one():
    rng = np.random.default_rng(2)
    labels = np.arange(400) % 2
    scores = np.stack([rng.normal(size=400) + 2 * labels, 1e4 * rng.normal(size=400)], axis=1)
    calibration = np.stack([rng.normal(size=200), 1e4 * rng.normal(size=200)], axis=1)
    raw = auroc(aggregate("mean", scores), labels).value
    for way in CALIBRATED:
        assert auroc(aggregate(way, scores, calibration), labels).value > raw + 0.2


@pytest.mark.parametrize(
    ("way", "scores", "calibration", "named"),
    [
        ("median", [[1.0]], None, "unknown aggregation; choose from mean, max"),
        ("mean", [1.0], None, "must be finite numbers, \\(n, sites\\)"),
        ("mean", [[np.nan]], None, "must be finite"),
        ("rank", [[1.0]], None, "rank needs scores of held-out trusted prompts and has 0"),
        ("rank", [[1.0]], [[1.0]], "has 1"),
        ("fisher", [[1.0, 2.0]], [[1.0], [2.0]], r"must be finite, \(m, 2\)"),
        ("zscore", [[1.0]], [[2.0], [2.0]], "all calibration scores are equal; use rank"),
    ],
)
def test_bad_input_is_named(way, scores, calibration, named):
    with pytest.raises(DataError, match=named):
        aggregate(way, scores, calibration)


# ---------------------------------------------------------------- the ceiling


def speakers(n=600, d=8, gap=0.0, seed=0, twins=False):
    """Vectors in which every speaker has a place of their own, and Bobs lie `gap` further along one direction."""
    rng = np.random.default_rng(seed)
    who = rng.integers(24, size=n)
    bob = who >= 12
    places = 3 * rng.normal(size=(24, d))
    if twins:
        # The four Alices and the four Bobs of every block are the same four places.
        places = np.concatenate([places[:4]] * 6) + 0.1 * rng.normal(size=(24, d))
    x = rng.normal(size=(n, d)) + places[who]
    x[:, 0] = rng.normal(size=n) + gap * bob
    return x, bob, who


def test_the_ceiling_finds_a_direction_and_does_not_pass_by_names():
    x, bob, names = speakers(gap=3)
    assert auroc(probe(x, bob, names), bob).value > 0.9
    # Told the names apart it would know all; held-out names keep it near chance.
    blind = [speakers(gap=0, seed=seed) for seed in range(8)]
    assert abs(np.mean([auroc(probe(*one), one[1]).value for one in blind]) - 0.5) < 0.1
    x, bob, _ = blind[0]
    assert auroc(probe(x, bob, np.arange(len(x))), bob).value > 0.65


def test_the_ceiling_is_at_chance_where_every_name_has_a_twin():
    """Left out one by one, a name would be judged by its twin of the other kind, and always wrongly."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

    found, alone = [], []
    for seed in range(4):
        x, bob, names = speakers(seed=seed, twins=True)
        found.append(auroc(probe(x, bob, names), bob).value)
        model, options = LogisticRegression(C=100), {"cv": LeaveOneGroupOut(), "method": "decision_function"}
        alone.append(auroc(cross_val_predict(model, x, bob, groups=names, **options), bob).value)
    assert abs(np.mean(found) - 0.5) < 0.1
    assert np.mean(alone) < 0.3


def test_the_ceiling_is_scikit_learns_regression_on_held_out_names():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, bob, names = speakers(gap=1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = PredefinedSplit(names % 12 // 4)
    expected = cross_val_predict(model, x, bob, cv=folds, method="decision_function")
    np.testing.assert_allclose(probe(x, bob, names), expected, rtol=1e-6, atol=1e-9)


def test_the_ceiling_needs_two_names_of_a_kind():
    x, bob, _ = speakers()
    with pytest.raises(DataError, match="two names or more of each kind, there are 1 normal"):
        probe(x, bob, bob.astype(int))


# ---------------------------------------------------------------- tables


def study(n=80):
    rng = np.random.default_rng(0)
    anomalous = np.arange(n) % 2 == 1
    prompts = pd.DataFrame({"row": np.arange(100, 100 + n), "anomalous": anomalous})
    prompts["alice_label"] = rng.random(n) < 0.5
    prompts["bob_label"] = prompts["alice_label"] ^ (rng.random(n) < 0.5)
    prompts = prompts.set_index("row", drop=False)
    sites = {}
    for site in ("model.layers.1", "model.layers.2"):
        values = rng.normal(size=(n, 2)) + np.array([1.5, 0.0]) * anomalous[:, None]
        sites["activations", site] = Site(
            ["good", "bad"], prompts["row"].to_numpy(), values, np.arange(30), rng.normal(size=(30, 2))
        )
    return sites, prompts


def test_tables_hold_every_statistic_of_every_detector():
    from sklearn.metrics import average_precision_score, roc_auc_score

    sites, prompts = study()
    table = long_table(sites, list(AGGREGATIONS), {"model.layers.1": 1, "model.layers.2": 2})
    found = results(table, prompts, {("activations", name): ("online", "") for name in ("good", "bad")})
    assert len(found) == 2 * (2 + len(AGGREGATIONS)) * 3
    assert not found.isna().drop(columns="layer").any().any()
    line = found[(found["score"] == "good") & (found["site"] == "model.layers.2") & (found["subset"] == "all")].iloc[0]
    values, labels = sites["activations", "model.layers.2"].values[:, 0], prompts["anomalous"]
    assert line["auroc"] == pytest.approx(roc_auc_score(labels, values))
    assert line["partial_auroc"] == pytest.approx(roc_auc_score(labels, values, max_fpr=0.01))
    assert line["average_precision"] == pytest.approx(average_precision_score(labels, values))
    for name in ("partial_auroc", "tpr", "average_precision"):
        assert (found[f"{name}_low"] <= found[name]).all() and (found[name] <= found[f"{name}_high"]).all()


def test_comparisons_are_paired_and_adjusted():
    from madkit.statistics import compare, holm

    sites, prompts = study()
    table = long_table(sites, ["mean", "rank"], {"model.layers.1": 1, "model.layers.2": 2})
    found = comparisons(table, prompts)
    assert set(found["aggregation"]) == {"mean", "rank"} and set(found["subset"]) == {"all", "agree", "disagree"}
    own = [site.values.T for site in sites.values()]
    good, bad = np.mean(own, axis=0)
    line = found[(found["aggregation"] == "mean") & (found["subset"] == "all")].iloc[0]
    expected = compare(good, bad, prompts["anomalous"])
    assert (line["a"], line["b"]) == ("activations/good", "activations/bad")
    assert line["difference"] == pytest.approx(expected.difference) and line["p_value"] == pytest.approx(
        expected.p_value
    )
    assert line["p_holm"] == pytest.approx(holm([expected.p_value])[0])


def test_what_cannot_be_aggregated_is_left_out_and_said():
    sites, _ = study()
    flat = {
        key: Site(site.names, site.rows, site.values, site.held_out, np.ones_like(site.calibration))
        for key, site in sites.items()
    }
    with pytest.warns(UserWarning, match="not aggregated by zscore"):
        table = long_table(flat, ["zscore", "rank"], {"model.layers.1": 1, "model.layers.2": 2})
    assert set(table["aggregation"]) == {"", "rank"}
