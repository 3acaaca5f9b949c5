"""What families of models do that Llama does not: limits, padding, heads, caches, layers of another name."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from madkit.errors import ConfigError
from madkit.extraction.forward_pass import trace
from madkit.features import Answers
from madkit.lm import forward
from madkit.lm.probe import can_cache, check_forward
from madkit.lm.text_decoder import layer_names
from madkit.poser.measure.repeated_batch import RepeatedBatch

SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
TOKENS = {"vocab_size": 99, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
TEXT = {**SIZE, **TOKENS, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8}
VISION = {**SIZE, "image_size": 56, "patch_size": 14}
FAMILIES = {
    "gemma2": {**SIZE, "num_key_value_heads": 2, "head_dim": 8, "final_logit_softcapping": 3.0},  # a soft cap
    "cohere": {**SIZE, "num_key_value_heads": 2, "logit_scale": 0.0625},  # a scale
    "gptj": {"n_embd": 32, "n_inner": 48, "n_layer": 3, "n_head": 4, "rotary_dim": 8, "n_positions": 64},  # a bias
    "bloom": {**SIZE},  # an MLP that is handed the residual stream, too
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64},  # a table of positions, transposed weights
    "opt": {**SIZE, "ffn_dim": 48, "word_embed_proj_dim": 16, "max_position_embeddings": 64},  # a decoder inside
    "gemma3": {"text_config": TEXT, "vision_config": VISION, "mm_tokens_per_image": 4},  # a tower of as many layers
    "mamba": {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 4},  # no attention
}


def make(family, **options):
    torch.manual_seed(0)
    tokens = {} if family == "gemma3" else TOKENS
    lm = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **FAMILIES[family], **tokens, **options)).eval()
    with torch.no_grad():
        for name, p in lm.named_parameters():
            if p.ndim == 2 and "vision" not in name:
                p.mul_(6)
            elif name.endswith("bias"):
                p.normal_(0, 0.3)
    return lm


def batch_of(lengths=(7, 4, 6), pad=0):
    generator = torch.Generator().manual_seed(1)
    width = max(lengths)
    ids = torch.full((len(lengths), width), pad)
    mask = torch.zeros_like(ids)
    for row, n in enumerate(lengths):
        ids[row, width - n :] = torch.randint(2, 60, (n,), generator=generator)
        mask[row, width - n :] = 1
    choices = torch.tensor([[5, 9]]).repeat(len(lengths), 1)
    return {"input_ids": ids, "attention_mask": mask, "choices": choices, "row": torch.arange(len(lengths))}


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * max(1.0, float(theirs.abs().max())))


def test_another_head_takes_the_place_of_the_models_own_and_leaves():
    lm, batch = make("gemma2"), batch_of()
    hidden = torch.randn(4, 32)
    single = torch.nn.Linear(32, 7)
    before = forward.logits_of(lm, hidden)
    assert torch.allclose(forward.logits_of(lm, hidden, single), 3 * torch.tanh(single(hidden) / 3), atol=1e-6)
    assert torch.equal(forward.logits_of(lm, hidden), before)
    assert len(lm(input_ids=batch["input_ids"], use_cache=False).logits) == 3


@pytest.mark.parametrize("family", ["gpt2", "opt", "gptj"])
def test_prompts_beyond_the_table_of_positions_are_refused(family):
    lm = make(family)
    ids = torch.full((1, 64), 7)
    forward.hidden_states(lm, ids, torch.ones_like(ids), padded=False)
    ids = torch.full((1, 65), 7)
    with pytest.raises(ConfigError, match=r"65 tokens is longer than the 64 positions .*max_length"):
        forward.hidden_states(lm, ids, torch.ones_like(ids), padded=False)


def test_computed_positions_have_no_end():
    lm = make("cohere", max_position_embeddings=16)
    ids = torch.full((1, 40), 7)
    assert forward.hidden_states(lm, ids, torch.ones_like(ids), padded=False).shape == (1, 40, 32)


def test_batches_that_would_be_read_wrongly_are_refused():
    lm, batch = make("gpt2"), batch_of()
    assert forward.checked_padding(lm, batch)
    assert not forward.checked_padding(lm, batch_of((5, 5)))
    feature = Answers()
    for wrong, said in (
        ({key: batch[key].flip(1) for key in ("input_ids", "attention_mask")}, "padded on the left"),
        ({"attention_mask": batch["attention_mask"].index_fill(1, torch.tensor([5]), 0)}, "padded on the left"),
        ({"input_ids": batch["input_ids"].index_fill(1, torch.tensor([6]), 99)}, "token 99, and the embedding of GPT2"),
        ({"choices": batch["choices"] + 95}, "token 100, and the embedding of GPT2LMHeadModel '' has 99 rows"),
    ):
        with pytest.raises(ConfigError, match=said):
            trace(lm, [feature], {"answers": []}, {**batch, **wrong})


def test_a_model_that_reads_padding_takes_one_prompt_at_a_time():
    torch.manual_seed(0)
    config = AutoConfig.for_model("rwkv", hidden_size=32, num_hidden_layers=2, vocab_size=99, attention_hidden_size=32)
    lm = AutoModelForCausalLM.from_config(config).eval()
    check_forward(lm, "model.base", "rwkv")
    feature, batch = Answers(), batch_of()
    with pytest.raises(
        ConfigError, match="RwkvForCausalLM gives other numbers for a prompt that is padded.*batch_size 1"
    ):
        trace(lm, [feature], {"answers": []}, batch)
    one = batch_of((5,))
    logits = trace(lm, [feature], {"answers": []}, one)["answers"].logits
    close(logits, lm(input_ids=one["input_ids"]).logits[:, -1].detach())


def test_a_family_that_cannot_be_followed_is_refused(monkeypatch):
    lm = make("cohere", rope_theta=12345.0)
    own = type(lm).forward

    def other(self, *args, **kwargs):
        output = own(self, *args, **kwargs)
        if len(kwargs["input_ids"][0]) > 1:
            output.logits = output.logits * 1.1
        return output

    monkeypatch.setattr(type(lm), "forward", other)
    monkeypatch.setattr("madkit.lm.forward._parameters", lambda _: {"input_ids", "attention_mask", "position_ids"})
    with pytest.raises(ConfigError, match="model.base='x': CohereForCausalLM is of a family .*logits.*9.1% apart"):
        check_forward(lm, "model.base", "x")


def test_names_of_layers_are_those_of_the_language_model():
    """A tower that sees may have as many layers, and stands first."""
    assert layer_names(make("gemma3"))[1] == "model.language_model.layers.1"
    assert layer_names(make("opt"))[1] == "model.decoder.layers.1"


@pytest.mark.parametrize(("family", "caches"), [("gemma2", True), ("bloom", True), ("gptj", True), ("mamba", False)])
def test_answers_are_the_same_with_and_without_a_cache(family, caches):
    lm, batch = make(family), batch_of()
    assert can_cache(lm) is caches
    ours, theirs = (RepeatedBatch(lm, batch, cached=cached) for cached in (True, False))
    assert (ours.cache is not None) is caches
    close(ours.baseline, theirs.baseline)
