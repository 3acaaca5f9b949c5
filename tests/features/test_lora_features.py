"""Activity of a LoRA and directions of its updates, against dense updates and NumPy."""

import numpy as np
import pytest
import torch
from gradients import compute, make_batch, make_model, with_lora

from madkit.errors import ConfigError
from madkit.features import LoraActivity, UpdateDirections
from madkit.lm.adapters import lora_branches
from madkit.lm.hooks import Hookpoint, Reader

OPTIONS = {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "down_proj", "embed_tokens"]}
GPT_NEOX = {"r": 3, "target_modules": ["query_key_value", "dense_4h_to_h"], "bias": "none"}
CASES = {
    "llama": ("grouped", OPTIONS),
    "rslora": ("grouped", {**OPTIONS, "use_rslora": True, "rank_pattern": {"q_proj": 2}}),
    "gpt_neox": ("gpt_neox", GPT_NEOX),  # with biases
}


def read(lm, batch, names):
    """What enters and leaves modules at the last token, by a plain forward pass."""
    points = [Hookpoint(name, side) for name in names for side in ("input", "output")]
    with torch.no_grad(), Reader(lm, points, stop=False) as reader:
        lm(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return {name: tuple(reader.values[Hookpoint(name, side)] for side in ("input", "output")) for name in names}


@pytest.fixture(params=CASES)
def lm(request):
    shape, options = CASES[request.param]
    return with_lora(make_model(shape), options)


def test_activity_is_the_branch_over_the_base(lm):
    """By the dense update, which PEFT makes when it merges."""
    batch = make_batch(padded=False)
    vectors = compute(lm, LoraActivity(first=0), batch)
    names = list(lora_branches(lm, "test"))
    inputs = read(lm, batch, names)
    expected = {}
    for name in names:
        layer, x = lm.get_submodule(name), inputs[name][0]
        dense, weight = layer.get_delta_weight("default").detach(), layer.get_base_layer().weight.detach()
        if x.ndim == 1:
            added, there = dense[x], weight[x]
        else:
            added, there = x @ dense.T, x @ weight.T
        site = next((s for s in vectors if name.startswith(f"{s}.")), "model.layers.0")  # an embedding counts to it
        expected.setdefault(site, []).append(added.norm(dim=1) / there.norm(dim=1))
    assert vectors.keys() == expected.keys() and len(vectors) == 5
    for site, columns in expected.items():
        torch.testing.assert_close(vectors[site], torch.stack(columns, 1), rtol=2e-4, atol=1e-6)


def test_activity_does_not_ask_whether_the_adapter_is_on():
    lm = with_lora(make_model("grouped"), {"r": 2, "target_modules": ["q_proj"]})
    on = compute(lm, LoraActivity(0, ["layers.0.self_attn.q_proj"]), make_batch())
    with lm.peft_model.disable_adapter():
        off = compute(lm, LoraActivity(0, ["layers.0.self_attn.q_proj"]), make_batch())
    assert list(on) == ["model.layers.0"]  # what enters the first layer is the same
    torch.testing.assert_close(on, off)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_near(dtype):
    lm = with_lora(make_model("grouped", scale=2.0), OPTIONS)
    features = [LoraActivity(first=0), UpdateDirections(k=2), UpdateDirections(side="input")]
    exact = [compute(lm, feature, make_batch()) for feature in features]
    half = lm.to(dtype)
    for name, p in half.named_parameters():
        if "lora_" in name:  # as madkit keeps them
            p.data = p.data.float()
    for feature, vectors in zip(features, exact, strict=True):
        for site, x in compute(half, feature, make_batch()).items():
            assert x.dtype == torch.float32
            torch.testing.assert_close(x, vectors[site], rtol=0.1, atol=0.05)


@pytest.mark.parametrize("side", ["output", "input"])
def test_cosines_are_those_with_numpys_singular_vectors(lm, side):
    batch = make_batch(padded=False)
    k = 2
    vectors = compute(lm, UpdateDirections(k, side, first=0), batch)
    writers = ("down_proj", "dense_4h_to_h")
    names = [n for n in lora_branches(lm, "test") if ".layers." in n and (side == "input" or n.endswith(writers))]
    values = read(lm, batch, [*names, *vectors])
    columns = {site: [] for site in vectors}
    for name in names:
        dense = lm.get_submodule(name).get_delta_weight("default").detach().double().numpy()
        left, _, right = np.linalg.svd(dense)
        site = next(s for s in vectors if name.startswith(f"{s}."))
        x = (values[name][0] if side == "input" else values[site][1]).numpy()
        directions = right[:k] if side == "input" else left.T[:k]
        columns[site].append(x @ directions.T / np.linalg.norm(x, axis=1, keepdims=True))
    for site, parts in columns.items():
        expected, found = np.concatenate(parts, 1), vectors[site].numpy()
        # A direction is known but for its sign.
        signs = np.sign((expected * found).sum(0))
        np.testing.assert_allclose(found * signs, expected, atol=2e-4)


def test_directions_of_a_product_that_is_never_made():
    lm = with_lora(make_model("grouped"), {"r": 4, "target_modules": ["down_proj"]})
    (branch, *_) = lora_branches(lm, "test").values()
    layer = lm.get_submodule("model.layers.0.mlp.down_proj")
    with torch.no_grad():  # of rank 3 only
        layer.lora_A["default"].weight[3] = layer.lora_A["default"].weight[2]
    left, values, right = branch.singular_vectors(20)
    dense = layer.get_delta_weight("default").detach().double()
    assert left.shape == (4, 32) and right.shape == (4, 48)
    np.testing.assert_allclose(values, np.linalg.svd(dense.numpy())[1][:4], atol=1e-5)
    torch.testing.assert_close(left.T * values @ right, dense, atol=1e-5, rtol=1e-5)
    assert not left[3].any() and not right[3].any()
    assert bool((left[:3].gather(1, left[:3].abs().argmax(1, keepdim=True)) > 0).all())
    with torch.no_grad():
        layer.lora_B["default"].weight.zero_()
    assert not any(bool(x.any()) for x in branch.singular_vectors(20))


@pytest.mark.parametrize(
    ("options", "feature", "message"),
    [
        (None, LoraActivity(), "there is none in the model"),
        ({**OPTIONS, "use_dora": True}, LoraActivity(), "not B A alone"),
        ({**OPTIONS, "target_modules": ["q_proj", "lm_head"]}, LoraActivity(), "the unembedding"),
        (OPTIONS, LoraActivity(modules=["q_proj", "k_proj"]), "none that end in k_proj; it is on down_proj, embed"),
        ({**OPTIONS, "target_modules": ["q_proj"]}, UpdateDirections(), "say `side: input`"),
        ({**OPTIONS, "layers_to_transform": [0], "target_modules": ["q_proj"]}, LoraActivity(), "choose a smaller"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(options, feature, message):
    lm = make_model("grouped") if options is None else with_lora(make_model("grouped"), options)
    with pytest.raises(ConfigError, match=message) as error:
        feature.sites(lm)
    assert "\n" not in str(error.value)


def test_options_are_checked():
    for options in ({"k": 0}, {"side": "left"}, {"modules": []}, {"first": -1}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            UpdateDirections(**options)


def test_others_than_the_refused_can_be_named():
    lm = with_lora(make_model("grouped"), {**OPTIONS, "target_modules": ["q_proj", "lm_head"]})
    assert len(compute(lm, LoraActivity(modules=["q_proj"]), make_batch())) == 4


def test_directions_are_those_of_the_model_that_is_read():
    feature = UpdateDirections(k=2, first=0)
    models = [with_lora(make_model("grouped"), OPTIONS, seed) for seed in (0, 1)]
    fresh = [compute(lm, UpdateDirections(k=2, first=0), make_batch()) for lm in models]
    for number in (0, 1, 0):
        torch.testing.assert_close(compute(models[number], feature, make_batch()), fresh[number])
    assert not all(torch.allclose(fresh[0][site], x, rtol=0.05) for site, x in fresh[1].items())
