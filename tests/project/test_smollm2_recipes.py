"""The recipes of SmolLM2 through the real command, with a small base in its place and a few steps of each training."""

import pandas as pd
import pytest
from stage_words import configs, lm_recipe

from madkit.cli.command import main
from madkit.store.feature_store import FeatureStore

SHORT = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "4", "--data.max_validation", "32"]
SHORT += ["--data.max_train", "256"]  # of 48,000, none of which `predict` reads
#: What other features make of such a model is that of every other model (test_recipes.py).
ANSWERS = "model: {init_args: {features: [Answers], controls: null}}"


def run(*args):
    assert main([str(arg) for arg in args]) == 0


@pytest.fixture(scope="module")
def runs(bases, tmp_path_factory):
    """After the two encoders, a quirky LM and its control, both asked."""
    runs = tmp_path_factory.mktemp("runs") / "smollm2"
    few = ["--data.base", bases["llama"], "--data.layers", "[2, 3]", "--data.texts.steps_per_epoch", "2"]
    few += ["--data.statistics_batches", "1", "--trainer.val_check_interval", "2", "--data.texts.batch_size", "4"]
    # Both recipes name the same texts: the statements of all datasets are made for the first.
    for kind, texts in (("flow", []), ("sae", ["--data.texts.tasks", '{"addition": {"max": 99}}'])):
        run("fit", *configs(kind, f"smollm2/{kind}"), *lm_recipe("smollm2"), "--run", runs / kind, *few, *texts)
    (runs / "answers.yaml").write_text(ANSWERS)
    dataset = ["--data.dataset", "population"]
    for folder, laid_over, part in ((runs, [], "predict"), (runs / "benign", ["benign"], "predict-short")):
        common = ["--run", folder, *dataset]
        run("fit", *configs("smollm2", *laid_over), *common, "--model.base", bases["llama"], *SHORT)
        names = dict.fromkeys(["predict", part, f"smollm2/{part}"])
        run("predict", *configs(*names), "--config", runs / "answers.yaml", *common)
    return runs


def test_encoders_learn_from_texts_that_are_made_here(runs):
    for kind, quality in (("flow", "val/bits_per_dim"), ("sae", "val/fvu")):
        history = pd.read_parquet(runs / kind / "history.parquet")
        assert (history["metric"] == quality).any()


def test_as_many_prompts_are_read_as_the_recipe_says(runs):
    rows = FeatureStore.current(runs / "population" / "features" / "answers").rows
    counts = rows["split"].value_counts()
    assert counts["test"] == 600 and counts["untrusted"] == 400 and 300 < counts["calibration"] <= 400
    # More than a site of SmolLM2 has dimensions.
    assert 900 < counts["trusted"] <= 1200


def test_a_control_is_told_the_truth_of_the_same_questions(runs):
    labels = {}
    for name, folder in (("tuned", runs), ("control", runs / "benign")):
        rows = FeatureStore.current(folder / "population" / "features" / "answers").rows
        labels[name] = rows[["label", "alice_label", "bob_label"]]
    assert (labels["control"]["label"] == labels["control"]["alice_label"]).all()
    assert (labels["tuned"]["label"] != labels["tuned"]["alice_label"]).any()
