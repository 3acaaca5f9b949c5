"""Hidden states of a few tokens, against the whole forward pass; and the batches of a base LM in groups."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from madkit.errors import ConfigError, DataError
from madkit.lm import forward
from madkit.lm.base_lm import BaseLM


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


def batch(lengths):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 300, (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    labels = torch.where((mask == 1) & (torch.rand(ids.shape, generator=generator) < 0.3), ids, -100)
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels, "task": torch.zeros(len(lengths))}


@pytest.mark.parametrize("groups", [1, 3, 50])
def test_groups_of_similar_length_mark_the_same_tokens(bases, groups):
    """Logits of every marked token, whatever the grouping, equal those of transformers with each text alone."""
    module = BaseLM({}, length_groups=groups)
    module.model = AutoModelForCausalLM.from_pretrained(bases["llama"]).eval()
    whole = batch([4, 11, 7, 7, 5, 12, 3])
    with torch.no_grad():
        logits, targets = module.marked_logits(module.on_before_batch_transfer(whole, 0))
        expected = []
        for ids, mask, labels in zip(whole["input_ids"], whole["attention_mask"], whole["labels"], strict=True):
            alone = module.model(ids[None, mask == 1]).logits[0]
            expected += [(int(labels[i]), alone[i - 1]) for i in range(1, int(mask.sum())) if labels[i] != -100]
    assert sorted(targets.tolist()) == sorted(target for target, _ in expected)
    for target, row in expected:
        nearest = (logits - row).abs().amax(dim=1).argmin()
        torch.testing.assert_close(logits[nearest], row, rtol=1e-3, atol=1e-3)
        assert int(targets[nearest]) == target


def test_padding_on_the_left_is_refused():
    wrong = batch([3, 5])
    wrong = {key: value.flip(1) if value.ndim == 2 else value for key, value in wrong.items()}
    with pytest.raises(DataError, match="on the right"):
        BaseLM({}).on_before_batch_transfer(wrong, 0)


def test_groups_are_at_least_one():
    with pytest.raises(ConfigError, match="length_groups=0"):
        BaseLM({}, length_groups=0)
