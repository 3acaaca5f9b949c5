"""Sparse autoencoders of others: latents by each format's own formula, written here once more in plain NumPy."""

import json

import numpy as np
import pytest
import torch
from published_saes import gemma_scope, gemma_scope_2, llama_scope, sae_lens, sparsify, weights
from safetensors.torch import load_file, save_file
from torch import nn

from madkit.encoders.sae.formats import open_sae
from madkit.errors import ConfigError

D, M = 12, 40
X = 3 * np.random.default_rng(0).normal(size=(20, D)) + 1
RMS_MODEL, LAYER_NORM_MODEL = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.LayerNorm(2))


def latents(folder, x=X, lm=RMS_MODEL):
    """All latents (n, m) that the reader makes."""
    values, indices = open_sae(folder).encoder(lm)(torch.tensor(x, dtype=torch.float32))
    dense = np.zeros((len(x), M))
    for row in range(len(x)):
        for value, index in zip(values[row].tolist(), indices[row].tolist(), strict=True):
            dense[row, index] += value
    return dense


def plain(w):
    return {name: x.double().numpy() for name, x in w.items()}


def relu(x):
    return np.maximum(x, 0)


def largest(x, k):
    """x where it is among the k largest of its row."""
    kept = np.zeros_like(x)
    for row, values in enumerate(x):
        for j in sorted(range(len(values)), key=lambda j: -values[j])[:k]:
            kept[row, j] = values[j]
    return kept


def check(folder, expected, **options):
    found = latents(folder, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert (found > 0).any() and (found == 0).any()


@pytest.mark.parametrize("subtracted", [True, False, None])
def test_standard_autoencoders_of_saelens(tmp_path, subtracted):
    w = weights()
    settings = {} if subtracted is None else {"apply_b_dec_to_input": subtracted}
    folder = sae_lens(tmp_path / "sae", w, architecture="standard", **settings)
    p = plain(w)
    check(folder, relu((X - p["b_dec"] * (subtracted is not False)) @ p["W_enc"] + p["b_enc"]))


def test_gated_autoencoders_of_saelens(tmp_path):
    w = weights()
    names = ("W_enc", "b_gate", "r_mag", "b_mag", "W_dec", "b_dec")
    folder = sae_lens(tmp_path / "sae", w, names, architecture="gated", apply_b_dec_to_input=True)
    p = plain(w)
    x = X - p["b_dec"]
    gate = x @ p["W_enc"] + p["b_gate"] > 0
    check(folder, gate * relu(x @ (p["W_enc"] * np.exp(p["r_mag"])) + p["b_mag"]))


def test_jumprelu_autoencoders_of_saelens(tmp_path):
    w = weights()
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    metadata = {"hook_name": "blocks.7.hook_attn_out", "model_name": "meta-llama/Llama-3.2-1B-Instruct"}
    folder = sae_lens(
        tmp_path / "sae", w, names, architecture="jumprelu", apply_b_dec_to_input=False, metadata=metadata
    )
    p = plain(w)
    pre = X @ p["W_enc"] + p["b_enc"]
    check(folder, np.where(pre > p["threshold"], relu(pre), 0))
    assert open_sae(folder).hook == "blocks.7.hook_attn_out"
    assert open_sae(folder).model == "meta-llama/Llama-3.2-1B-Instruct"


@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "topk", "k": 6},
        {"architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 6}},
        {"architecture": "topk", "k": 6, "rescale_acts_by_decoder_norm": True},
    ],
)
def test_topk_autoencoders_of_saelens(tmp_path, settings):
    w = weights()
    folder = sae_lens(tmp_path / "sae", w, apply_b_dec_to_input=True, **settings)
    p = plain(w)
    pre = (X - p["b_dec"]) @ p["W_enc"] + p["b_enc"]
    if "rescale_acts_by_decoder_norm" in settings:
        pre = pre * np.linalg.norm(p["W_dec"], axis=1)
    check(folder, relu(largest(pre, 6)))


@pytest.mark.parametrize("kind", ["none", False, "constant_norm_rescale", "layer_norm", "expected_average_only_in"])
def test_what_saelens_does_to_activations_first(tmp_path, kind):
    w = weights()
    folder = sae_lens(tmp_path / "sae", w, normalize_activations=kind)
    p, x = plain(w), X
    if kind == "constant_norm_rescale":
        x = x * (D**0.5 / np.linalg.norm(x, axis=1, keepdims=True))
    elif kind == "layer_norm":
        x = (x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-5)
    elif kind == "expected_average_only_in":
        with pytest.raises(ConfigError, match="a factor that these files do not hold; save it again after"):
            latents(folder)
        (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.25}')
        x = 0.25 * x
    check(folder, relu((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"]))


@pytest.mark.parametrize("lm", [RMS_MODEL, LAYER_NORM_MODEL])
def test_an_autoencoder_of_centred_writes_reads_centred_activations(tmp_path, lm):
    w = weights()
    changes = {"center_writing_weights": True}
    folder = sae_lens(tmp_path / "sae", w, model_from_pretrained_kwargs=changes)
    p = plain(w)
    x = X - X.mean(1, keepdims=True) if lm is LAYER_NORM_MODEL else X
    check(folder, relu((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"]), lm=lm)


@pytest.mark.parametrize("with_norm", [True, False])
def test_autoencoders_of_llama_scope(tmp_path, with_norm):
    w, length, threshold = weights(), 7.0, 0.8
    folder = llama_scope(tmp_path / "L1R", w, length, threshold, sparsity_include_decoder_norm=with_norm)
    p = plain(w)
    # In training: of activations whose mean length is sqrt(d), and measured by the length of decoder columns.
    trained = (X * D**0.5 / length) @ p["W_enc"] + p["b_enc"]
    measured = trained * (np.linalg.norm(p["W_dec"], axis=1) if with_norm else 1)
    # In use: at the scale of the model's activations, which is that of the threshold.
    used = measured * length / D**0.5
    check(folder, np.where(used > threshold, used, 0))


def test_autoencoders_of_llama_scope_in_bfloat16(tmp_path):
    w = weights(dtype=torch.bfloat16)
    exact = latents(llama_scope(tmp_path / "exact", {k: x.float() for k, x in w.items()}, 7.0, 0.8))
    found = latents(llama_scope(tmp_path / "low", w, 7.0, 0.8))
    both = (found > 0) & (exact > 0)
    assert (found[both] - exact[both] <= 0.02 * exact.max()).all() and both.sum() > 0.95 * (exact > 0).sum()


@pytest.mark.parametrize("write", [gemma_scope, gemma_scope_2])
def test_autoencoders_of_gemma_scope(tmp_path, write):
    w = weights()
    folder = write(tmp_path / "gemma-scope-9b-pt-mlp" / "layer_20" / "width_16k" / "average_l0_71", w)
    p = plain(w)
    pre = X @ p["W_enc"] + p["b_enc"]
    check(folder, (pre > p["threshold"]) * relu(pre))
    sae = open_sae(folder)
    if write is gemma_scope:
        assert (sae.hook, sae.model) == ("blocks.20.hook_mlp_out", "google/gemma-2-9b")
    else:
        assert (sae.hook, sae.model) == ("model.layers.1.output", "google/gemma-3-1b-pt")


@pytest.mark.parametrize("activation", ["topk", "groupmax"])
def test_autoencoders_of_sparsify_are_the_librarys_to_the_last_bit(tmp_path, activation):
    import sparsify as library

    w = weights()
    folder = sparsify(tmp_path / "layers.1", w, activation=activation)
    x = torch.tensor(X, dtype=torch.float32)
    values, indices = open_sae(folder).encoder(RMS_MODEL)(x)
    theirs = library.SparseCoder.load_from_disk(folder).encode(x)
    assert torch.equal(values, theirs.top_acts) and torch.equal(indices, theirs.top_indices)


@pytest.mark.parametrize("write", [sae_lens, gemma_scope_2, sparsify])
def test_no_decoder_is_loaded(tmp_path, write):
    w = weights()
    with_decoder, without = write(tmp_path / "whole", w), tmp_path / "half"
    without.mkdir()
    for path in with_decoder.iterdir():
        if path.suffix == ".safetensors":
            half = {name: x for name, x in load_file(path).items() if name.lower() != "w_dec"}
            save_file(half, without / path.name)
        else:
            (without / path.name).write_bytes(path.read_bytes())
    assert (latents(without) == latents(with_decoder)).all()
    encoder = open_sae(with_decoder).encoder(RMS_MODEL)
    held = sum(x.untyped_storage().nbytes() for x in encoder.buffers())
    assert held < 1.3 * w["W_enc"].nbytes


def changed(folder, **settings):
    path = next(folder / name for name in ("cfg.json", "hyperparams.json", "config.json") if (folder / name).exists())
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


@pytest.mark.parametrize(
    ("write", "settings", "says"),
    [
        (sparsify, {"transcode": True}, "transcoder"),
        (sparsify, {"signed": True}, "signed: true lets latents be negative"),
        (sparsify, {"k": 41}, "k=41 of 40 latents"),
        (sparsify, {"activation": "gelu"}, "activation='gelu'"),
        (sparsify, {"d_in": 13}, "settings say 13 inputs and the tensors have 12"),
        (sae_lens, {"architecture": "jumprelu_transcoder"}, "a transcoder reads another tensor than it writes"),
        (sae_lens, {"architecture": "topk", "activation_fn_kwargs": {"k": 3, "signed": True}}, "signed: true"),
        (sae_lens, {"architecture": "jumprelu"}, "no tensor 'threshold'"),
        (sae_lens, {"activation_fn": "tanh-relu"}, "activation_fn='tanh-relu' is not read"),
        (sae_lens, {"normalize_activations": "whitened"}, "normalize_activations='whitened' is not read"),
        (sae_lens, {"hook_head_index": 3}, "one attention head"),
        (llama_scope, {"hook_point_out": "blocks.1.hook_mlp_out"}, "a transcoder that writes 'blocks.1.hook_mlp_out'"),
        (llama_scope, {"norm_activation": "token-wise"}, "norm_activation='token-wise'"),
        (gemma_scope_2, {"hf_hook_point_out": "model.layers.1.mlp.output"}, "give an SAE"),
    ],
)
def test_what_is_not_read_is_refused_in_one_line(tmp_path, write, settings, says):
    more = (7.0, 0.8) if write is llama_scope else ()
    folder = changed(write(tmp_path / "layers.1", weights(), *more), **settings)
    with pytest.raises(ConfigError, match=says) as error:
        latents(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_damaged_files_are_refused(tmp_path):
    folder = sparsify(tmp_path / "layers.1", weights())
    (folder / "sae.safetensors").write_bytes(b"1234")
    with pytest.raises(ConfigError, match="cannot be read"):
        latents(folder)
    (folder / "sae.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(ConfigError, match="pointer of Git LFS"):
        latents(folder)
    (folder / "cfg.json").write_text("{")
    with pytest.raises(ConfigError, match=r"cfg\.json' is damaged"):
        latents(folder)
    (gemma_scope(tmp_path / "gemma", weights()) / "params.npz").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="cannot be read"):
        latents(tmp_path / "gemma")
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "gemma" / "params.npz", W_enc=objects, b_enc=objects, threshold=objects)
    with pytest.raises(ConfigError, match="allow_pickle=False"):
        latents(tmp_path / "gemma")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (("ae.pt", "config.json"), "dictionary_learning.*ae.pt is a pickle; convert it"),
        (("sae.bin",), "'sae.bin', a pickle, which is never read; convert it"),
        (("config.json", "sae_weights.safetensors"), r"Language-Model-SAEs \(2025"),
        (("W_enc_0.safetensors", "config.yaml"), "a cross-layer transcoder"),
        (("model.safetensors", "config.json"), "a language model"),
        (("cfg.json",), "of which a part is missing"),
        (("layers.1/cfg.json",), "name one of those, or one inside, in `subfolders`"),
        ((), "without any file of one"),
    ],
)
def test_a_foreign_folder_is_called_what_it_is(tmp_path, files, says):
    for name in files:
        path = tmp_path / "sae" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (tmp_path / "sae").mkdir(exist_ok=True)
    with pytest.raises(ConfigError, match=says) as error:
        open_sae(tmp_path / "sae")
    assert "\n" not in str(error.value)
