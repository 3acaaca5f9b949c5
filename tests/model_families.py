"""Small random models of the families in docs/models.md, with sharp weights, and prompts of unequal length for them."""

from typing import NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM

TOKENS = {"vocab_size": 97, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
SIZE = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 64, **TOKENS,
}  # fmt: skip
GROUPED = {**SIZE, "num_key_value_heads": 1}
WIDE = {**GROUPED, "head_dim": 8}
WINDOW = {**WIDE, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56,
    "patch_size": 14,
}  # fmt: skip
OLD = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, **TOKENS}
FALCON = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, **TOKENS}


class Family(NamedTuple):
    """An architecture, and where its parts are."""

    kind: str
    options: dict
    layers: str = "model.layers"
    projection: str | None = "self_attn.o_proj"
    """The output projection of attention; None where there is no attention."""


#: By their names in docs/models.md.
FAMILIES = {
    "Llama": Family("llama", GROUPED),
    "Mistral": Family("mistral", {**GROUPED, "sliding_window": 4}),  # shorter than the prompts
    "Mixtral": Family("mixtral", {**GROUPED, "num_local_experts": 4}),
    "Qwen2": Family("qwen2", {**GROUPED, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "Qwen3": Family("qwen3", WIDE),
    "Gemma": Family("gemma", WIDE),
    "Gemma 2": Family(
        "gemma2",
        {**WINDOW, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 8},
    ),
    "Gemma 3": Family("gemma3_text", WINDOW),
    "Gemma 3, multimodal": Family(
        "gemma3",
        {"text_config": WINDOW, "vision_config": VISION, "mm_tokens_per_image": 4},
        "model.language_model.layers",
    ),
    "Phi": Family("phi", SIZE, projection="self_attn.dense"),
    "Phi-3": Family("phi3", GROUPED),
    "OPT": Family(
        "opt", {**SIZE, "ffn_dim": 24, "word_embed_proj_dim": 8}, "model.decoder.layers", "self_attn.out_proj"
    ),
    "GPT-2": Family("gpt2", OLD, "transformer.h", "attn.c_proj"),
    "GPT-J": Family("gptj", {**OLD, "rotary_dim": 4}, "transformer.h", "attn.out_proj"),
    "GPT-Neo": Family(
        "gpt_neo",
        {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "max_position_embeddings": 64, "window_size": 4,
         "attention_types": [[["global", "local"], 1]], **TOKENS},
        "transformer.h",
        "attn.attention.out_proj",
    ),
    "GPT-NeoX": Family("gpt_neox", SIZE, "gpt_neox.layers", "attention.dense"),
    "Falcon, new decoder": Family(
        "falcon",
        {**FALCON, "num_kv_heads": 1, "new_decoder_architecture": True},
        "transformer.h",
        "self_attention.dense",
    ),
    "Falcon, old decoder": Family("falcon", FALCON, "transformer.h", "self_attention.dense"),
    "Falcon, ALiBi": Family(
        "falcon",
        {**FALCON, "multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
        "transformer.h",
        "self_attention.dense",
    ),
    "Bloom": Family(
        "bloom", {"hidden_size": 16, "n_layer": 2, "n_head": 2, **TOKENS}, "transformer.h", "self_attention.dense"
    ),
    "MPT": Family(
        "mpt", {"d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 64, **TOKENS}, "transformer.blocks",
        "attn.out_proj",
    ),
    "StableLM": Family("stablelm", {**GROUPED, "use_parallel_residual": True, "qk_layernorm": True}),
    "OLMo 2": Family("olmo2", GROUPED),
    "Cohere": Family("cohere", {**GROUPED, "logit_scale": 0.0625}),
    "Granite": Family(
        "granite",
        {**GROUPED, "logits_scaling": 8.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5,
         "attention_multiplier": 0.3},
    ),
    "Mamba": Family(
        "mamba", {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, **TOKENS}, "backbone.layers", None
    ),
}  # fmt: skip


def make_family(name):
    """A model whose logits differ from token to token, with biases and scales that are not at their defaults."""
    family = FAMILIES[name]
    torch.manual_seed(0)
    lm = AutoModelForCausalLM.from_config(AutoConfig.for_model(family.kind, **family.options)).eval()
    with torch.no_grad():
        for key, p in lm.named_parameters():
            if p.ndim >= 2 and not any(part in key for part in ("conv", "vision", "A_log")):
                p.normal_(0, 1.5 / p.shape[-1] ** 0.5)
            elif p.ndim == 1 and "dt_proj" not in key:
                p.add_(0.3 * torch.randn_like(p))
    return lm


def prompts_of(lengths=(9, 5, 7)):
    """A batch, padded on the left with a token that no model has, and its prompts by themselves."""
    generator = torch.Generator().manual_seed(1)
    rows, width = len(lengths), max(lengths)
    ids, mask = torch.full((rows, width), 5000), torch.zeros(rows, width, dtype=torch.long)
    for row, n in enumerate(lengths):
        ids[row, -n:] = torch.randint(2, 90, (n,), generator=generator)
        mask[row, -n:] = 1
    batch = {
        "input_ids": ids, "attention_mask": mask, "choices": torch.tensor([[5, 9]]).repeat(rows, 1),
        "answer": torch.arange(rows) + 11, "label": torch.arange(rows) % 2,
    }  # fmt: skip
    return batch, [x[m.bool()][None] for x, m in zip(ids, mask, strict=True)]
