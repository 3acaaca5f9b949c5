"""Bases that are GGUF files: written here as llama.cpp lays them out, and read as the models that they hold."""

import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from madkit.errors import ConfigError
from madkit.lm import loading
from madkit.runs import fingerprints
from madkit.runs.gguf_base import base_folder

NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
WORDS = [*map(chr, range(33, 127)), "Ġ", "Ċ", "tr", "ue", "true", "<s>", "</s>"]
HEADS, GROUPS = 4, 2


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": len(WORDS)}
    heads = {"num_attention_heads": HEADS, "num_key_value_heads": GROUPS}
    ends = {"bos_token_id": len(WORDS) - 2, "eos_token_id": len(WORDS) - 1}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, **ends, max_position_embeddings=32)).eval()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MADKIT_CACHE", str(tmp_path / "cache"))


def interleaved(weight, heads):
    """Rows of a query or key matrix as llama.cpp has them: it turns neighbours, where transformers turns halves."""
    half = weight.shape[0] // heads // 2
    rows = [h * 2 * half + k * half + i for h in range(heads) for i in range(half) for k in (0, 1)]
    return weight[rows]


def write(path, model, quantised=False):
    config = model.config
    file = gguf.GGUFWriter(str(path), "llama")
    file.add_name("Some words that say what the model is")
    file.add_file_type(7 if quantised else 0)
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_block_count(config.num_hidden_layers)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_head_count(HEADS)
    file.add_head_count_kv(GROUPS)
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_rope_freq_base(10000.0)
    file.add_vocab_size(config.vocab_size)
    file.add_tokenizer_model("gpt2")
    file.add_token_list(WORDS)
    file.add_token_types([1] * (len(WORDS) - 2) + [3] * 2)
    file.add_token_merges(["t r", "u e", "tr ue"])
    file.add_bos_token_id(config.bos_token_id)
    file.add_eos_token_id(config.eos_token_id)
    for name, value in model.state_dict().items():
        x = value.numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            x = interleaved(x, HEADS if "q_proj" in name else GROUPS)
        parts = name.removeprefix("model.").removesuffix(".weight").split(".", 2)
        last = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
        theirs = f"blk.{parts[1]}.{NAMES[parts[2]]}" if parts[0] == "layers" else last[parts[0]]
        kind = None
        if quantised and x.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            x = gguf.quants.quantize(x, kind)
        file.add_tensor(f"{theirs}.weight", np.ascontiguousarray(x), raw_dtype=kind)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def logits(lm):
    with torch.no_grad():
        return lm(input_ids=torch.arange(10)[None]).logits


def test_it_is_the_model_that_it_was_made_of(model, tmp_path):
    path = write(tmp_path / "tiny.gguf", model)
    lm, tokenizer = loading.load_causal_lm(str(path)), loading.load_tokenizer(str(path))
    assert lm.dtype == torch.float32
    torch.testing.assert_close(logits(lm), logits(model), atol=1e-5, rtol=1e-4)
    assert tokenizer.convert_ids_to_tokens(tokenizer("true!", add_special_tokens=False)["input_ids"]) == ["true", "!"]
    # A folder with the file is the file, and what is in it decides which model it is.
    assert base_folder(str(tmp_path)) == base_folder(str(path))
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other" / "renamed.gguf"
    copy.write_bytes(path.read_bytes())
    assert fingerprints.fingerprint(str(copy)) == fingerprints.fingerprint(str(path))


def test_quantised_weights_are_those_that_the_file_says(model, tmp_path):
    lm = loading.load_causal_lm(str(write(tmp_path / "tiny.gguf", model, quantised=True)))
    assert lm.dtype == torch.bfloat16
    theirs, ours = (m.state_dict()["model.layers.1.mlp.down_proj.weight"].float() for m in (model, lm))
    # Eight bits for 32 values that share a scale, and then the eight bits of bfloat16.
    scale = theirs.reshape(-1, 32).abs().amax(1, keepdim=True) / 127
    allowed = (scale * 0.51 + theirs.reshape(-1, 32).abs() / 256).reshape(theirs.shape)
    assert ((ours - theirs).abs() <= allowed + 1e-6).all() and not torch.equal(ours, theirs)


def test_it_is_dequantised_once(model, tmp_path, monkeypatch):
    path = write(tmp_path / "tiny.gguf", model)
    folder = base_folder(str(path))
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    assert base_folder(str(path)) == folder
    path.write_bytes(b"GGUF, and then nothing")
    with pytest.raises(ConfigError, match="transformers cannot read this GGUF file"):
        base_folder(str(path))


def test_a_package_may_ship_it(model, tmp_path, monkeypatch):
    package = tmp_path / "shipped_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    write(package / "tiny.gguf", model)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert base_folder("package://shipped_weights") == base_folder("package://shipped_weights/tiny.gguf")
    with pytest.raises(ConfigError, match=r"has no 'small.gguf'; it has tiny.gguf"):
        base_folder("package://shipped_weights/small.gguf")
    with pytest.raises(ConfigError, match="no package 'unshipped' is installed"):
        base_folder("package://unshipped")
    (package / "second.gguf").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"has 2 GGUF files: name one of them, such as .*second.gguf"):
        base_folder("package://shipped_weights")


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file; for one on the hub write owner/name/file.gguf"):
        base_folder(str(tmp_path / "none.gguf"))
    assert base_folder("owner/name") == "owner/name"
