"""Attribution is the derivative it claims to be, on every shape of model, and costs one pass each way."""

import pytest
import torch
from gradients import SHAPES, compute, log_odds, make_batch, make_model, patched, rows
from torch import nn

from madkit.errors import ConfigError, DataError
from madkit.extraction.forward_pass import trace
from madkit.extraction.trusted_statistics import learn, load_learned, save_learned
from madkit.features import Activations, Answers, Attribution
from madkit.lm import attention
from madkit.store.variant import Variant

shapes = pytest.mark.parametrize("shape", SHAPES)


def learned_by(lm, *features, batch=None):
    batch = make_batch(40) if batch is None else batch
    variants = {Variant(f.name): f for f in features}
    learned = learn(lm, variants, {f.name: f.hookpoints(lm) for f in features}, [batch])
    return {variant.feature: tensors for variant, tensors in learned.items()}


def values_at(lm, point, batch):
    seen = []
    with patched(lm, point.module, lambda x: seen.append(x.clone()) or x):
        log_odds(lm, batch)
    return seen[0]


def moved(lm, module, step, head=None, n=4):
    """Add a step (B, d), or one head's part of it, to what enters a module."""
    chosen = torch.zeros_like(step).unflatten(1, (n, -1))
    chosen[:, slice(None) if head is None else head] = 1
    return patched(lm, module, lambda x: x + step * chosen.flatten(1))


@shapes
@pytest.mark.parametrize("reference", ["mean", "zero", "pca"])
def test_effects_are_the_limit_of_finite_differences(shape, reference, monkeypatch):
    lm = make_model(shape, monkeypatch)
    feature = Attribution(reference, k=3, first=1, step=2)
    batch = make_batch()
    learned = learned_by(lm, feature)[feature.name] if reference != "zero" else {}
    found = compute(lm, feature, batch, learned)
    start = log_odds(lm, batch)
    for site, point in zip(feature.sites(lm), feature.hookpoints(lm), strict=True):
        a = values_at(lm, point, batch)
        step = feature._step(site, a.unflatten(1, (4, -1)), learned).flatten(1)
        for head in range(4):
            errors = []
            for t in (1e-3, 1e-4, 1e-5):
                with moved(lm, point.module, t * step, head):
                    slope = (log_odds(lm, batch) - start) / t
                errors.append(float((slope - found[site][:, head]).norm() / found[site][:, head].norm()))
            assert errors[2] < 1e-4
            assert errors[0] > 5 * errors[1] > 25 * errors[2]  # the error is of the first order


@shapes
def test_heads_add_up_to_the_whole_tensor(shape, monkeypatch):
    lm = make_model(shape, monkeypatch)
    feature = Attribution(first=2, step=5)
    learned = learned_by(lm, feature)[feature.name]
    batch = make_batch()
    point, site = feature.hookpoints(lm)[0], feature.sites(lm)[0]
    step = learned[site] - values_at(lm, point, batch)
    slopes = []
    for t in (1e-5, -1e-5):
        with moved(lm, point.module, t * step):
            slopes.append(log_odds(lm, batch))
    whole = (slopes[0] - slopes[1]) / 2e-5
    torch.testing.assert_close(compute(lm, feature, batch, learned)[site].sum(1), whole, rtol=1e-6, atol=1e-9)


class Silent(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


def test_effects_are_exact_where_the_rest_is_linear(monkeypatch):
    lm = make_model("grouped", monkeypatch)
    lm.model.norm, lm.model.layers[4].mlp = nn.Identity(), Silent()
    feature = Attribution(first=4)
    learned = learned_by(lm, feature)[feature.name]
    batch = make_batch()
    point = feature.hookpoints(lm)[0]
    found = compute(lm, feature, batch, learned)["model.layers.4"]
    step = learned["model.layers.4"] - values_at(lm, point, batch)
    for head in range(4):
        with moved(lm, point.module, step, head):
            after = log_odds(lm, batch)
        torch.testing.assert_close(after - log_odds(lm, batch), found[:, head], rtol=1e-10, atol=1e-12)


@shapes
def test_effects_go_with_those_of_patching(shape):
    """Nothing linearised: each head is replaced a tenth, and then all of the way to its reference."""
    lm = make_model(shape, scale=2.0)
    feature = Attribution(step=1)
    learned = learned_by(lm, feature)[feature.name]
    batch = make_batch(30)
    start, found = log_odds(lm, batch), compute(lm, feature, batch, learned)
    for share, least in ((0.1, 0.95), (1.0, 0.8)):
        true, linear = [], []
        for site, point in zip(feature.sites(lm), feature.hookpoints(lm), strict=True):
            step = share * (learned[site].float() - values_at(lm, point, batch))
            for head in range(4):
                with moved(lm, point.module, step, head):
                    true.append(log_odds(lm, batch) - start)
                linear.append(share * found[site][:, head])
        both = torch.stack([torch.cat(true), torch.cat(linear)])
        assert float(torch.corrcoef(both)[0, 1]) > least


def test_the_reference_is_the_mean_of_trusted_prompts(monkeypatch):
    lm = make_model("wide heads", monkeypatch)
    mean, zero = Attribution(), Attribution("zero")
    batch = make_batch(40)
    learned = learned_by(lm, mean, batch=batch)[mean.name]
    for site, point in zip(mean.sites(lm), mean.hookpoints(lm), strict=True):
        torch.testing.assert_close(learned[site], values_at(lm, point, batch).mean(0))
        assert learned[site].shape == (64,)  # four heads of 16, in a model that is 32 wide
    assert compute(lm, zero, batch)["model.layers.4"].shape == (40, 4)


def test_all_principal_components_together_are_the_mean(monkeypatch):
    lm = make_model("grouped", monkeypatch)
    mean, whole, part = Attribution(), Attribution("pca", k=8), Attribution("pca", k=2)
    batch = make_batch()
    means = compute(lm, mean, batch, learned_by(lm, mean)[mean.name])
    wholes = compute(lm, whole, batch, learned_by(lm, whole)[whole.name])
    parts = compute(lm, part, batch, learned_by(lm, part)[part.name])
    for site in means:
        torch.testing.assert_close(wholes[site], means[site], rtol=1e-8, atol=1e-10)
        assert not torch.allclose(parts[site], means[site], rtol=0.01)


def test_principal_components_are_those_of_numpy(monkeypatch):
    import numpy as np

    lm = make_model("grouped", monkeypatch)
    feature, batch = Attribution("pca", k=3, first=2), make_batch(40)
    learned = learned_by(lm, feature, batch=batch)[feature.name]
    a = values_at(lm, feature.hookpoints(lm)[0], batch).unflatten(1, (4, -1))[:, 1].numpy()
    _, _, directions = np.linalg.svd(a - a.mean(0))
    ours = learned["model.layers.2.1.components"].numpy()
    np.testing.assert_allclose(ours.T @ ours, directions[:3].T @ directions[:3], atol=1e-9)


def test_constant_heads_have_no_effect_along_components(monkeypatch):
    lm = make_model("grouped", monkeypatch)
    feature, batch = Attribution("pca", k=2), rows(make_batch(), [0, 0, 0])
    found = compute(lm, feature, batch, learned_by(lm, feature, batch=batch)[feature.name])
    assert all(float(x.abs().max()) < 1e-12 for x in found.values())


def test_squared_gradients_are_the_steepest_slope(monkeypatch):
    """The slope along the gradient is its squared norm."""
    lm = make_model("grouped", monkeypatch)
    feature, batch = Attribution("gradient", first=3), make_batch()
    point = feature.hookpoints(lm)[0]
    found = compute(lm, feature, batch)["model.layers.3"]
    a = values_at(lm, point, batch).requires_grad_()
    with torch.enable_grad(), patched(lm, point.module, lambda _: a):
        odds = log_odds.__wrapped__(lm, batch)
    (gradient,) = torch.autograd.grad(odds.sum(), a)
    torch.testing.assert_close(found, gradient.unflatten(1, (4, -1)).square().sum(-1))


@shapes
def test_neither_padding_nor_batch_mates_matter(shape):
    lm = make_model(shape)
    feature, batch = Attribution(), make_batch(8)
    learned = learned_by(lm, feature)[feature.name]
    together = compute(lm, feature, batch, learned)
    for row in range(8):
        alone = rows(batch, [row])
        short = alone["attention_mask"][0].bool()
        alone |= {key: alone[key][:, short] for key in ("input_ids", "attention_mask")}
        for site, vector in compute(lm, feature, alone, learned).items():
            torch.testing.assert_close(together[site][[row]], vector, rtol=1e-3, atol=1e-4 * float(vector.abs().max()))


def test_half_precision_is_added_up_in_single():
    lm = make_model("grouped")
    feature, batch = Attribution(), make_batch(40)
    exact = compute(lm, feature, batch, learned_by(lm, feature)[feature.name])
    lm = lm.bfloat16()
    rough = compute(lm, feature, batch, learned_by(lm, feature)[feature.name])
    for site, x in rough.items():
        assert x.dtype == torch.float32
        both = torch.stack([x.flatten(), exact[site].flatten()])
        assert float(torch.corrcoef(both)[0, 1]) > 0.95


def test_one_pass_each_way_serves_all_features(monkeypatch):
    lm = make_model("grouped")
    batch, calls = make_batch(), []
    lm.base_model.register_forward_pre_hook(lambda *_: calls.append("forward"))
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: calls.append("backward") or grad(*a, **k))
    feature = Attribution("zero")
    with torch.inference_mode():
        compute(lm, feature, batch, beside=[Activations(step=1), Answers(), Attribution("gradient")])
    assert calls == ["forward", "backward"]


def test_no_weight_gets_a_gradient_and_early_layers_leave_no_graph():
    lm = make_model("grouped")
    recorded = {}
    for i, layer in enumerate(lm.model.layers):
        layer.register_forward_hook(lambda _, __, out, i=i: recorded.update({i: out.requires_grad}))
    compute(lm, Attribution("zero", first=2), make_batch())
    assert recorded == {0: False, 1: False, 2: True, 3: True, 4: True}
    assert all(p.grad is None and not p.requires_grad for p in lm.parameters())


def test_other_features_keep_no_graph_and_the_same_values():
    lm, batch = make_model("grouped"), make_batch()
    features = [Activations(), Answers(), Attribution("zero")]
    points = {f.name: f.hookpoints(lm) for f in features}
    alone = trace(lm, features[:1], points, batch)["activations"]
    beside = trace(lm, features, points, batch)
    assert beside["activations"].pullback is None and not beside["activations"].gradients
    for point, x in alone.activations.items():
        assert torch.equal(beside["activations"].activations[point], x)
    assert not any(x.requires_grad for t in beside.values() for x in [*t.activations.values(), t.logits])


def test_the_control_reads_the_base_model():
    from madkit.lm.adapters import attach_lora

    base, batch = make_model("grouped"), make_batch()
    feature = Attribution("zero")
    expected = compute(base, feature, batch)
    torch.manual_seed(0)
    quirky = attach_lora(base, {"r": 2, "target_modules": ["q_proj", "o_proj"], "init_lora_weights": False}).eval()
    plain = quirky.get_base_model()
    points = feature.hookpoints(plain)
    assert points == feature.hookpoints(make_model("grouped"))
    for _ in range(2):  # switching an adapter back on makes PEFT train it again
        off, on = (
            feature(trace(quirky, [feature], {feature.name: points}, batch, adapter=adapter)[feature.name])
            for adapter in (False, True)
        )
        assert not any(p.requires_grad for p in quirky.parameters())
    for site, x in expected.items():
        assert torch.equal(off[site], x)
        assert not torch.allclose(on[site], x, rtol=0.05)


def test_what_was_learned_survives_the_disk(tmp_path):
    lm, feature = make_model("grouped"), Attribution("pca", k=2)
    learned = learned_by(lm, feature)[feature.name]
    save_learned(tmp_path, learned)
    again = load_learned(tmp_path)
    assert learned.keys() == again.keys() and all(torch.equal(learned[name], again[name]) for name in learned)


def test_batches_and_their_order_do_not_change_what_is_learned():
    lm, feature, batch = make_model("grouped").double(), Attribution("pca", k=2), make_batch(40)
    points = {feature.name: feature.hookpoints(lm)}
    variant = Variant(feature.name)
    one = learn(lm, {variant: feature}, points, [batch])[variant]
    parts = [rows(batch, index) for index in reversed(torch.arange(40).split(7))]
    many = learn(lm, {variant: feature}, points, parts)[variant]
    for name, x in one.items():
        x, y = (z.T @ z if name.endswith("components") else z for z in (x, many[name]))
        torch.testing.assert_close(y, x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"reference": "median"}, "median"), ({"k": 0}, "k=0"), ({"step": 0}, "step=0"), ({"first": -1}, "first=-1")],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Attribution(**options)


def test_what_cannot_be_attributed_is_refused(monkeypatch):
    lm = make_model("grouped")
    with pytest.raises(ConfigError, match="first=5"):
        Attribution(first=5).hookpoints(lm)
    with pytest.raises(ConfigError, match=r"k=9\): a head has 8"):
        Attribution("pca", k=9).hookpoints(lm)
    with pytest.raises(DataError, match="there are none"):
        learn(lm, {Variant("attribution"): Attribution()}, {"attribution": Attribution().hookpoints(lm)}, [])
    with pytest.raises(DataError, match="two trusted prompts"):
        learned_by(lm, Attribution("pca", k=2), batch=rows(make_batch(), [0]))
    monkeypatch.setattr(attention, "OUTPUT_NAMES", ("elsewhere",))
    with pytest.raises(ConfigError, match="0 linear output projections"):
        Attribution().hookpoints(lm)
