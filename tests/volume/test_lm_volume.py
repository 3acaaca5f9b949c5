"""Local volumes of language models: weights in place, single prompts, adapters, shards and processes."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special, stats
from small_lms import make_batch, make_lm, with_lora
from torch import nn

from madkit.errors import ConfigError, StoreError
from madkit.volume import Blocks, MeanDivergence, Weights, kl_divergence, lm_log_volume, log_mass
from madkit.volume.lm.per_prompt_shift import PerPromptShift
from madkit.volume.prompt_volumes import PromptVolumes
from madkit.volume.weight_space.direction import Direction


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


@pytest.mark.parametrize(("at", "more"), [("tokens", []), ("last", []), ("last", ["embed_tokens"])])
def test_an_adapter_counts_as_part_of_the_weights_it_is_added_to(at, more):
    """The volume of a LoRA model is that of the merged one."""
    model = with_lora(make_lm(), *more)
    options = {"directions": 3, "progress": False, "at": at, "tolerance": 1e-5}
    ours = lm_log_volume(model, [make_batch()], **options)
    theirs = lm_log_volume(copy.deepcopy(model).merge_and_unload(), [make_batch()], **options)
    np.testing.assert_allclose(ours.radii, theirs.radii, rtol=1e-4)
    np.testing.assert_allclose(ours.aligned, theirs.aligned, rtol=1e-4)
    assert ours.norm == pytest.approx(theirs.norm, rel=1e-6) and ours.dimension == theirs.dimension
    with model.disable_adapter():
        assert Weights(model).norm == pytest.approx(Weights(make_lm()).norm, rel=1e-6)
    alone = lm_log_volume(model, [make_batch()], "lora", **options)
    assert alone.dimension == sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)


def test_an_estimate_is_made_of_radii_that_were_evaluated(tmp_path):
    lm, batches = make_lm(), [make_batch(), make_batch(3, seed=1)]
    estimate = lm_log_volume(lm, batches, directions=4, sigma=0.5, progress=False)
    assert estimate.reached.all() and (abs(estimate.changes / 1e-2 - 1) <= 1e-3).all()
    weights, divergence = Weights(lm), MeanDivergence(lm, batches)
    with weights.borrowed():
        for k in range(4):
            weights.move(weights.ray(Direction(0, k)), estimate.radii[k])
            assert divergence() == pytest.approx(estimate.changes[k], rel=1e-5)
    # Measured at the centre, though the weights were elsewhere by then.
    np.testing.assert_allclose(
        estimate.aligned, [Weights(lm).ray(Direction(0, k)).aligned for k in range(4)], rtol=1e-12
    )
    logs = log_mass(estimate.dimension, estimate.radii, estimate.aligned, weights.norm, 0.5)
    np.testing.assert_allclose(estimate.log_volumes, logs, rtol=1e-12)
    assert estimate.evaluations.mean() < 10


def test_an_interrupted_estimate_continues_and_another_one_is_refused(tmp_path):
    lm, options = make_lm(), {"sigma": 0.5, "progress": False, "folder": tmp_path / "volume"}
    complete = lm_log_volume(lm, [make_batch()], directions=3, sigma=0.5, progress=False)
    lm_log_volume(lm, [make_batch()], directions=2, **options)
    files = sorted((tmp_path / "volume").glob("direction*"))
    assert [path.name for path in files] == [f"direction-0000{i}.json" for i in (0, 1)]
    for path in files:  # a number that no search gives, so that it can only have been read
        path.write_text(json.dumps(json.loads(path.read_text()) | {"evaluations": 1234}))
    again = lm_log_volume(lm, [make_batch()], directions=3, **options)
    assert (again.evaluations == 1234).tolist() == [True, True, False]
    # Not to the last bit: where a matrix lies in memory decides how its products are rounded.
    np.testing.assert_allclose(again.log_volumes, complete.log_volumes, rtol=1e-4)
    for other in ({"seed": 1}, {"at": "last"}, {"weights": 0}):
        with pytest.raises(StoreError, match="other weights, prompts or settings"):
            lm_log_volume(lm, [make_batch()], **options | {"directions": 2} | other)


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at": "first"}, "at='first'"),
        ({"batches": []}, "batches="),
        ({"directions": 0}, "directions=0"),
        ({"at": "answers", "batches": [{k: v for k, v in make_batch().items() if k != "choices"}]}, "choices"),
        ({"batches": [{k: v.flip(1) for k, v in make_batch().items()}]}, "padded on the left"),
    ],
)
def test_what_cannot_be_a_volume_of_a_model_is_refused(change, message):
    options = {"batches": [make_batch()], "progress": False, **change}
    with pytest.raises(ConfigError, match=message):
        lm_log_volume(make_lm(), **options)


def test_a_model_in_training_is_refused():
    with pytest.raises(ConfigError, match=r"lm\.eval"):
        lm_log_volume(make_lm().train(), [make_batch()])


def numbers(estimate):
    return {name: getattr(estimate, name).tolist() for name in ("radii", "changes", "aligned", "log_volumes")}


def work():
    """What each of two processes does in the test below."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo")
    options = {"directions": 3, "tolerance": 1e-6, "progress": False}
    replicated = numbers(lm_log_volume(make_lm(), [make_batch()], **options))
    lm = make_lm(tie_word_embeddings=True)
    mesh = init_device_mesh("cpu", (2,))
    for layer in lm.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(lm, mesh=mesh)
    before = [p.to_local().clone() for p in lm.parameters()]
    sharded = numbers(lm_log_volume(lm, [make_batch()], **options))
    same = all(torch.equal(a, p.to_local()) for a, p in zip(before, lm.parameters(), strict=True))
    if dist.get_rank() == 0:
        print("RESULT" + json.dumps([replicated, sharded, same]))
    dist.destroy_process_group()


def test_two_processes_give_what_one_gives_and_shards_what_unsharded_weights_do():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).resolve().parents[2]
    code = "import sys; sys.path[:0] = ['tests', 'tests/volume']; import test_lm_volume as t; t.work()"
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    common["PYTHONPATH"] = str(root)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=root, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=300) for process in running]
    assert all(process.returncode == 0 for process in running), outputs[0][1][-3000:]
    replicated, sharded, same = json.loads(outputs[0][0].split("RESULT")[1])
    assert same
    options = {"directions": 3, "tolerance": 1e-6, "progress": False}
    unsharded = {False: make_lm(), True: make_lm(tie_word_embeddings=True)}
    for tied, distributed in ((False, replicated), (True, sharded)):
        alone = numbers(lm_log_volume(unsharded[tied], [make_batch()], **options))
        for name, values in alone.items():
            np.testing.assert_allclose(distributed[name], values, rtol=1e-4)
