"""Radii of single prompts that share each forward pass, against the weights moved for one prompt alone."""

import numpy as np
import pytest
import torch
from scipy import special
from small_lms import make_batch, make_lm, with_lora
from torch import nn

from madkit.errors import ConfigError
from madkit.volume import MeanDivergence, Weights, log_mass
from madkit.volume.lm.per_prompt_shift import PerPromptShift
from madkit.volume.prompt_volumes import PromptVolumes
from madkit.volume.weight_space.direction import Direction


def single(batch, i):
    real = batch["attention_mask"][i].bool()
    return {k: v[i : i + 1] if k == "choices" else v[i : i + 1, real] for k, v in batch.items()}


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "gpt2", "gemma"])
@pytest.mark.parametrize("at", ["tokens", "last", "answers"])
def test_prompts_that_share_a_pass_have_the_radii_they_have_alone(kind, at):
    """Each radius is put to the test by moving the weights themselves, for that prompt alone."""
    options = {"num_key_value_heads": 1, "head_dim": 8} if kind == "gemma" else {}
    lm, batch = make_lm(kind, **options), make_batch()
    volumes = PromptVolumes(lm, at=at, directions=2, cutoff=1e-3)
    result = volumes.radii(batch)
    finite = np.isfinite(result.radii)
    assert (abs(result.changes / 1e-3 - 1) <= 1e-3)[finite].all() and finite.sum() >= 10
    for i in range(6):
        divergence = MeanDivergence(lm, [single(batch, i)], at)
        with volumes.vector.borrowed():
            for k, ray in enumerate(volumes.rays):
                volumes.vector.move(ray, result.bounded[i, k])
                assert divergence() == pytest.approx(result.changes[i, k], rel=2e-2 if at == "answers" else 2e-3)
    assert result.passes <= 2 * 14
    logs = log_mass(
        volumes.vector.dimension, result.radii, [r.aligned for r in volumes.rays], volumes.vector.norm, volumes.sigma
    )
    np.testing.assert_allclose(volumes.log_volumes(result), special.logsumexp(logs, axis=1) - np.log(2), rtol=1e-12)


@pytest.mark.parametrize("weights", ["lora", "down_proj"])
def test_prompts_of_a_lora_model(weights):
    model, batch = with_lora(make_lm()), make_batch()
    volumes = PromptVolumes(model, weights, directions=1)
    result = volumes.radii(batch)
    with volumes.vector.borrowed():
        for i in np.flatnonzero(np.isfinite(result.radii[:, 0])):
            volumes.vector.move(volumes.rays[0], 0.0)
            divergence = MeanDivergence(model, [single(batch, i)])
            volumes.vector.move(volumes.rays[0], result.radii[i, 0])
            assert divergence() == pytest.approx(1e-2, rel=3e-3)


def test_a_prompt_that_never_changes_has_the_radius_at_which_the_measure_ends():
    lm, batch = make_lm(), make_batch()
    volumes = PromptVolumes(lm, "embed_tokens", directions=2, cutoff=1e6)
    result = volumes.radii(batch)
    assert np.isinf(result.radii).all() and (result.bounded == volumes.limits).all()
    np.testing.assert_allclose(volumes.log_volumes(result).std(), 0, atol=1e-9)


class Squared(nn.Linear):
    """A module that is not affine in its weights."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight**2)


def test_weights_that_cannot_be_moved_for_one_prompt_are_named():
    lm = make_lm()
    layer = lm.model.layers[0].mlp
    layer.up_proj = Squared(16, 24, bias=False)
    with pytest.raises(ConfigError, match=r"up_proj' \(Squared\) is not an affine function"):
        PromptVolumes(lm, directions=1).radii(make_batch())
    assert not any(m._forward_hooks for m in lm.modules())
    lm = make_lm()
    lm.model.layers[0].mlp.spare = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="spare.weight' and the model uses it without calling"):
        PromptVolumes(lm, directions=1).radii(make_batch())


def test_a_shift_by_zero_changes_nothing():
    lm, batch = make_lm(), make_batch()
    weights = Weights(lm)
    before = lm(batch["input_ids"]).logits
    with PerPromptShift(lm, weights) as shift, shift.at(torch.zeros(6)):
        shift.follow(weights.ray(Direction(0, 0)))
        assert torch.equal(lm(batch["input_ids"]).logits, before)
    assert torch.equal(lm(batch["input_ids"]).logits, before)
