"""Models are loaded from folders: all of their weights, or one line that says what is wrong."""

import json
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from madkit.errors import ConfigError
from madkit.lm import loading
from madkit.lm.new_lm import new_causal_lm, new_config
from madkit.lm.text_decoder import layer_names


def test_a_skeleton_has_the_names_and_no_memory(bases):
    lm = loading.skeleton(str(bases["gpt_neox"]))
    assert layer_names(lm)[3] == "gpt_neox.layers.3"
    assert all(p.is_meta for p in lm.parameters())


@pytest.fixture
def folder(bases, tmp_path):
    """A copy of a model, to be damaged."""
    return shutil.copytree(bases["llama"], tmp_path / "base")


def changed(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def refusal(folder, **options):
    with pytest.raises(ConfigError) as caught:
        loading.load_causal_lm(str(folder), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


LAYER = "model.layers.2.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop(LAYER), rf"the weight '{LAYER}' is not in its files, and would be random"),
        (lambda w: [w.pop(k) for k in list(w) if ".2." in k], "9 weights, the first of them 'model.layers.2.input_lay"),
        (lambda w: w.update({LAYER: torch.zeros(3, 4)}), rf"'{LAYER}' is of another shape .*\[3, 4\] and \[48, 32\]"),
        (lambda w: w.update({"model.layers.2.self_attn.q_proj.bias": torch.zeros(32)}), "has no place for it"),
        (lambda w: w.update({"model.layers.5.mlp.up_proj.weight": torch.zeros(48, 32)}), "has no place for it"),
        (lambda w: w[LAYER][0].fill_(torch.nan), f"the weight '{LAYER}' is NaN or infinite"),
        (lambda w: w["lm_head.weight"][7].fill_(-torch.inf), "the weight 'lm_head.weight' is NaN or infinite"),
    ],
)
def test_weights_are_all_there_and_numbers(folder, change, said):
    import re

    changed(folder, change)
    assert re.search(said, refusal(folder))


def test_what_is_computed_today_may_be_in_the_files(folder):
    changed(folder, lambda w: w.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loading.load_causal_lm(str(folder))
    changed(folder, lambda w: w.update({"v_head.summary.weight": torch.ones(4)}))
    with pytest.warns(UserWarning, match=r"'v_head.summary.weight' is in its files and no part of LlamaForCausalLM"):
        loading.load_causal_lm(str(folder))


def test_tied_embeddings_are_in_the_files_once(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    changed(folder, lambda w: w.pop("lm_head.weight"))
    lm = loading.load_causal_lm(str(folder))
    assert lm.get_output_embeddings().weight is lm.get_input_embeddings().weight


def test_damaged_and_missing_files_are_named(folder, tmp_path):
    copies = [shutil.copytree(folder, tmp_path / str(i)) for i in range(5)]
    cut(copies[0] / "model.safetensors")
    assert f"'{copies[0]}/model.safetensors' is truncated or damaged" in refusal(copies[0])
    (copies[1] / "model.safetensors").write_bytes(b"")
    assert "model.safetensors' is truncated or damaged" in refusal(copies[1])
    cut(copies[2] / "config.json")
    assert "config.json' is truncated or damaged" in refusal(copies[2])
    (copies[3] / "model.safetensors").unlink()
    assert "model.safetensors" in refusal(copies[3])
    torch.save({}, copies[3] / "pytorch_model.bin")
    assert "a pickle (pytorch_model.bin), which may run code" in refusal(copies[3])
    cut(copies[4] / "tokenizer.json")
    with pytest.raises(ConfigError, match=r"tokenizer.json' is truncated or damaged"):
        loading.load_tokenizer(str(copies[4]))
    assert "it is no local folder" in refusal("nowhere/nothing")


def test_attention_that_is_not_to_be_had_is_said_with_the_way_out(bases, tmp_path):
    from transformers import BloomConfig, BloomForCausalLM

    folder = tmp_path / "bloom"
    BloomForCausalLM(BloomConfig(hidden_size=16, n_layer=2, n_head=2, vocab_size=99)).save_pretrained(folder)
    for base, attention in ((folder, "sdpa"), (bases["llama"], "eagr"), (bases["llama"], "flash_attention_2")):
        message = refusal(base, attention=attention)
        assert (
            message.startswith(f"model.attention='{attention}' is not to be had") and "model.attention auto" in message
        )
    assert "models" not in refusal(folder, attention="sdpa", argument="models").split("'")[0]
    assert loading.attention_of(loading.load_causal_lm(str(folder))) == "eager"
    assert loading.attention_of(loading.load_causal_lm(str(bases["llama"]))) == "sdpa"


def test_options_of_a_new_architecture_that_do_not_fit(tmp_path):
    with pytest.raises(ConfigError, match=r"model.config.model_type='llamma' is not an architecture"):
        new_config({"model_type": "llamma"})
    with pytest.raises(ConfigError, match=r"model.config"):
        new_causal_lm(new_config({"model_type": "llama", "hidden_size": 30, "num_attention_heads": 4}))
    with pytest.raises(ConfigError, match=r"model.config"):
        new_config({"model_type": "llama", "hidden_size": "wide"})
