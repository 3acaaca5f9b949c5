"""A model's weights as one vector: measured, moved, restored, chosen by name."""

import peft
import pytest
import torch
from small_lms import make_lm, with_lora

from madkit.errors import ConfigError
from madkit.lm import adapters
from madkit.volume import Blocks, Weights
from madkit.volume.weight_space.direction import Direction


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_come_back_bit_for_bit_and_tied_ones_move_once(kind, dtype):
    lm = make_lm(kind, dtype, tie_word_embeddings=True)
    before = {name: p.detach().clone() for name, p in lm.named_parameters()}
    weights = Weights(lm)
    assert weights.dimension == sum(p.numel() for p in before.values())
    ray = weights.ray(Direction(0, 0))
    with pytest.raises(RuntimeError, match="stop"), weights.borrowed():
        for radius in (0.3, 3.0):
            weights.move(ray, radius)
        moved = {name: p.detach().clone() for name, p in lm.named_parameters()}
        raise RuntimeError("stop")
    assert all(torch.equal(before[name], p) for name, p in lm.named_parameters())
    tied = lm.get_input_embeddings().weight
    assert lm.get_output_embeddings().weight is tied
    distance = torch.cat([(moved[n].double() - before[n].double()).flatten() for n in before]).norm()
    assert float(distance) == pytest.approx(3.0, rel=1e-5 if dtype == torch.float32 else 2e-2)
    with pytest.raises(ConfigError, match="borrowed"):
        weights.move(ray, 1.0)


def test_memory_that_is_put_behind_a_parameter_later_is_what_moves():
    """As FSDP2 does in its first forward pass."""
    lm = make_lm()
    weights = Weights(lm)
    for p in lm.parameters():
        p.data = p.data.clone()
    before = torch.cat([p.detach().flatten() for p in lm.parameters()]).double()
    with weights.borrowed():
        weights.move(weights.ray(Direction(0, 0)), 3.0)
        moved = torch.cat([p.detach().flatten() for p in lm.parameters()]).double()
    assert float((moved - before).norm()) == pytest.approx(3.0, rel=1e-5)


def test_a_ray_is_what_its_parts_add_up_to():
    lm = make_lm()
    scales = {n: torch.rand_like(p) + 0.5 for n, p in lm.named_parameters()}
    weights, blocks = Weights(lm, preconditioner=Blocks(scales)), Blocks(scales)
    names = list(blocks.scales)
    assert sum(float(x.log().sum()) for x in blocks.scales.values()) == pytest.approx(0, abs=1e-9)
    parameters = dict(lm.named_parameters())
    direction = Direction(5, 2)
    g = torch.cat([direction.normals(n, torch.arange(parameters[n].numel())).double() for n in names])
    p = torch.cat([blocks.scales[n].flatten() for n in names])
    theta = torch.cat([parameters[n].detach().flatten().double() for n in names])
    ray = weights.ray(direction)
    assert ray.stretch == pytest.approx(float((p * g).norm() / g.norm()), rel=1e-12)
    assert ray.aligned == pytest.approx(float((p * g) @ theta / (p * g).norm()), rel=1e-12)
    assert weights.norm == pytest.approx(float(theta.norm()), rel=1e-12)
    with weights.borrowed():
        weights.move(ray, 0.7)
        now = torch.cat([parameters[n].detach().flatten().double() for n in names])
    torch.testing.assert_close(now, theta + 0.7 * p * g / (p * g).norm(), rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match="exactly these"):
        Weights(lm, "mlp", Blocks(scales))


def test_names_choose_weights_and_wrong_ones_say_so():
    lm = with_lora(make_lm())
    names = {which: [b.name for b in Weights(lm, which).blocks] for which in ("all", "lora", 1, r"layers\.1\.", "mlp")}
    assert all("lora_A" in n or "lora_B" in n for n in names["lora"]) and len(names["lora"]) == 8
    assert names["all"] == [n for n, _ in make_lm().named_parameters()]
    assert names[1] == names[r"layers\.1\."] == [n for n in names["all"] if ".layers.1." in n]
    assert names["mlp"] == [n for n in names["all"] if "mlp" in n]
    for wrong, message in (("attention9", "chooses none"), (7, "layers 0..1"), ("(", "no regular expression")):
        with pytest.raises(ConfigError, match=message):
            Weights(lm, wrong)


@pytest.mark.parametrize("kind", ["llama", "mixtral"])
def test_an_adapter_counts_as_merged_whatever_it_is_on(kind):
    options = {"num_key_value_heads": 2, "num_local_experts": 4} if kind == "mixtral" else {}
    ids = torch.randint(1, 31, (2, 5), generator=torch.Generator().manual_seed(0))
    found = []
    for merge in (False, True):
        torch.manual_seed(1)
        model = adapters.attach_lora(make_lm(kind, **options), {"r": 2, "target_modules": "auto"}).eval()
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "lora_B" in name:
                    p.normal_(std=0.3)
        weights = Weights(model.merge_and_unload() if merge else model.get_base_model())
        with torch.no_grad(), weights.borrowed():
            weights.move(weights.ray(Direction(0, 0)), 0.5)
            logits = model.get_base_model()(ids).logits
        found.append((weights.dimension, weights.norm, logits))
    assert found[0][0] == found[1][0] and found[0][1] == pytest.approx(found[1][1], rel=1e-6)
    torch.testing.assert_close(found[0][2], found[1][2], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["vera", "modules_to_save"])
def test_an_adapter_whose_effect_is_no_sum_is_refused_and_is_nothing_when_off(kind):
    options = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj"]}
    config = peft.VeraConfig(r=4, **options)
    if kind == "modules_to_save":
        config = peft.LoraConfig(r=2, modules_to_save=["lm_head"], **options)
    model = peft.get_peft_model(make_lm(), config)
    with pytest.raises(ConfigError, match="merge"):
        Weights(model.get_base_model())
    with model.disable_adapter():
        off = Weights(model.get_base_model())
    assert [b.name for b in off.blocks] == [b.name for b in Weights(make_lm()).blocks]
