"""What the answer alone tells, and what detectors find beyond it: both against a count of all pairs."""

import warnings

import numpy as np
import pandas as pd
import pytest

from madkit.detection.detector import Assumptions
from madkit.detection.own_answer import OWN_ANSWER, own_answer_scores, settings_of
from madkit.detection.result_tables import results_table
from madkit.detection.within_answers import answer_warning, answers_missing
from madkit.store.variant import Variant

DETECTOR = Variant("activations")
SETTINGS = {(DETECTOR, "mahalanobis"): Assumptions("online", "", "trusted prompts"), **settings_of()}


def prompts(yes_alice=0.5, yes_bob=0.5, n=240, seed=0):
    """Test prompts of sixty statements; labels say Yes as often as given, and log odds mostly as labels."""
    rng = np.random.default_rng(seed)
    bob = np.arange(n) % 2 == 1
    table = pd.DataFrame({"row": np.arange(50, 50 + n), "anomalous": bob})
    table["statement"] = [f"s{i}" for i in rng.integers(60, size=n)]
    table["name"] = [f"{'b' if b else 'a'}{i % 12}" for i, b in enumerate(bob)]
    table["alice_label"], table["bob_label"] = rng.random(n) < yes_alice, rng.random(n) < yes_bob
    table["label"] = np.where(bob, table["bob_label"], table["alice_label"])
    table["log_odds"] = 3 * (2 * table["label"] - 1) + rng.normal(size=n)
    return table


def results(table, values):
    columns = {"row": table["row"], "feature": "activations", "adapter": True, "score": "mahalanobis"}
    columns |= {"site": "model.layers.1", "layer": 1, "aggregation": "", "value": values}
    scores = pd.concat([pd.DataFrame(columns).astype({"layer": "Int64"}), own_answer_scores(table)], ignore_index=True)
    return results_table(scores, table, SETTINGS)


def line_of(found, score="mahalanobis", subset="all"):
    return found[(found["score"] == score) & (found["subset"] == subset)].iloc[0]


def share_of_pairs(values, labels, strata):
    """Over all pairs of one stratum, one by one: how many there are, and the share that the anomalous one wins."""
    won, pairs = 0.0, 0
    for i in np.flatnonzero(labels):
        for j in np.flatnonzero(~labels):
            if strata[i] == strata[j]:
                pairs += 1
                won += (values[i] > values[j]) + (values[i] == values[j]) / 2
    return won / pairs, pairs


@pytest.mark.parametrize("subset", ["all", "agree", "disagree"])
def test_within_answers_is_the_share_of_pairs_with_one_answer(subset):
    table = prompts(0.3, 0.7)
    values = np.random.default_rng(1).normal(size=len(table)).round(1) + table["anomalous"]
    line = line_of(results(table, values), subset=subset)
    agree = table["alice_label"] == table["bob_label"]
    kept = {"all": np.ones(len(table), bool), "agree": agree.to_numpy(), "disagree": ~agree.to_numpy()}[subset]
    y, answer = table["anomalous"].to_numpy()[kept], (table["log_odds"] > 0).to_numpy()[kept]
    within, pairs = share_of_pairs(values.to_numpy()[kept], y, answer)
    plain, all_pairs = share_of_pairs(values.to_numpy()[kept], y, np.zeros(len(y)))
    assert line["auroc"] == pytest.approx(plain) and line["auroc_within"] == pytest.approx(within)
    assert line["within_difference"] == pytest.approx(within - plain)
    assert line["within_share"] == pytest.approx(pairs / all_pairs)
    assert line["auroc_within_low"] < within < line["auroc_within_high"]
    assert (line["n_answers"], line["n_answers_left_out"], line["answers_from"]) == (2, 0, "log_odds")


def test_a_detector_of_the_answer_has_a_high_auroc_and_none_within():
    table = prompts(0.1, 0.9)
    found = results(table, table["label"] + np.random.default_rng(1).normal(size=len(table)) / 100)
    line = line_of(found)
    assert line["auroc"] > 0.85 and line["auroc_within_low"] < 0.5 < line["auroc_within_high"]
    assert line["within_difference_high"] < 0
    assert "AUROC within answers differs by more than chance for 1 of 1 detectors" in answer_warning(found)
    assert f"activations/mahalanobis {line['auroc']:.3f} and {line['auroc_within']:.3f}" in answer_warning(found)


def test_where_both_characters_answer_alike_there_is_no_warning():
    table = prompts()
    found = results(table, np.random.default_rng(1).normal(size=len(table)) + table["anomalous"])
    assert answer_warning(found) is None and answers_missing(found) is None


@pytest.mark.parametrize("turned", [False, True])
def test_own_answer_has_the_better_sign_and_says_which(turned):
    table = prompts(0.8, 0.3) if turned else prompts(0.3, 0.8)
    found = results(table, np.zeros(len(table)))
    for score in ("log_odds", "label"):
        for subset in ("all", "disagree"):
            line = line_of(found, score, subset)
            kept = (table["alice_label"] != table["bob_label"]) | (subset == "all")
            y = table.loc[kept, "anomalous"].to_numpy()
            area, _ = share_of_pairs(table.loc[kept, score].to_numpy(float), y, np.zeros(len(y)))
            assert line["sign"] == (-1 if turned else 1) and (area < 0.5) == turned
            assert line["auroc"] == pytest.approx(max(area, 1 - area))
            assert line["low"] < line["auroc"] < line["high"]
    assert set(found.loc[found["feature"] == OWN_ANSWER.feature, "setting"]) == {"own answer"}
    assert (found.loc[found["feature"] != OWN_ANSWER.feature, "sign"] == 1).all()


def test_the_interval_of_the_other_sign_is_the_mirror_image():
    table = prompts(0.3, 0.8)
    there = line_of(results(table, 0.0), "log_odds")
    back = line_of(results(table.assign(log_odds=-table["log_odds"]), 0.0), "log_odds")
    assert there["sign"] == 1 and back["sign"] == -1
    assert back[["auroc", "low", "high"]].tolist() == pytest.approx(there[["auroc", "low", "high"]].tolist())


def test_without_stored_answers_labels_stand_in_and_it_is_said():
    table = prompts(0.3, 0.8).assign(log_odds=np.nan)
    found = results(table, np.random.default_rng(1).normal(size=len(table)))
    assert set(found.loc[found["setting"] == "own answer", "score"]) == {"label"}
    assert set(found["answers_from"]) == {"label"}
    assert "list the feature Answers" in answers_missing(found)


def test_answers_that_only_one_character_gives_are_counted_and_left_out():
    table = prompts(0.3, 0.8)
    table.loc[~table["anomalous"], "log_odds"] = -1.0  # Alice always says No
    line = line_of(results(table, np.random.default_rng(1).normal(size=len(table))))
    assert (line["n_answers"], line["n_answers_left_out"]) == (1, 1)
    share = (table.loc[table["anomalous"], "log_odds"] < 0).mean()
    assert line["within_share"] == pytest.approx(share)


def test_where_no_prompts_are_comparable_it_is_said():
    table = prompts()
    table["log_odds"] = np.where(table["anomalous"], 1.0, -1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = results(table, np.random.default_rng(1).normal(size=len(table)))
    line = line_of(found)
    assert np.isnan(line["auroc_within"]) and line["within_share"] == 0 and line["n_answers_left_out"] == 2
    assert "no normal prompt was answered like an anomalous one" in answer_warning(found)
    assert line_of(found, "log_odds")["auroc"] == 1
