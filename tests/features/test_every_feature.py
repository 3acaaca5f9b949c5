"""What every feature must do, whatever it computes: say how it is configured, where it reads, and what it gives."""

import json

import pytest
import torch
from gradients import make_batch, make_model, rows, with_lora

from madkit import features
from madkit.encoders.encoder_site import EncoderSite
from madkit.encoders.flow.laplace_flow import LaplaceFlow
from madkit.extraction.forward_pass import trace
from madkit.extraction.trusted_statistics import learn
from madkit.features import (
    SAE,
    Activations,
    Answers,
    Attribution,
    Feature,
    Flow,
    LocalVolume,
    LocalVolumeRadii,
    LoraActivity,
    ProbeShift,
    UpdateDirections,
)
from madkit.lm import adapters, loading
from madkit.store.variant import ADAPTER_WEIGHTS, Variant
from madkit.streaming.validation import sparse_rows

OTHER_ATTRIBUTION = {"reference": "mean", "k": 3, "first": 2, "step": 1}
OTHER_DIRECTIONS = {"k": 2, "side": "input", "first": 0, "modules": ["down_proj"]}
VOLUME = {"directions": 2, "tolerance": 1e-5}
OTHER_VOLUME = {
    "weights": "lora", "at": "last", "cutoff": 0.1, "sigma": 0.1, "directions": 3, "seed": 1, "tolerance": 1e-4,
}  # fmt: skip
OTHER_ENCODER = {"subfolders": ["layers.1"]}
#: Class, options of the test, another value of every option, and the name in stores and results.
CASES = {
    "activations": (Activations, {"final": True}, {"first": 2, "step": 1, "final": False}),
    "answers": (Answers, {}, {"splits": ["trusted", "test"]}),
    "attribution": (Attribution, {}, {**OTHER_ATTRIBUTION, "reference": "zero"}),
    "attribution_pca": (Attribution, {"reference": "pca", "k": 2}, OTHER_ATTRIBUTION),
    "attribution_gradient": (Attribution, {"reference": "gradient"}, OTHER_ATTRIBUTION),
    "flow": (Flow, {"encoder": "flow"}, {"encoder": "other-flow", "subfolders": ["layers.1"]}),
    "local_volume": (LocalVolume, VOLUME, OTHER_VOLUME),
    "local_volume_radii": (LocalVolumeRadii, VOLUME, OTHER_VOLUME),
    "local_volume_radii_layer2_answers": (LocalVolumeRadii, {"weights": 2, "at": "answers", **VOLUME}, OTHER_VOLUME),
    "lora_activity": (LoraActivity, {}, {"first": 0, "modules": ["q_proj"]}),
    "update_directions": (UpdateDirections, {}, OTHER_DIRECTIONS),
    "update_directions_input": (UpdateDirections, {"side": "input"}, {**OTHER_DIRECTIONS, "side": "output"}),
    "probe": (ProbeShift, {"step": 2}, {"first": 0, "step": 1}),
    "sae": (SAE, {"encoder": "sae"}, {**OTHER_ENCODER, "encoder": "other-sae", "hooks": {"layers.1": "layers.0"}}),
}  # fmt: skip


@pytest.fixture(scope="module")
def bare():
    return make_model("grouped")


@pytest.fixture(scope="module")
def adapted():
    """The same model with a LoRA inside it."""
    return with_lora(make_model("grouped"), {"r": 2, "target_modules": ["q_proj", "down_proj"]})


@pytest.fixture
def lm(case, bare, adapted):
    """The model that a feature is computed of."""
    return adapted if ADAPTER_WEIGHTS in case[1].needs else bare


@pytest.fixture(scope="module")
def folder(bare, tmp_path_factory):
    """A base model's configuration, two folders of flows and two of SAEs."""
    import sparsify

    root = tmp_path_factory.mktemp("features")
    bare.config.save_pretrained(root / "base")
    torch.manual_seed(0)
    for name in ("flow", "other-flow"):
        for layer in (1, 3):
            site = EncoderSite("flow", f"model.layers.{layer}", "input", 32, "last prompt token", None)
            LaplaceFlow(32, hidden=8).save(root / name / f"layers.{layer}", site.config())
    for name in ("sae", "other-sae"):
        for layer in (1, 3):
            coder = sparsify.SparseCoder(32, sparsify.SparseCoderConfig(expansion_factor=2, k=3))
            coder.save_to_disk(root / name / f"layers.{layer}")
    return root


@pytest.fixture(scope="module")
def skeletons(folder, adapted):
    """The modules alone, without and with those of the adapter."""
    adapted.peft_model.save_pretrained(folder / "adapter")
    skeleton = loading.skeleton(str(folder / "base"))
    return skeleton, adapters.adapted_skeleton(skeleton, str(folder / "adapter"))


@pytest.fixture
def skeleton(case, skeletons):
    return skeletons[ADAPTER_WEIGHTS in case[1].needs]


def options_of(options, folder):
    return {name: str(folder / value) if name == "encoder" else value for name, value in options.items()}


@pytest.fixture(params=CASES)
def case(request, folder, skeletons):
    """Name, feature, and another value of each of its options."""
    cls, options, others = CASES[request.param]
    feature = cls(**options_of(options, folder))
    feature.prepare(skeletons[0], "base", folder / "runs" / "addition")
    return request.param, feature, options_of(others, folder)


def compute(lm, feature, batch, learned=None):
    """Dense vectors by site."""
    part = trace(lm, [feature], {feature.name: feature.hookpoints(lm)}, batch)[feature.name]
    part.learned = learned or {}
    with torch.no_grad():
        vectors = feature(part)
    for site, width in feature.widths(lm).items():
        indices, values = (vectors.pop(f"{site}.{end}") for end in ("indices", "values"))
        vectors[site] = sparse_rows(indices.long(), values, width).to_dense()
    return vectors


def learned_by(lm, feature):
    if not feature.statistics(lm):
        return {}
    batch = make_batch(40)
    batch["label"] = (batch["input_ids"][:, -1] > 150).long()
    variant = Variant(feature.name)
    return learn(lm, {variant: feature}, {feature.name: feature.hookpoints(lm)}, [batch])[variant]


def test_every_public_feature_is_tested():
    public = {value for value in vars(features).values() if isinstance(value, type) and issubclass(value, Feature)}
    assert public - {Feature} == {cls for cls, *_ in CASES.values()}


def test_it_is_configured_by_its_constructor(case):
    name, feature, _ = case
    assert feature.name == name
    config = json.loads(json.dumps(feature.config))
    again = type(feature)(**config)
    assert again.config == feature.config and again.name == name and repr(again) == repr(feature)
    assert eval(repr(feature), vars(features)).config == feature.config


def test_its_identity_changes_with_every_option(case, folder, skeleton):
    _, feature, others = case
    assert set(others) == set(feature.options())
    before = json.dumps(feature.identity(), sort_keys=True)
    for name, value in others.items():
        assert feature.config[name] != value
        other = type(feature)(**{**feature.config, name: value})
        other.prepare(skeleton, "base", folder / "runs" / "addition")
        assert json.dumps(other.identity(), sort_keys=True) != before, name


def test_where_it_reads_is_known_without_weights(case, lm, skeleton):
    _, feature, _ = case
    hookpoints = feature.hookpoints(skeleton)
    assert hookpoints == feature.hookpoints(lm) and feature.sites(skeleton) == feature.sites(lm)
    assert all(skeleton.get_submodule(point.module) is not None for point in hookpoints)
    layers = feature.layers(skeleton)
    assert len(layers) == len(feature.sites(skeleton)) == len(set(feature.sites(skeleton)))
    assert all(layer is None or 0 <= layer <= 5 for layer in layers)
    assert set(feature.splits) <= set(features.feature.SPLITS)


def test_it_gives_a_vector_for_each_site_and_prompt_and_always_the_same(case, lm):
    _, feature, _ = case
    learned, batch = learned_by(lm, feature), make_batch(5)
    vectors = compute(lm, feature, batch, learned)
    assert list(vectors) == feature.sites(lm)
    for site, x in vectors.items():
        assert x.ndim == 2 and len(x) == 5 and x.is_floating_point() and not x.requires_grad
        assert bool(torch.isfinite(x).all()) and x.shape[1] == feature.widths(lm).get(site, x.shape[1])
    again = compute(lm, feature, batch, learned)
    assert all(torch.equal(again[site], x) for site, x in vectors.items())


def test_a_prompt_does_not_depend_on_its_batch(case, lm):
    _, feature, _ = case
    learned, batch = learned_by(lm, feature), make_batch(5)
    together = compute(lm, feature, batch, learned)
    for part in (torch.tensor([0, 1, 2]), torch.tensor([3]), torch.tensor([4])):
        alone = compute(lm, feature, rows(batch, part), learned)
        for site, x in alone.items():
            scale = float(together[site].abs().max())
            torch.testing.assert_close(x, together[site][part], rtol=1e-3, atol=1e-4 * scale)
