"""How far predictions have moved: of rows of logits, and the mean over prompts."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from small_lms import make_batch, make_lm

from madkit.volume import MeanDivergence, kl_divergence
from madkit.volume.lm.divergence import compared_states


def single(batch, i):
    real = batch["attention_mask"][i].bool()
    return {k: v[i : i + 1] if k == "choices" else v[i : i + 1, real] for k, v in batch.items()}


def test_kl_divergence_is_scipys_and_exact_where_it_is_tiny():
    torch.manual_seed(0)
    p, q = torch.randn(5, 40), torch.randn(5, 40)
    expected = stats.entropy(p.double().softmax(-1), q.double().softmax(-1), axis=1)
    np.testing.assert_allclose(kl_divergence(p, q), expected, rtol=1e-12)
    # To second order it is half the variance of the step under p.
    p, step = p.double(), 1e-7 * q.double()
    mass = p.softmax(-1)
    expected = 0.5 * ((mass * step**2).sum(-1) - (mass * step).sum(-1) ** 2)
    np.testing.assert_allclose(kl_divergence(p, p + step), expected, rtol=1e-5)
    assert (kl_divergence(p, p) == 0).all()
    ruled_out = torch.tensor([[0.0, 0.0, -torch.inf]])
    assert float(kl_divergence(ruled_out, torch.zeros(1, 3))) == pytest.approx(np.log(1.5))


def test_a_sharded_model_reads_masks_without_cudnns_attention():
    """It is called as a whole, and not by way of its final hidden states."""
    lm, allowed = make_lm(), []
    lm.unshard, lm.reshard = None, lambda: None  # as FSDP2 leaves them
    lm.model.layers[0].self_attn.register_forward_pre_hook(
        lambda *_: allowed.append(torch.backends.cuda.cudnn_sdp_enabled())
    )
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    try:
        padded = make_batch()
        for mask in (padded["attention_mask"], torch.ones_like(padded["attention_mask"])):
            assert compared_states(lm, padded | {"attention_mask": mask}, "last").are_logits
        assert torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
    assert allowed == [False, True]


@pytest.mark.parametrize("at", ["tokens", "last", "answers"])
def test_the_mean_divergence_is_that_of_each_prompt_alone(at):
    lm, batch = make_lm(), make_batch()
    divergence = MeanDivergence(lm, [batch, make_batch(3, seed=1)], at)
    assert divergence() == pytest.approx(0, abs=1e-12)
    prompts = [single(b, i) for b in divergence.batches for i in range(len(b["input_ids"]))]

    def predictions():
        with torch.no_grad():
            logits = [lm(p["input_ids"]).logits[0].double() for p in prompts]
        logits = logits if at == "tokens" else [x[-1:] for x in logits]
        return torch.cat(logits)[:, [3, 7] if at == "answers" else slice(None)]

    before = special.log_softmax(predictions().numpy(), axis=1)
    with torch.no_grad():
        for p in lm.parameters():
            p.add_(0.05 * torch.randn_like(p))
    now = special.log_softmax(predictions().numpy(), axis=1)
    assert divergence() == pytest.approx((np.exp(before) * (before - now)).sum(1).mean(), rel=1e-4)
