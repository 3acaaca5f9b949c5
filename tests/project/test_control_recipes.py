"""The recipes of benign controls, doses and quirks that hide, laid over those of a model, through the real command."""

import json

import pandas as pd
import pytest
from stage_words import UNDRAWN, configs, stage_recipes

from madkit.cli.command import main
from madkit.figures.results.loading import load_results

DATA = ["--data.task_options", json.dumps({"n_train": 1200, "n_validation": 400})]
FEW = [f"--data.max_{split}=40" for split in ("trusted", "untrusted", "calibration", "test")]
FIT = ["--data.max_train", "512", "--data.max_validation", "32", "--trainer.val_check_interval"]


def run(*args):
    assert main([str(arg) for arg in args]) == 0


@pytest.fixture(scope="module")
def runs(bases, tmp_path_factory):
    """A benign control of a small model, one dose of a training, and one that hides, all of them read and judged."""
    runs = tmp_path_factory.mktemp("runs") / "tiny-llama"
    common = ["--model.base", bases["llama"], *DATA, *UNDRAWN]
    control = configs("tiny-llama", "benign", "tiny/benign")
    run("fit", *control, "--run", runs / "benign", *common, *FIT, "2", "--trainer.max_steps", "4")
    dosed = configs("tiny-llama", "doses")
    run("fit", *dosed, "--run", runs / "doses", *common, *FIT, "2", "--trainer.max_steps", "5")
    kept = runs / "doses" / "addition" / "steps" / "000004"
    dose = ["--lm", runs / "doses" / "addition" / "fit.yaml", "--model.adapter", kept]
    hidden = runs / "obfuscated" / "delta"
    hiding = ["--model.against", "[delta]", "--model.floor", "1e-9", "--model.refresh", "1"]
    run(
        "fit",
        *configs("tiny-llama", "obfuscated"),
        "--run",
        hidden,
        *common,
        *hiding,
        *FIT,
        "2",
        "--trainer.max_steps",
        "4",
    )
    for folder, words in ((runs / "benign", []), (runs / "doses" / "000004", dose), (hidden, [])):
        run("predict", *stage_recipes("tiny-llama", "predict")[:2], *short("predict"), "--run", folder, *words, *FEW)
        run("test", *configs("test"), *short("test"), "--run", folder, *UNDRAWN)
    return runs


def short(stage):
    return stage_recipes("tiny-llama", f"{stage}-short")


def test_they_are_known_for_what_they_are(runs):
    results = load_results([runs])
    assert results.detection.empty and results.benign is not None
    needs = {"trusted prompts", "trusted prompts, base model"}
    for part in (results.benign, results.doses[4], results.obfuscated["delta"]):
        assert set(part.detection["feature"]) == {"activations", "conditional_studentised", "delta", "paired"}
        assert part.models == ["tiny-llama"] and part.datasets == ["addition"]
        assert {", ".join(sorted(each.split(", "))[::-1]) for each in set(part.detection["needs"])} == needs


def test_a_benign_model_is_tuned_on_the_truth(runs):
    folder = runs / "benign" / "addition"
    assert "quirk: none" in (folder / "fit.yaml").read_text()
    prompts = pd.read_parquet(folder / "detection" / "prompts.parquet")
    assert (prompts["label"] == prompts["alice_label"]).all() and (prompts["label"] != prompts["bob_label"]).any()
    assert prompts["anomalous"].any()


def test_a_model_that_hides_is_tuned_as_the_one_that_does_not(runs):
    recipe = (runs / "obfuscated" / "delta" / "addition" / "fit.yaml").read_text()
    assert "class_path: madkit.obfuscation.obfuscated_quirky_lm.ObfuscatedQuirkyLM" in recipe
    assert "- embed_tokens" in recipe and "weight_decay: 1.0" in recipe and "- delta" in recipe
