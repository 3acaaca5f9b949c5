"""Architectures of transformers with random weights: what is read of each is what it computes, or a line refuses it.

Each is loaded from a folder. Logits, what enters the layers, the gradient of a training step, answers, attribution and
what volumes compare are held against plain forward passes of each prompt by itself.
"""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig

from madkit.errors import ConfigError
from madkit.extraction.forward_pass import trace
from madkit.features import Activations, Answers, Attribution
from madkit.lm import forward, loading
from madkit.lm.new_lm import new_causal_lm
from madkit.lm.text_decoder import layer_names, position_limit
from madkit.volume.lm.divergence import original_logits

SIZE = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
#: Used where a configuration has such an option.
SMALL = {
    "moe_intermediate_size": 16, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "head_dim": 8, "mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8,
    "mamba_d_state": 8, "mamba_chunk_size": 8, **LINEAR,
}  # fmt: skip
TEXT = {**SIZE, "head_dim": 8}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
          "image_size": 56, "patch_size": 14}  # fmt: skip
MLA = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
       "num_key_value_heads": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}  # fmt: skip
#: With the options of `SIZE` and `SMALL`.
PLAIN = (
    "afmoe", "apertus", "arcee", "biogpt", "bitnet", "bloom", "cohere", "cohere2", "ctrl", "cwm", "diffllama", "doge",
    "ernie4_5", "ernie4_5_moe", "exaone4", "falcon_h1", "falcon_mamba", "flex_olmo", "gemma", "gemma2", "gemma3_text",
    "glm", "glm4", "glm4_moe", "gpt2", "gpt_bigcode", "gpt_neox", "gpt_neox_japanese", "gpt_oss", "granite",
    "granitemoe", "helium", "hunyuan_v1_dense", "jamba", "jetmoe", "lfm2", "llama", "mamba", "minimax", "ministral",
    "mistral", "mixtral", "modernbert-decoder", "mpt", "nanochat", "nemotron", "olmo", "olmo2", "olmo3", "olmoe",
    "openai-gpt", "opt", "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_5_text",
    "qwen3_moe", "qwen3_next", "recurrent_gemma", "rwkv", "seed_oss", "smollm3", "stablelm", "starcoder2",
    "vaultgemma", "xglm", "xlstm",
)  # fmt: skip
OPTIONS = {
    **{name: {} for name in PLAIN},
    "codegen": {"n_embd": 32, "n_layer": 3, "n_head": 4, "rotary_dim": 8, "n_positions": 64, "vocab_size": 99},
    "gptj": {"n_embd": 32, "n_layer": 3, "n_head": 4, "rotary_dim": 8, "n_positions": 64, "vocab_size": 99},
    "gpt_neo": {"hidden_size": 32, "num_layers": 3, "num_heads": 4, "vocab_size": 99, "max_position_embeddings": 64,
                "attention_types": [[["global", "local", "global"], 1]], "window_size": 8},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 99},
    "dbrx": {"d_model": 32, "n_heads": 4, "n_layers": 3, "max_seq_len": 64, "vocab_size": 99,
             "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2},
             "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0}},
    "deepseek_v3": {**SIZE, **MLA, "moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "mamba2": {"hidden_size": 32, "num_hidden_layers": 3, "vocab_size": 99, "num_heads": 8, "head_dim": 8,
               "state_size": 8, "n_groups": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 1},
    "gemma3": {"text_config": {**TEXT, "sliding_window": 8}, "vision_config": VISION, "mm_tokens_per_image": 4},
    "qwen3_5": {"text_config": {**TEXT, **LINEAR}},
    "mistral3": {"text_config": {"model_type": "mistral", **TEXT},
                 "vision_config": {"model_type": "pixtral", **VISION}},
    "llava": {"text_config": {"model_type": "llama", **TEXT},
              "vision_config": {"model_type": "clip_vision_model", **VISION}},
    "llama4": {"text_config": {**TEXT, "intermediate_size_mlp": 48, "num_local_experts": 2},
               "vision_config": {**VISION, "vision_output_dim": 32, "projector_input_dim": 32,
                                 "projector_output_dim": 32}},
}  # fmt: skip
#: Those that give other numbers for a padded prompt, and are read one prompt at a time.
READING_PADDING = {"recurrent_gemma", "rwkv", "xlstm"}


def make(family):
    torch.manual_seed(0)
    options = OPTIONS[family]
    if not options:
        blank = AutoConfig.for_model(family)
        options = {**SIZE, **{key: value for key, value in SMALL.items() if hasattr(blank, key)}}
    try:
        lm = new_causal_lm(AutoConfig.for_model(family, **options))
    except Exception as error:  # a version of transformers that lacks the family, or names its options otherwise
        pytest.skip(f"{family}: {type(error).__name__}: {error}".split("\n")[0])
    with torch.no_grad():
        for name, p in lm.named_parameters():
            if p.ndim == 2:
                p.mul_(4)
            elif name.endswith("bias"):
                p.normal_(0, 0.1)
    return lm


def batch_of(lengths):
    generator = torch.Generator().manual_seed(1)
    ids = torch.full((len(lengths), max(lengths)), 5000)  # no token of any model
    mask = torch.zeros_like(ids)
    for row, n in enumerate(lengths):
        ids[row, -n:] = torch.randint(2, 60, (n,), generator=generator)
        mask[row, -n:] = 1
    return {"input_ids": ids, "attention_mask": mask, "choices": torch.tensor([[5, 9]]).repeat(len(lengths), 1)}


def close(ours, theirs, tolerance=1e-3):
    assert float((ours - theirs).norm()) <= tolerance * max(float(theirs.norm()), 1e-6)


@pytest.mark.parametrize("family", sorted(OPTIONS))
def test_what_is_read_is_what_the_model_computes(family, tmp_path):
    make(family).save_pretrained(tmp_path)
    lm = loading.load_causal_lm(str(tmp_path), dtype="float32")
    if family in READING_PADDING:
        with pytest.raises(ConfigError, match="is padded"):
            batch = batch_of((9, 5))
            forward.hidden_states(lm, batch["input_ids"], batch["attention_mask"], padded=True)
    batch = batch_of((9,) if family in READING_PADDING else (9, 5, 7))
    features = [Activations(step=1), Answers(), *_attribution(lm)]
    traces = trace(lm, features, {f.name: f.hookpoints(lm) for f in features}, batch)
    values = {f.name: f(traces[f.name]) for f in features}
    lm.requires_grad_(True)
    prompts = [ids[mask.bool()][None] for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    outputs = [lm(input_ids=ids, output_hidden_states=True, use_cache=False) for ids in prompts]
    logits = torch.stack([output.logits[0, -1] for output in outputs])
    close(values["answers"]["logits"], logits[:, [5, 9]].detach())
    for number, layer in list(enumerate(layer_names(lm)))[1:]:
        reported = [torch.stack([o.hidden_states[i][0, -1] for o in outputs]).detach() for i in (number, number - 1)]
        # Mamba's kind report what leaves a layer.
        assert any(torch.allclose(values["activations"][layer], x, rtol=1e-3, atol=1e-4) for x in reported)
    for feature in features[2:]:
        _check_attribution(lm, feature, prompts, values[feature.name])
    with torch.no_grad():
        close(original_logits(lm, batch, "tokens"), torch.cat([o.logits[0] for o in outputs]).detach())
    _check_training_step(lm, batch, logits)
    _check_long_prompt(lm)


def _attribution(lm):
    feature = Attribution("zero", step=1)
    try:
        feature.hookpoints(lm)
    except ConfigError as error:
        assert "leave the feature out" in str(error)
        return []
    return [feature]


def _check_attribution(lm, feature, prompts, values):
    for layer, point in zip(feature.sites(lm), feature.hookpoints(lm), strict=True):
        for row, ids in enumerate(prompts):
            seen = []
            handle = lm.get_submodule(point.module).register_forward_pre_hook(lambda _, args, s=seen: s.append(args[0]))
            logits = lm(input_ids=ids, use_cache=False).logits[0, -1]
            handle.remove()
            (gradient,) = torch.autograd.grad(logits[9] - logits[5], seen)
            heads = values[layer].shape[1]
            close(values[layer][row], -(seen[0] * gradient)[0, -1].detach().view(heads, -1).sum(1), 1e-2)


def _check_training_step(lm, batch, logits):
    rows, width = batch["input_ids"].shape
    answers = torch.arange(rows) + 11
    named = [(name, p) for name, p in lm.named_parameters() if p.requires_grad]
    theirs = torch.autograd.grad(cross_entropy(logits, answers), [p for _, p in named], allow_unused=True)
    last = torch.arange(1, rows + 1) * width - 1
    padded = forward.checked_padding(lm, batch)
    states = forward.states_at(lm, batch["input_ids"], batch["attention_mask"], last, padded=padded)
    ours = torch.autograd.grad(
        cross_entropy(forward.logits_of(lm, states), answers), [p for _, p in named], allow_unused=True
    )
    total = torch.cat([g.flatten() for g in theirs if g is not None]).norm()
    for (name, _), x, y in zip(named, ours, theirs, strict=True):
        difference = (0 if x is None else x) - (0 if y is None else y)
        assert isinstance(difference, int) or float(difference.norm()) <= 1e-3 * float(total), name


def _check_long_prompt(lm):
    """A prompt beyond a table of positions is refused; where positions are computed, it is read."""
    limit = position_limit(lm) or 64
    ids = torch.full((1, limit + 1), 7)
    try:
        forward.hidden_states(lm, ids, torch.ones_like(ids), padded=False)
        assert position_limit(lm) is None
    except ConfigError as error:
        assert "max_length" in str(error)
