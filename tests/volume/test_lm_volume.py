"""Local volumes of language models: adapters, interrupted estimates, shards and processes."""

import copy
import json

import numpy as np
import pytest
import torch
from forked import in_two
from small_lms import make_batch, make_lm, with_lora

from madkit.errors import ConfigError, StoreError
from madkit.lm import adapters
from madkit.volume import MeanDivergence, Weights, lm_log_volume, log_mass
from madkit.volume.weight_space.direction import Direction


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


def test_an_adapter_of_experts_counts_as_part_of_them():
    """PEFT wraps the parameters of experts one inside the other, not their modules."""
    options = {"num_local_experts": 3, "num_key_value_heads": 2, "num_experts_per_tok": 2}
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    lora = {"r": 2, "target_modules": ["q_proj"], "target_parameters": names, "lora_dropout": 0.0}
    model = adapters.attach_lora(make_lm("mixtral", **options), lora).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.3)
    settings = {"directions": 2, "progress": False, "at": "last"}
    ours = lm_log_volume(model, [make_batch(3)], **settings)
    theirs = lm_log_volume(copy.deepcopy(model).merge_and_unload(), [make_batch(3)], **settings)
    np.testing.assert_allclose(ours.radii, theirs.radii, rtol=5e-3)
    np.testing.assert_allclose(ours.aligned, theirs.aligned, rtol=1e-4)
    assert ours.norm == pytest.approx(theirs.norm, rel=1e-6) and ours.dimension == theirs.dimension


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


def test_an_interrupted_estimate_continues_with_other_batches(tmp_path):
    """What is filled up to which length, and in which order, is not what the mean over prompts knows."""
    lm, whole = make_lm(), make_batch()
    options = {"sigma": 0.5, "progress": False, "folder": tmp_path / "volume"}
    cut = []
    for rows in ([5], [2, 3], [0, 4, 1]):
        longest = int(whole["attention_mask"][rows].sum(1).max())
        cut.append({k: v[rows] if k == "choices" else v[rows, -longest:] for k, v in whole.items()})
    assert cut[1]["input_ids"].shape[1] < whole["input_ids"].shape[1]
    once = lm_log_volume(lm, [whole], directions=2, **options)
    again = lm_log_volume(lm, cut, directions=3, **options)
    np.testing.assert_array_equal(again.radii[:2], once.radii)
    alone = lm_log_volume(lm, cut, directions=3, sigma=0.5, progress=False)
    np.testing.assert_allclose(again.log_volumes, alone.log_volumes, rtol=1e-3)
    for other in (cut[:2], [*cut, cut[0]]):
        with pytest.raises(StoreError, match="prompts"):
            lm_log_volume(lm, other, directions=3, **options)


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


def test_two_processes_give_what_one_gives_and_shards_what_unsharded_weights_do(tmp_path):
    replicated, sharded, same = json.loads(in_two(work, tmp_path).split("RESULT")[1])
    assert same
    options = {"directions": 3, "tolerance": 1e-6, "progress": False}
    unsharded = {False: make_lm(), True: make_lm(tie_word_embeddings=True)}
    for tied, distributed in ((False, replicated), (True, sharded)):
        alone = numbers(lm_log_volume(unsharded[tied], [make_batch()], **options))
        for name, values in alone.items():
            np.testing.assert_allclose(distributed[name], values, rtol=1e-4)
