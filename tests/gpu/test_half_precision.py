"""bfloat16 on a card: what is read and learned is what float64 on a CPU gives, but for its few digits."""

import copy

import pytest
import torch
from small_lms import make_batch, make_lm, with_lora
from torch import nn

from madkit.extraction.forward_pass import trace
from madkit.extraction.trusted_statistics import learn
from madkit.features import Activations, Answers, Attribution, ProbeShift
from madkit.lm import forward
from madkit.store.variant import Variant
from madkit.volume import PromptVolumes


def moved(lm, batch, device, dtype):
    return copy.deepcopy(lm).to(device, dtype), {name: x.to(device) for name, x in batch.items()}


def similar(found, expected):
    """The cosine of two tensors, which is 1 where they are the same but for noise."""
    a, b = found.double().cpu().flatten(), expected.double().flatten()
    assert torch.isfinite(a).all()
    return float(nn.functional.cosine_similarity(a, b, dim=0))


def vectors(lm, batch):
    features = [Activations(), Answers(), Attribution(), ProbeShift()]
    row = torch.arange(len(batch["input_ids"]))
    batch = {**batch, "row": row, "label": (row % 2).to(lm.device)}
    points = {f.name: f.hookpoints(lm) for f in features}
    learned = learn(lm, {Variant(f.name): f for f in features if f.statistics(lm)}, points, [batch])
    traces, found = trace(lm, features, points, batch), {}
    for feature in features:
        part = traces[feature.name]
        part.learned = learned.get(Variant(feature.name), {})
        with torch.no_grad():
            found |= {(feature.name, site): x for site, x in feature(part).items()}
    return found


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 1 - 1e-6), (torch.bfloat16, 0.99)])
def test_features_are_those_of_a_cpu(card, dtype, least):
    lm, batch = make_lm(num_hidden_layers=5), make_batch(12)
    expected = vectors(*moved(lm, batch, "cpu", torch.float64))
    found = vectors(*moved(lm, batch, card, dtype))
    assert found.keys() == expected.keys()
    alike = {key: similar(found[key], expected[key]) for key in expected}
    assert min(alike.values()) > least, alike


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 1 - 1e-6), (torch.bfloat16, 0.99)])
def test_a_step_is_that_of_a_cpu(card, dtype, least):
    """The loss of the answers, and the gradient of a LoRA in float32 on a base in half precision, as `fit` has it."""
    losses, gradients = [], []
    for device, base in (("cpu", torch.float32), (card, dtype)):
        batch = {name: x.to(device) for name, x in make_batch().items()}
        lm = make_lm(dtype=base)
        model = with_lora(lm).to(device)  # drawn on the CPU, where all are drawn alike
        padded = forward.checked_padding(lm, batch)
        half = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=base == torch.bfloat16)
        with half:
            hidden = forward.hidden_states(lm, batch["input_ids"], batch["attention_mask"], padded=padded)
            loss = nn.functional.cross_entropy(forward.logits_of(lm, hidden[:, -1]).float(), batch["choices"][:, 0])
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4 if dtype == torch.float32 else 0.05)
    assert similar(gradients[1], gradients[0]) > least


@pytest.mark.parametrize("length", [9, 64, 192])
def test_gradients_of_masked_prompts_are_finite(card, length):
    """cuDNN's attention, which torch may take first, has kernels that give NaN at such lengths when scores are low."""
    lm = make_lm(dtype=torch.bfloat16, max_position_embeddings=256)
    with torch.no_grad():
        for layer in lm.model.layers:
            layer.self_attn.q_proj.weight.mul_(20)
    model = with_lora(lm).to(card)
    batch = {name: x.to(card) for name, x in make_batch(length=length).items()}
    with torch.autocast(card.type, torch.bfloat16):
        hidden = forward.hidden_states(lm, batch["input_ids"], batch["attention_mask"], padded=True)
    hidden[:, -1].float().square().mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is None or torch.isfinite(p.grad).all(), name


def test_radii_of_prompts_are_those_of_a_cpu(card):
    """Directions are generated where the weights are, and are the same there."""
    lm, batch = make_lm(), make_batch(4)
    with torch.no_grad():
        expected = PromptVolumes(lm, directions=2, tolerance=1e-3).radii(batch).radii
        lm, batch = moved(lm, batch, card, torch.float32)
        found = PromptVolumes(lm, directions=2, tolerance=1e-3).radii(batch).radii
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-2, atol=0)
