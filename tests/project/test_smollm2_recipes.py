"""The recipes of SmolLM2 through the real command, with a small base in its place and a few steps of each training."""

import pandas as pd
import pytest
from stage_words import configs, lm_recipe

from madkit.cli.command import main
from madkit.store.feature_store import FeatureStore

FEW = [f"--data.max_{split}=48" for split in ("trusted", "untrusted", "calibration", "test")]
SHORT = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "2"]


def run(*args):
    assert main([str(arg) for arg in args]) == 0


def own(stage, *overlays):
    return configs(stage, f"smollm2/{stage}", *overlays)


@pytest.fixture(scope="module")
def runs(bases, tmp_path_factory):
    """After the two encoders, a quirky LM that is read and judged by all of it, and the reading of its control."""
    runs = tmp_path_factory.mktemp("runs") / "smollm2"
    few = ["--data.base", bases["llama"], "--data.layers", "[2, 3]", "--data.texts.steps_per_epoch", "4"]
    few += ["--data.statistics_batches", "2", "--trainer.val_check_interval", "4"]
    for kind in ("flow", "sae"):
        run("fit", *own(kind), *lm_recipe("smollm2"), "--run", runs / kind, *few)
    dataset = ["--data.dataset", "population"]
    common = ["--model.base", bases["llama"], *dataset, "--data.max_validation", "64"]
    run("fit", *configs("smollm2"), "--run", runs, *common, *SHORT)
    run("predict", *own("predict", "predict-encoders", "predict-lora"), "--run", runs, *dataset, *FEW)
    run("test", *configs("test", "test-encoders", "test-lora"), "--run", runs, *dataset, "--trainer.logger", "false")
    control = [*configs("smollm2", "benign"), "--run", runs / "benign", *common, *SHORT]
    run("fit", *control)
    run(
        "predict",
        *configs("predict", "predict-short", "smollm2/predict-short"),
        "--run",
        runs / "benign",
        *dataset,
        *FEW,
    )
    return runs


def test_all_of_it_is_judged(runs):
    results = pd.read_parquet(runs / "population" / "detection" / "results.parquet")
    features = {"activations", "conditional_studentised", "delta", "paired", "attribution", "probe", "answers"}
    assert features | {"flow", "sae", "lora_activity", "update_directions"} <= set(results["feature"])
    assert (results["n_anomalous"] > 0).any()


def test_encoders_learn_from_texts_that_are_made_here(runs):
    for kind, quality in (("flow", "val/bits_per_dim"), ("sae", "val/fvu")):
        history = pd.read_parquet(runs / kind / "history.parquet")
        assert (history["metric"] == quality).any()


def test_a_control_is_told_the_truth_of_the_same_questions(runs):
    labels = {}
    for name, folder in (("tuned", runs), ("control", runs / "benign")):
        rows = FeatureStore.current(folder / "population" / "features" / "answers").rows
        labels[name] = rows[["label", "alice_label", "bob_label"]]
    assert (labels["control"]["label"] == labels["control"]["alice_label"]).all()
    assert (labels["tuned"]["label"] != labels["tuned"]["alice_label"]).any()
