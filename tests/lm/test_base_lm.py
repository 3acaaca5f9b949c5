"""Base LMs are trained on the marked tokens of a corpus, in groups of texts of similar length."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from madkit.errors import ConfigError, DataError
from madkit.lm.base_lm import BaseLM


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
