"""What `make figures` left behind is a study worth reading. Run after it, from the project's folder."""

import json
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("tiny-llama", "tiny-mistral")
ARITHMETIC = ("addition", "subtraction", "multiplication", "modularaddition", "squaring")
DATASETS = (*ARITHMETIC, "hemisphere", "population", "sentiment", "nli")


def summary(model, dataset):
    return json.loads((ROOT / "runs" / model / dataset / "detection" / "summary.json").read_text())


def results(model):
    return pd.concat(pd.read_parquet(ROOT / "runs" / model / d / "detection" / "results.parquet") for d in DATASETS)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_both_characters_behave_as_meant(model, dataset):
    found = summary(model, dataset)
    # Squares and products of small numbers are few statements, so that their intervals are wide.
    assert found["quirkiness"]["value"] > 0.5 and found["quirkiness"]["low"] > 0.2
    assert found["accuracy"]["alice"]["value"] > 0.7 and found["accuracy"]["bob"]["value"] > 0.7


@pytest.mark.parametrize("model", MODELS)
def test_most_datasets_are_clearly_quirky(model):
    """On another processor training takes another course, and squaring, with its few operands, may stay weaker."""
    assert sum(summary(model, dataset)["quirkiness"]["low"] > 1 for dataset in ARITHMETIC) >= 3


@pytest.mark.parametrize("model", MODELS)
def test_auroc_differs_between_layers_scores_and_datasets(model):
    found = results(model)
    quirky = found[found["adapter"] & (found["feature"] == "activations") & (found["subset"] == "all")]
    quirky = quirky[quirky["score"].isin(["mahalanobis", "lof"])]
    sites = quirky[quirky["aggregation"] == ""]
    assert sites.groupby("site")["auroc"].mean().max() > 0.8
    assert sites["auroc"].round(2).nunique() > 8
    spread = sites.groupby(["score", "dataset"])["auroc"].std()
    assert (spread > 0.002).all() and spread.mean() > 0.05


@pytest.mark.parametrize("model", MODELS)
def test_the_control_is_near_chance(model):
    found = results(model)
    control = found[~found["adapter"] & (found["subset"] == "all")]
    control = control[control["setting"] == "online"]
    assert abs(control[control["aggregation"] == "mean"]["auroc"].mean() - 0.5) < 0.1


def test_nothing_is_found_in_benign_models():
    found = pd.read_csv(ROOT / "figures" / "table_detectors.csv").dropna(subset=["benign_auroc"])
    assert len(found) == 7 * len(MODELS) and (found["benign_auroc_n_datasets"] == len(DATASETS)).all()
    assert found["benign_auroc"].between(0.45, 0.55).all()


def test_comparing_with_the_base_finds_more_than_any_published_detector():
    found = pd.read_csv(ROOT / "figures" / "table_detectors.csv")
    rows = found[(found["feature"] == "conditional_studentised") & (found["score"] == "mahalanobis")]
    assert set(rows["model"]) == set(MODELS) and (rows["auroc"] > 0.93).all() and (rows["same_datasets_low"] > 0).all()
    assert rows["higher"].sum() >= 13 and rows["worse"].sum() <= 2 and rows["n_runs"].sum() == 18


@pytest.mark.parametrize("model", MODELS)
def test_table1_has_every_feature(model):
    found = results(model)
    assert {"activations", "attribution", "probe", "flow", "sae", "answers"} <= set(found["feature"])


@pytest.mark.parametrize("model", MODELS)
def test_the_answer_does_not_tell_the_characters_apart(model):
    found = results(model)
    own = found[(found["setting"] == "own answer") & (found["subset"] != "agree")]
    assert set(own["score"]) == {"log_odds", "label"} and len(own) == 4 * len(DATASETS)
    # How sure an answer is may tell something where the two answer differently; which answer it is may not.
    limits = own["score"].map({"label": 0.6, "log_odds": 0.7})
    assert (own["auroc"] < limits).all(), own[["dataset", "score", "subset", "auroc"]]


@pytest.mark.parametrize("model", MODELS)
def test_encoders_have_learned(model):
    history = {kind: pd.read_parquet(ROOT / "runs" / model / kind / "history.parquet") for kind in ("flow", "sae")}
    bits = history["flow"].query("metric == 'val/bits_per_dim'")["value"]
    gaussian = history["flow"].query("metric == 'val/gaussian_bits_per_dim'")["value"]
    assert bits.min() < gaussian.min()
    assert history["sae"].query("metric == 'val/fvu'")["value"].min() < 0.3


def test_every_figure_is_there():
    names = {path.name for path in (ROOT / "figures").iterdir()}
    tables = ("1", "_aggregation", "_comparisons", "_detectors", "_rare_alarms", "_within_answers")
    for table in (f"table{name}" for name in tables):
        assert {f"{table}.md", f"{table}.csv"} <= names
    for model in MODELS:
        own = ["log_odds", "losses", "training"]
        own += ["auroc_by_layer_online", "auroc_by_layer_offline", "auroc_by_layer_ceiling"]
        for figure in own:
            # Many detectors take several pages.
            for kind in ("png", "pdf"):
                assert any(name.startswith(f"{figure}_{model}") and name.endswith(kind) for name in names)
    assert "auroc_vs_quirkiness_activations.png" in names
    assert "auroc_vs_separation_activations.png" in names
