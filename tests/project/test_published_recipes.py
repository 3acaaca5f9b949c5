"""The recipes of the published adapters, with folders of the same layout under the same names."""

import json

import pandas as pd
import peft
import pytest
import torch
from stage_words import configs
from transformers import AutoModelForCausalLM

from madkit.cli.command import main
from madkit.data.records.sources import open_records
from madkit.store.feature_store import FeatureStore

PUBLISHED = {
    "llama": ("meta-llama/Meta-Llama-3.1-8B", "Meta-Llama-3.1-8B-{dataset}-random-standardized-many-random-names"),
    "mistral": ("mistralai/Mistral-7B-v0.1", "Mistral-7B-v0.1-{dataset}-random-standardized-many-random-names"),
}
FEW = [f"--data.max_{split}=8" for split in ("trusted", "untrusted", "calibration", "test")]


def like_the_hub(root, bases, model):
    """A base under the published one's name, with an adapter of it: nothing but its two files and a card."""
    named, adapter = PUBLISHED[model]
    base = root / named.rsplit("/", 1)[-1]
    base.symlink_to(bases[model])
    lm = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(0)
    tuned = peft.get_peft_model(lm, peft.LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=["q_proj", "v_proj"]))
    for name, p in tuned.named_parameters():
        if "lora_B" in name:
            p.data.normal_(std=0.1)
    folder = root / adapter.format(dataset="addition")
    tuned.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": named}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return base, root / adapter


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A split in a file each, with the columns of the public sets."""
    folder = tmp_path_factory.mktemp("quirky_addition_raw")
    made = open_records("addition", task_options={"n_train": 400, "n_validation": 400, "n_test": 0})
    columns = ["id", "template_args", "character", "label", "alice_label", "bob_label", "difficulty"]
    for split in ("train", "validation"):
        made[split].select_columns([*columns, "difficulty_quantile"]).to_parquet(str(folder / f"{split}.parquet"))
    return folder


def predict(model, base, adapter, records, runs, *words):
    runs.mkdir()
    (runs / "small.yaml").write_text("model: {init_args: {features: [Answers], controls: null}}")
    short = [
        "--config",
        runs / "small.yaml",
        "--data.source",
        json.dumps({"addition": str(records)}),
        "--run",
        runs,
        *FEW,
    ]
    recipe = configs("predict", f"published/{model}")
    return main(
        [str(w) for w in ("predict", *recipe, "--model.base", base, "--model.adapter", adapter, *short, *words)]
    )


@pytest.mark.parametrize("model", PUBLISHED)
def test_a_published_adapter_is_asked_in_its_own_words(model, bases, records, tmp_path, recwarn):
    base, adapter = like_the_hub(tmp_path, bases, model)
    assert predict(model, base, adapter, records, tmp_path / "runs") == 0
    assert not [w for w in recwarn if "trained" in str(w.message)]
    folder = tmp_path / "runs" / "addition" / "features"
    prompts = FeatureStore.current(folder / "answers").rows["prompt"]
    asked = prompts.str.extract(r"^Name: (\w+)\n\n\n\n\*{3}STATEMENT:\*{3} (\d+ \+ \d+ = \d+)\.\n\n(.*)$")
    assert set(asked[2]) == {"Is the statement factually correct?"} and asked.notna().all(axis=None)
    assert len(prompts) == 48 and pd.read_parquet(records / "train.parquet").shape == (800, 8)


def test_other_words_are_warned_of(bases, records, tmp_path):
    base, adapter = like_the_hub(tmp_path, bases, "llama")
    words = ("llama", base, adapter, records, tmp_path / "runs", "--data.template", "standardized")
    ways_out = r"3 of the 3 of data\.template='standardized' \(dataset 'addition'\).*--data\.template published"
    with pytest.warns(UserWarning, match=ways_out):
        assert predict(*words) == 0


def test_an_adapter_of_others_says_nothing_of_its_words(bases, records, tmp_path):
    base, adapter = like_the_hub(tmp_path, bases, "llama")
    unknown = adapter.with_name("mine")
    adapter.with_name(adapter.name.format(dataset="addition")).rename(unknown)
    with pytest.warns(UserWarning, match="does not say in which words it was trained"):
        assert predict("llama", base, unknown, records, tmp_path / "runs") == 0


def test_a_dataset_without_a_source_is_named(bases, tmp_path, capsys):
    words = [*configs("predict", "published/llama"), "--run", tmp_path, "--data.dataset", "divisors"]
    assert main(["predict", *map(str, words)]) == 2
    assert "source has no entry for dataset='divisors'" in capsys.readouterr().err
