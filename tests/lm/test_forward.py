"""Hidden states and logits of a few tokens, against the whole forward pass."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from madkit.lm import forward, loading


def prompts(rows=5, width=9):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 300, (rows, width), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    return ids, mask


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt_neox"])
def test_states_and_gradients_are_those_of_the_whole_pass(bases, architecture):
    lm = AutoModelForCausalLM.from_pretrained(bases[architecture])
    ids, mask = prompts()
    tokens = torch.tensor([8, 2 * 9 + 8, 2 * 9 + 3, 44])
    # Not a sum of squares, which the last normalisation keeps constant, so that its gradient would be rounding errors.
    weight = torch.randn(4, lm.config.hidden_size, generator=torch.Generator().manual_seed(2))
    results = []
    for few in (False, True):
        lm.zero_grad()
        if few:
            states = forward.states_at(lm, ids, mask, tokens, padded=True)
        else:
            states = forward.hidden_states(lm, ids, mask, padded=True).flatten(0, 1)[tokens]
        (states * weight).sum().backward()
        results.append(
            (states.detach(), {name: p.grad.clone() for name, p in lm.named_parameters() if p.grad is not None})
        )
    torch.testing.assert_close(results[1][0], results[0][0])
    assert set(results[1][1]) == set(results[0][1])
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


def test_the_mlp_sees_the_chosen_tokens_and_no_hook_stays(bases):
    lm = AutoModelForCausalLM.from_pretrained(bases["llama"])
    seen = []
    for layer in lm.model.layers:
        layer.mlp.gate_proj.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[:-1].numel()))
    ids, mask = prompts()
    forward.states_at(lm, ids, mask, torch.tensor([8, 17]), padded=True)
    assert seen == [45] * (len(lm.model.layers) - 1) + [2]
    seen.clear()
    forward.hidden_states(lm, ids, mask, padded=True)
    assert seen == [45] * len(lm.model.layers)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt_neox"])
def test_answer_logits_equal_those_of_the_whole_model(bases, architecture):
    lm = loading.load_causal_lm(str(bases[architecture]))
    ids, mask = prompts()
    with torch.no_grad():
        ours = forward.logits_of(lm, forward.hidden_states(lm, ids, mask, padded=True)[:, -1])
        for row in range(len(ids)):
            theirs = lm(ids[row, mask[row].bool()][None]).logits[0, -1]
            torch.testing.assert_close(ours[row], theirs, rtol=1e-4, atol=1e-5)


def test_masked_attention_is_not_cudnns(bases):
    """Its kernels give NaN with some masks; without a mask they may be taken, and as before afterwards."""
    lm = AutoModelForCausalLM.from_pretrained(bases["llama"])
    ids, mask = prompts()
    allowed = []
    lm.model.layers[0].self_attn.register_forward_pre_hook(
        lambda *_: allowed.append(torch.backends.cuda.cudnn_sdp_enabled())
    )
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    try:
        forward.hidden_states(lm, ids, mask, padded=True)
        forward.decode(lm, input_ids=ids, attention_mask=mask, use_cache=False)
        forward.hidden_states(lm, ids, torch.ones_like(mask), padded=False)
        assert torch.backends.cuda.cudnn_sdp_enabled()
        torch.backends.cuda.enable_cudnn_sdp(False)
        forward.hidden_states(lm, ids, torch.ones_like(mask), padded=False)
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
    assert allowed == [False, False, True, False]
