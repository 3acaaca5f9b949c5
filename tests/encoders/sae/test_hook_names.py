"""Names of tensors in published autoencoders: each is the tensor that the name stands for, whatever the model."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from madkit.encoders.encoder_site import hook_width
from madkit.encoders.sae.base_name import is_another_model
from madkit.encoders.sae.hook_names import hookpoint_named
from madkit.errors import ConfigError
from madkit.lm.hooks import Hookpoint, Reader, all_tokens
from madkit.lm.text_decoder import layer_names

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 30}
ROPE = {**SHAPE, "intermediate_size": 24, "num_key_value_heads": 1, "head_dim": 6}
OPTIONS = {
    "llama": ROPE,
    "gemma2": ROPE,
    "gpt_neox": {**SHAPE, "intermediate_size": 24},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 30},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2, "vocab_size": 30},
}
MODELS = {}


def model(family):
    if family not in MODELS:
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **OPTIONS[family])
        MODELS[family] = AutoModelForCausalLM.from_config(config).eval()
    return MODELS[family]


def read(lm, *hooks):
    points = [hookpoint_named(hook, lm) for hook in hooks]
    with torch.no_grad(), Reader(lm, points, stop=False, keep=all_tokens) as reader:
        lm(torch.arange(8).view(1, 8))
    return [reader.values[point] for point in points]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox", "gpt2"])
def test_what_enters_a_layer_and_what_its_parts_write_is_what_leaves_it(family):
    lm = model(family)
    names = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
    before, attention, mlp, after = read(lm, *(f"blocks.1.{name}" for name in names))
    torch.testing.assert_close(before + attention + mlp, after)
    assert float(attention.abs().max()) > 0 and float(mlp.abs().max()) > 0


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_what_heads_give_is_what_the_output_map_takes(family):
    lm = model(family)
    point = hookpoint_named("blocks.0.attn.hook_z", lm)
    (z,) = read(lm, "blocks.0.attn.hook_z")
    assert z.shape[-1] == hook_width(lm, point) == {"llama": 12, "gemma2": 12, "gpt2": 16}[family]
    output = lm.get_submodule(point.module)(z)
    (written,) = read(lm, point.module)
    torch.testing.assert_close(output, written)


def test_modules_go_by_the_names_of_transformers():
    lm = model("llama")
    layer = layer_names(lm)[1]
    for name in ("layers.1", "model.layers.1", "model.language_model.layers.1.output"):
        assert hookpoint_named(name, lm) == Hookpoint(layer, "output")
    assert hookpoint_named("layers.1.mlp", lm) == Hookpoint(f"{layer}.mlp", "output")
    assert hookpoint_named("model.layers.1.self_attn.o_proj.input", lm) == Hookpoint(
        f"{layer}.self_attn.o_proj", "input"
    )
    assert hookpoint_named("h.1", model("gpt2")) == Hookpoint("transformer.h.1", "output")


@pytest.mark.parametrize(
    ("family", "hook", "says"),
    [
        ("llama", "blocks.2.hook_resid_post", r"layers 0\.\.1"),
        ("llama", "blocks.1.ln2.hook_normalized", "knows no tensor"),
        ("llama", "hook_embed", "is no module of LlamaForCausalLM"),
        ("llama", "layer_20", "is no module of LlamaForCausalLM"),
        ("bloom", "blocks.1.hook_mlp_out", "knows no tensor"),  # its MLP gives out the residual stream
    ],
)
def test_what_madkit_does_not_know_is_an_error(family, hook, says):
    with pytest.raises(ConfigError, match=says):
        hookpoint_named(hook, model(family))


@pytest.mark.parametrize(
    ("named", "base", "differs"),
    [
        ("gpt2-small", "openai-community/gpt2", False),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B", False),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", True),
        ("google/gemma-2-2b", "EleutherAI/pythia-70m", True),
        ("gemma-2-2b", "{folder}/checkpoint", False),
        ("gemma-2-2b", "{folder}/gemma-2-2b", False),
        ("gemma-2-2b", "{folder}/gemma-2-9b", True),
        ("", "google/gemma-2-2b", False),
    ],
)
def test_models_differ_where_names_say_so(tmp_path, named, base, differs):
    path = tmp_path / base.removeprefix("{folder}/")
    if base.startswith("{folder}"):
        path.mkdir()
        base = str(path)
    assert is_another_model(named, base) is differs
