"""What `make figures` left behind is a study worth reading. Run after it, from the project's folder."""

import json
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("tiny-llama", "tiny-mistral")
DATASETS = ("addition", "subtraction", "multiplication", "modularaddition", "squaring")


def summary(model, dataset):
    return json.loads((ROOT / "runs" / model / dataset / "detection" / "summary.json").read_text())


def results(model):
    return pd.concat(pd.read_parquet(ROOT / "runs" / model / d / "detection" / "results.parquet") for d in DATASETS)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_both_characters_behave_as_meant(model, dataset):
    found = summary(model, dataset)
    assert found["quirkiness"]["low"] > 0.5
    assert found["accuracy"]["alice"]["value"] > 0.7 and found["accuracy"]["bob"]["value"] > 0.7


@pytest.mark.parametrize("model", MODELS)
def test_most_datasets_are_clearly_quirky(model):
    """On another processor training takes another course, and squaring, with its few operands, may stay weaker."""
    assert sum(summary(model, dataset)["quirkiness"]["low"] > 1 for dataset in DATASETS) >= 4


@pytest.mark.parametrize("model", MODELS)
def test_auroc_differs_between_layers_scores_and_datasets(model):
    found = results(model)
    quirky = found[(found["feature"] == "activations") & (found["subset"] == "all")]
    sites = quirky[quirky["aggregation"] == ""]
    assert sites.groupby("site")["auroc"].mean().max() > 0.8
    assert sites["auroc"].round(2).nunique() > 8
    assert (sites.groupby(["score", "dataset"])["auroc"].std() > 0.01).all()


@pytest.mark.parametrize("model", MODELS)
def test_the_control_is_near_chance(model):
    found = results(model)
    control = found[(found["feature"] == "base_activations") & (found["subset"] == "all")]
    assert abs(control[control["aggregation"] == "mean"]["auroc"].mean() - 0.5) < 0.1


def test_every_figure_is_there():
    names = {path.name for path in (ROOT / "figures").iterdir()}
    assert {"table1.md", "table1.csv"} <= names
    for model in MODELS:
        for figure in ("fig01-02_auroc_online", "fig05-06_log_odds", "fig09-10_losses", "training"):
            assert f"{figure}_{model}.png" in names and f"{figure}_{model}.pdf" in names
    assert "fig07_auroc_vs_quirkiness_activations.png" in names
    assert "fig11_auroc_vs_separation_activations.png" in names
