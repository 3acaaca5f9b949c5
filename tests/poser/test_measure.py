"""Perturbations of activations, by routes that share no code with madkit's: transformers alone, and loops."""

import importlib
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from madkit.data.prompts.tokens import tokenize_prompts
from madkit.errors import ConfigError
from madkit.lm.loading import load_causal_lm, load_tokenizer
from madkit.poser.benchmark.scenario import Scenario
from madkit.poser.measure.answer_tables import perturbed_table
from madkit.poser.measure.output_shift import shifted_outputs
from madkit.poser.measure.perturbations import GaussianNoise, RandomDirection, Steering
from madkit.poser.measure.repeated_batch import RepeatedBatch
from madkit.poser.measure.scenario_batches import ScenarioBatches
from madkit.poser.measure.steering_vectors import SteeringVectors
from madkit.poser.measure.weight_volume import WeightVolume

TEXTS = ["Is it 5?", "Name: Alice\nStatement: 12 + 34 = 46\nAnswer:", "Context: 1\nAnswer:"]
LAYER = 2


@pytest.fixture(scope="module", params=["llama", "mistral", "gpt_neox"])
def lm(request, bases):
    return load_causal_lm(str(bases[request.param])).double()


@pytest.fixture(scope="module")
def batches(bases):
    # The misaligned answers are B, A, B.
    scenarios = [Scenario(text, r, ("", ""), (), "") for text, r in zip(TEXTS, "ABA", strict=True)]
    return ScenarioBatches(load_tokenizer(str(bases["llama"])), scenarios, 1024, 3)


@pytest.fixture
def batch(batches):
    return batches[0]


def layers_of(lm):
    return lm.model.layers if hasattr(lm, "model") else lm.gpt_neox.layers


def alone(lm, ids, layer, move):
    """Logits after one prompt alone, whose hidden states behind a layer go through `move`."""

    def hook(module, args, output):
        return (move(output[0]), *output[1:]) if isinstance(output, tuple) else move(output)

    handle = layers_of(lm)[layer].register_forward_hook(hook)
    try:
        with torch.no_grad():
            return lm(input_ids=torch.tensor([ids])).logits[0, -1]
    finally:
        handle.remove()


def ids_of(batch):
    return [ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]


@pytest.mark.parametrize("tokens", ["last", "all"])
def test_a_vector_is_added_behind_the_layer_at_the_right_tokens(lm, batch, tokens):
    """Batch, padding, and kept keys and values change nothing: each prompt alone gives the same."""
    torch.manual_seed(0)
    vector = torch.randn(1, 1 if tokens == "last" else 50, 32, dtype=torch.float64) * 2
    if tokens == "all":
        vector = vector[:, :1].expand(1, 50, 32)
    name = next(n for n, m in lm.named_modules() if m is layers_of(lm)[LAYER])
    moved = RepeatedBatch(lm, batch, cached=tokens == "last").logits({name: vector})
    assert len(set(map(len, ids_of(batch)))) > 1  # there is padding

    def move(hidden):
        hidden = hidden.clone()
        hidden[:, -1 if tokens == "last" else slice(None)] += vector[0, 0]
        return hidden

    for ids, logits in zip(ids_of(batch), moved, strict=True):
        torch.testing.assert_close(logits, alone(lm, ids, LAYER, move), rtol=1e-5, atol=1e-5)


def test_padding_on_the_right_is_not_moved_by_mistake(lm):
    """The last column is the last token because prompts are padded on the left; see ScenarioBatches."""
    hidden = torch.zeros(2, 4, 3)
    layer = torch.nn.Sequential(torch.nn.Identity())
    with shifted_outputs(layer, {"0": torch.ones(1, 1, 3)}):
        moved = layer(hidden)
    assert moved[:, -1].eq(1).all() and moved[:, :-1].eq(0).all()
    with shifted_outputs(layer, {"0": torch.ones(2, 2, 3)}):
        assert layer(hidden)[:, 2:].eq(1).all() and layer(hidden)[:, :2].eq(0).all()
    assert layer(hidden).eq(0).all()  # and the hook is gone


def test_half_precision_is_moved_in_float32():
    layer = torch.nn.Sequential(torch.nn.Identity())
    hidden = torch.full((1, 1, 1), 256.0, dtype=torch.bfloat16)
    with shifted_outputs(layer, {"0": torch.full((1, 1, 1), 1.5)}):
        assert layer(hidden).dtype == torch.bfloat16 and float(layer(hidden)) == 258.0


def test_behaviour_is_plain_kl_and_softmax(lm, batch):
    name = next(n for n, m in lm.named_modules() if m is layers_of(lm)[LAYER])
    vector = torch.ones(1, 1, 32)
    for cached in (True, False):
        repeated = RepeatedBatch(lm, batch, cached=cached)
        nothing = repeated.behaviour({})
        assert nothing.kl.eq(0).all()
        # The same without another pass.
        assert all(map(torch.equal, nothing, repeated.at_first))
        behaviour = repeated.behaviour({name: vector})
        p, q = (x.log_softmax(-1) for x in (repeated.baseline, repeated.logits({name: vector})))
        torch.testing.assert_close(behaviour.kl, F.kl_div(q, p, reduction="none", log_target=True).sum(-1))
        for index, row in enumerate(batch["row"]):
            benign, misaligned = (q[index].exp()[token] for token in batch["choices"][index])
            assert float(behaviour.p_benign[index]) == pytest.approx(float(benign))
            assert float(behaviour.p_misaligned[index]) == pytest.approx(float(misaligned))
            assert row in range(3)


def test_the_misaligned_answer_is_the_other_letter(bases, batch):
    tokenizer = load_tokenizer(str(bases["llama"]))
    tokens = tokenize_prompts(tokenizer, TEXTS, [("A", "B")] * 3)
    for index, row in enumerate(batch["row"]):
        a, b = tokens.choices[row]
        expected = {1: [a, b], 0: [b, a]}[[1, 0, 1][row]]
        assert batch["choices"][index].tolist() == expected


def test_the_steering_vector_is_the_difference_of_means(lm, bases):
    """Brute force: hidden states of each prompt alone."""
    tokenizer = load_tokenizer(str(bases["llama"]))
    critical, clean = TEXTS, ["Is it 6?", "Name: Bob", "Nobody is here."]
    vectors = SteeringVectors(lm, [0, LAYER])
    means = []
    for sign, texts in ((1.0, critical), (-1.0, clean)):
        tokenized = ScenarioBatches(tokenizer, texts, 1024, 2)
        for index in range(len(tokenized)):
            vectors.add(tokenized[index], sign / len(texts))
        states = []
        for text in texts:
            with torch.no_grad():
                out = lm(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
            states.append([out.hidden_states[1][0, -1], out.hidden_states[LAYER + 1][0, -1]])
        means.append([torch.stack(column).mean(0) for column in zip(*states, strict=True)])
    for at, layer in enumerate((0, LAYER)):
        expected = (means[0][at] - means[1][at]).float()
        torch.testing.assert_close(vectors.vectors()[layer], expected, rtol=1e-4, atol=1e-5)


KINDS = [RandomDirection, Steering, GaussianNoise]


@pytest.mark.parametrize("kind", KINDS)
def test_length_and_draws(kind):
    steering = torch.randn(64, generator=torch.Generator().manual_seed(1)) * 3
    part = kind(draws=1)
    one = part.vector(steering, 4, 0, [5, 9], [0, 1])
    if kind is GaussianNoise:
        many = GaussianNoise(tokens="all").vector(steering, 4, 0, [500] * 3, [0, 1, 2])
        assert float(many.pow(2).sum(-1).mean().sqrt()) == pytest.approx(float(steering.norm()), rel=0.02)
        assert abs(float(many.mean())) < 0.02 and one.shape == (2, 1, 64)
    else:
        assert one.shape == (1, 1, 64) and float(one.norm()) == pytest.approx(float(steering.norm()), rel=1e-5)
    fixed = kind(norm=7.0).vector(steering * 5, 4, 0, [5, 9], [0, 1])
    reference = kind(norm=7.0).vector(steering, 4, 0, [5, 9], [0, 1])
    torch.testing.assert_close(fixed, reference)


@pytest.mark.parametrize("kind", [RandomDirection, GaussianNoise])
def test_two_models_see_the_same_random_numbers(kind):
    """Only the length depends on the model, and a prompt's noise does not depend on its batch."""
    first, second = (torch.randn(16, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    part = kind(draws=3)
    vectors = [part.vector(s, 0, 2, [4, 6], [8, 9]) / s.norm() for s in (first, second)]
    torch.testing.assert_close(*vectors)
    for other in (part.vector(first, 0, 1, [4, 6], [8, 9]), part.vector(first, 1, 2, [4, 6], [8, 9])):
        assert not torch.allclose(other / first.norm(), vectors[0])
    apart = part.vector(first, 0, 2, [6], [9]) / first.norm()
    torch.testing.assert_close(apart[-1], vectors[0][-1])


def test_noise_at_all_tokens_begins_at_the_end():
    """So that a prompt's noise is the same whatever it is padded to."""
    steering = torch.ones(8)
    part = GaussianNoise(tokens="all")
    together = part.vector(steering, 0, 0, [3, 7], [0, 1])
    alone_ = part.vector(steering, 0, 0, [3], [0])
    torch.testing.assert_close(together[0, 4:], alone_[0])
    assert together[0, :4].eq(0).all()


def test_the_published_distribution_points_one_way():
    steering = torch.ones(400)
    draws = [RandomDirection(distribution="uniform").vector(steering, 0, k, [1], [0])[0, 0] for k in range(2)]
    normal = [RandomDirection().vector(steering, 0, k, [1], [0])[0, 0] for k in range(2)]
    assert float(torch.cosine_similarity(*draws, dim=0)) > 0.6  # 3/4 in expectation
    assert abs(float(torch.cosine_similarity(*normal, dim=0))) < 0.2


@pytest.mark.parametrize(
    "options",
    [
        {"tokens": "first"},
        {"coefficients": []},
        {"coefficients": [1.0, 1.0]},
        {"draws": 0},
        {"norm": 0.0},
        {"layers": []},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(ConfigError, match="RandomDirection"):
        RandomDirection(**options)
    with pytest.raises(ConfigError, match="no chance"):
        Steering(draws=2)
    with pytest.raises(ConfigError, match="give a `norm`"):
        RandomDirection().vector(torch.zeros(4), 0, 0, [1], [0])


def test_every_draw_and_coefficient_is_measured(lm, batch):
    steering = {1: torch.ones(32), LAYER: torch.arange(32.0)}
    parts = [
        RandomDirection(coefficients=[0.0, 2.0], draws=2),
        Steering(coefficients=[0.0, 1.0], layers=[1, LAYER], tokens="all"),
    ]
    tables = {
        p.name: perturbed_table(RepeatedBatch(lm, batch, cached=p.tokens == "last"), p, steering, LAYER) for p in parts
    }
    assert {name: len(table) for name, table in tables.items()} == {"random direction": 12, "steering vector": 6}
    for table in tables.values():
        zero = table["coefficient"] == 0
        assert table.loc[zero, "kl"].eq(0).all() and table.loc[~zero, "kl"].gt(0).all()

    # Several layers are moved together, away from the critical facts.
    def both(ids):
        handles = [
            layers_of(lm)[at].register_forward_hook(
                lambda m, a, out, v=v: (out[0] - v, *out[1:]) if isinstance(out, tuple) else out - v
            )
            for at, v in steering.items()
        ]
        with torch.no_grad():
            logits = lm(input_ids=torch.tensor([ids])).logits[0, -1]
        for handle in handles:
            handle.remove()
        return logits

    moved = tables["steering vector"].query("coefficient == 1").set_index("row")
    for index, ids in enumerate(ids_of(batch)):
        expected = both(ids).double().softmax(-1)[batch["choices"][index]]
        measured = moved.loc[batch["row"][index], ["p_benign", "p_misaligned"]].to_numpy(float)
        torch.testing.assert_close(torch.tensor(measured), expected, rtol=1e-4, atol=1e-7)


def test_answers_where_no_direction_leaves_the_region(lm, batch, tmp_path):
    """Under a narrow Gaussian the weights move too little, as far as it has mass, to change an answer."""
    options = {"weights": 1, "sigma": 1e-6, "directions": 2}
    table = WeightVolume(**options).measure(lm, [batch], options["sigma"], tmp_path / "volume")
    unmoved = RepeatedBatch(lm, batch, cached=False).at_first.p_misaligned
    assert table["reached"].item() == 0 and np.isfinite(table["log_volume"].item())
    assert table["p_misaligned"].item() == pytest.approx(float(unmoved.mean()), rel=1e-2)
    assert table["p_misaligned"].item() != float(unmoved.mean())


@pytest.mark.parametrize("cached", [True, False])
def test_padded_prompts_are_read_without_cudnns_attention(bases, batch, cached):
    """Its kernels give NaN with some masks: neither the first tokens nor the last ones may take them."""
    lm, allowed = load_causal_lm(str(bases["llama"])), []
    repeated = RepeatedBatch(lm, batch, cached=cached)  # whether it can cache is found out without a mask
    assert repeated.padded and (repeated.cache is not None) is cached
    hook = lambda *_: allowed.append(torch.backends.cuda.cudnn_sdp_enabled())  # noqa: E731
    lm.model.layers[0].self_attn.register_forward_pre_hook(hook)
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    try:
        RepeatedBatch(lm, batch, cached=cached)
        assert torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
    assert allowed == [False] * (2 if cached else 1)


def test_an_edited_perturbation_is_another_one(tmp_path, monkeypatch):
    """So that what an earlier version of it has measured is not read."""
    code = """
from dataclasses import dataclass
from madkit.poser.measure.perturbations import RandomDirection

@dataclass
class Mine(RandomDirection):
    default_label = "mine"

    def shape(self, *args):
        return super().shape(*args) * {factor}
"""
    monkeypatch.syspath_prepend(tmp_path)
    options = []
    for factor in (1, 2):
        (tmp_path / "my_perturbation.py").write_text(code.format(factor=factor))
        monkeypatch.delitem(sys.modules, "my_perturbation", raising=False)
        importlib.invalidate_caches()
        options.append(importlib.import_module("my_perturbation").Mine().options(LAYER))
    assert options[0] != options[1]
    assert RandomDirection().options(1) == RandomDirection().options(1) != RandomDirection().options(LAYER)
