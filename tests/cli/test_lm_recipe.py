"""What a stage takes over from the recipe of its language model, and who has the last word."""

import json

import pytest
import yaml
from stage_words import RECIPES, configs, resolved

from madkit.cli.lm_recipe import with_lm_recipe
from madkit.errors import ConfigError


@pytest.fixture
def run(tmp_path):
    """A run folder of a fit that has ended."""
    folder = tmp_path / "runs" / "mine" / "squaring"
    folder.mkdir(parents=True)
    model = {"class_path": "QuirkyLM", "init_args": {"base": "a/base", "dtype": "bfloat16", "warmup": 0.5}}
    prompts = {"dataset": "squaring", "template": "first", "predict_batch_size": 7, "seed": 3}
    recipe = {"model": model, "data": {"class_path": "QuirkyData", "init_args": prompts}, "trainer": {"max_epochs": 3}}
    (folder / "fit.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "fit.json").write_text("{}")
    return folder.parent


def taken_over(*words):
    """The recipe that is put before the others."""
    stage, option, text, *rest = with_lm_recipe(words)
    assert [stage, *rest] == list(words) and option == "--config"
    return json.loads(text)


def test_predict_reads_the_model_and_the_prompts_of_the_fit(run):
    added = taken_over("predict", *configs("predict"), "--run", str(run), "--data.dataset=squaring")
    assert added["model"] == {"class_path": "Extractor", "init_args": {"base": "a/base", "dtype": "bfloat16"}}
    assert added["data"]["class_path"] == "QuirkyData"
    expected = {"dataset": "squaring", "template": "first", "predict_batch_size": 7, "seed": 3}
    assert added["data"]["init_args"] == expected


def test_a_class_takes_the_options_that_it_has(run):
    added = taken_over("predict", *configs("encoders-stored"), "--run", str(run), "--data.dataset", "squaring")
    assert added["model"] == {"class_path": "StoredExtractor", "init_args": {"base": "a/base"}}
    expected = {"dataset": "squaring", "predict_batch_size": 7}
    assert added["data"] == {"class_path": "StoredShards", "init_args": expected}


def test_encoders_take_the_base_of_the_recipe_that_is_named():
    for model, base in (("llama", "meta-llama/Llama-3.1-8B"), ("tiny-mistral", "bases/tiny-mistral")):
        added = taken_over("fit", *configs("flow"), "--lm", str(RECIPES / f"{model}.yaml"), "--run", "runs/x/flow")
        assert added["data"]["class_path"] == "ActivationData"
        dtype = "bfloat16" if model == "llama" else "float32"
        assert added["data"]["init_args"] == {"base": base, "dtype": dtype}
        assert added["model"] == {"class_path": "FlowEncoder", "init_args": {}}


def test_the_command_line_has_the_last_word(run):
    words = ["--run", str(run), "--data.dataset", "squaring", "--model.base", "my/base", "--data.template", "mixture"]
    recipe = resolved("predict", *configs("predict"), *words)
    assert recipe["model"]["init_args"]["base"] == "my/base"
    assert recipe["model"]["init_args"]["dtype"] == "bfloat16"
    prompts = recipe["data"]["init_args"]
    assert (prompts["template"], prompts["dataset"], prompts["seed"]) == ("mixture", "squaring", 3)


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_other_stages_take_nothing_over_unasked(run, stage):
    recipe = {"fit": "llama", "test": "test"}[stage]
    words = [stage, *configs(recipe), "--run", str(run), "--data.dataset", "squaring"]
    assert with_lm_recipe(words) == words


def test_prompts_of_another_dataset_are_never_guessed(run):
    with pytest.raises(ConfigError, match=r"nli/fit.yaml.*madkit fit"):
        with_lm_recipe(["predict", *configs("predict"), "--run", str(run), "--data.dataset", "nli"])


def test_a_recipe_that_says_everything_needs_no_fit(tmp_path):
    words = ["predict", *configs("predict"), "--run", str(tmp_path), "--model.base", "a/base", "--data", "QuirkyData"]
    assert resolved(*words)["data"]["init_args"]["template"] == "standardized"


def test_a_fit_that_was_interrupted_is_not_read(run):
    (run / "squaring" / "fit.json").unlink()
    words = ["predict", *configs("predict"), "--run", str(run), "--data.dataset", "squaring"]
    with pytest.raises(ConfigError, match="has not ended"):
        with_lm_recipe(words)
    assert taken_over(*words, "--model.adapter", "some/adapter")["model"]["init_args"]["base"] == "a/base"
