"""The feature SAE with autoencoders of others: found, described, held once, refused where they do not belong."""

import pytest
import torch
from gradients import make_batch, make_model
from published_saes import gemma_scope, llama_scope, sae_lens, sparsify, weights

from madkit.encoders.sae.formats.weight_file import WeightFile
from madkit.errors import ConfigError
from madkit.extraction.forward_pass import trace
from madkit.extraction.store_writer import _joined
from madkit.features import SAE
from madkit.streaming.validation import sparse_rows

D, M = 32, 50


@pytest.fixture(scope="module")
def lm():
    return make_model("grouped")


@pytest.fixture(scope="module")
def w():
    return weights(D, M)


def prepared(lm, folder, **options):
    feature = SAE(str(folder), **options)
    feature.prepare(lm, "base", folder / "runs")
    return feature


def dense(lm, feature, count=7):
    part = trace(lm, [feature], {feature.name: feature.hookpoints(lm)}, make_batch(count))[feature.name]
    vectors = feature(part)
    return {
        site: sparse_rows(vectors[f"{site}.indices"].long(), vectors[f"{site}.values"], width).to_dense()
        for site, width in feature.widths(lm).items()
    }, part


def test_each_reads_the_tensor_that_its_files_name(lm, w, tmp_path):
    hooks = {"a": "blocks.1.hook_resid_post", "b": "blocks.2.hook_mlp_out", "c": "blocks.3.hook_resid_pre"}
    for name, hook in hooks.items():
        sae_lens(tmp_path / name, w, hook_name=hook, model_name="")
    sparsify(tmp_path / "layers.0.mlp", w)
    feature = prepared(lm, tmp_path)
    sites = ["model.layers.1.output", "model.layers.2.mlp.output", "model.layers.3", "model.layers.0.mlp.output"]
    assert feature.sites(lm) == sites
    assert feature.layers(lm) == [2, 2, 3, 0]
    vectors, part = dense(lm, feature)
    for x, site in zip(part.activations.values(), sites[:3], strict=False):
        torch.testing.assert_close(vectors[site], ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu())


def test_one_folder_may_be_the_autoencoder_or_lie_deep(lm, w, tmp_path, monkeypatch):
    monkeypatch.setattr(lm.config, "_name_or_path", "tiny/llama")
    folder = llama_scope(tmp_path / "Llama3_1-8B-Base-L1R-8x", w, 5.0, 0.3)
    assert prepared(lm, folder).sites(lm) == ["model.layers.1.output"]
    deep = "layer_1/width_16k/average_l0_71"
    gemma_scope(tmp_path / "gemma-scope-2b-pt-res" / deep, w)
    with pytest.warns(UserWarning, match="names 'google/gemma-2-2b' as its model"):
        feature = prepared(lm, tmp_path / "gemma-scope-2b-pt-res", subfolders=[deep])
    assert feature.sites(lm) == ["model.layers.1.output"]
    assert feature.identity()["trained_on"]["model.layers.1.output"]["format"] == "Gemma Scope"
    with pytest.raises(ConfigError, match=r"a folder of the folders width_16k; name one of those"):
        prepared(lm, tmp_path / "gemma-scope-2b-pt-res")


def test_a_hook_is_named_where_the_files_do_not_say(lm, w, tmp_path):
    gemma_scope(tmp_path / "mine", w)
    with pytest.raises(ConfigError, match="does not say which tensor it reads"):
        prepared(lm, tmp_path)
    feature = prepared(lm, tmp_path, hooks={"mine": "blocks.2.hook_resid_pre"})
    assert feature.sites(lm) == ["model.layers.2"]
    sae_lens(tmp_path / "said", w, model_name="")
    with pytest.raises(ConfigError, match=r"says that it reads 'blocks.1.hook_resid_post': leave it out"):
        prepared(lm, tmp_path, subfolders=["said"], hooks={"said": "blocks.2.hook_resid_pre"})


def test_two_of_one_site_and_another_width_are_refused(lm, w, tmp_path):
    for name in ("one", "two"):
        sae_lens(tmp_path / name, w, model_name="")
    with pytest.raises(ConfigError, match="'one' and 'two' both read 'model.layers.1.output'"):
        prepared(lm, tmp_path)
    sae_lens(tmp_path / "narrow", weights(D // 2, M), model_name="")
    with pytest.raises(ConfigError, match="was trained for width 16 and would read 32"):
        prepared(lm, tmp_path, subfolders=["narrow"])


def test_a_feature_and_its_control_share_an_autoencoder(lm, tmp_path, monkeypatch):
    sparsify(tmp_path / "layers.1", weights(D, M, seed=1))
    reads, read = [], WeightFile.read
    monkeypatch.setattr(WeightFile, "read", lambda self, name, *a, **k: reads.append(name) or read(self, name, *a, **k))
    feature, control = prepared(lm, tmp_path), prepared(lm, tmp_path)
    assert sorted(reads) == ["b_dec", "encoder.bias", "encoder.weight"]
    assert torch.equal(dense(lm, feature)[0]["model.layers.1.output"], dense(lm, control)[0]["model.layers.1.output"])


def test_batches_that_use_more_or_fewer_latents_fill_one_shard():
    parts = [torch.tensor([[1, 2, 3]]), torch.tensor([[4]]), torch.tensor([[5, 6]])]
    assert _joined(parts).tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0]]
    assert _joined([torch.tensor([3]), torch.tensor([1, 2])]).tolist() == [3, 1, 2]
