"""Sparse autoencoders: sparsify's own format, losses whose gradients arrive, and dictionaries that are found."""

import contextlib
import io
import json

import pytest
import torch

from madkit.errors import ConfigError
from madkit.heads.coders import ScaledCoder, load_coder, losses, new_coder

with contextlib.redirect_stdout(io.StringIO()):
    import sparsify


def direct(coder, x, dead=None):
    """The losses by dense matrices and nothing of the library's but its weights."""
    k, width = coder.cfg.k, x.shape[1]
    w, b = coder.encoder.weight, coder.encoder.bias
    pre = ((x - coder.b_dec) @ w.T + b).relu()

    def kept(values, count):
        threshold = values.topk(count, dim=1).values[:, -1:]
        return torch.where(values >= threshold, values, 0.0)

    residual = x - (kept(pre, k) @ coder.W_dec + coder.b_dec)
    auxk = multi = x.new_zeros(())
    if dead is not None and dead.any():
        few = min(int(dead.sum()), width // 2)
        only = kept(torch.where(dead, pre, -1.0), few).clamp(min=0) * dead
        auxk = min(int(dead.sum()) / (width // 2), 1) * (only @ coder.W_dec - residual.detach()).square().sum()
    if coder.cfg.multi_topk:
        multi = (x - (kept(pre, 4 * k) @ coder.W_dec + coder.b_dec)).square().sum()
    return residual.square().sum(), auxk, multi


def gradients(coder, loss):
    coder.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in coder.named_parameters() if p.grad is not None}


@pytest.fixture
def case():
    torch.manual_seed(0)
    coder = new_coder(12, 48, 4, multi_topk=True)
    with torch.no_grad():
        coder.encoder.bias.normal_(std=0.1)
        coder.b_dec.normal_(std=0.1)
    return coder, torch.randn(32, 12), torch.arange(48) % 3 == 0


@pytest.mark.parametrize("part", [0, 1, 2])
def test_each_loss_and_all_its_gradients_are_those_of_dense_matrices(case, part):
    coder, x, dead = case
    found, expected = losses(coder, x, dead)[part], direct(coder, x, dead)[part]
    torch.testing.assert_close(found, expected)
    ours, theirs = gradients(coder, losses(coder, x, dead)[part]), gradients(coder, direct(coder, x, dead)[part])
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("part", ["auxk", "multi"])
def test_auxiliary_losses_reach_the_encoder(case, part):
    coder, x, dead = case
    found = gradients(coder, getattr(losses(coder, x, dead), part))
    assert float(found["encoder.weight"].abs().sum()) > 0
    if part == "auxk":
        assert float(found["encoder.weight"][~dead].abs().sum()) == 0


def test_auxiliary_losses_under_bfloat16_are_near_those_of_float32(case):
    coder, x, dead = case
    exact = losses(coder, x, dead)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses(coder, x, dead)
    for part in ("error", "auxk", "multi"):
        torch.testing.assert_close(getattr(found, part).float(), getattr(exact, part), rtol=0.05, atol=0.5)
    assert float(gradients(coder, found.auxk + found.multi)["encoder.weight"].abs().sum()) > 0


def test_without_auxiliary_losses_values_and_gradients_are_the_librarys(case):
    _, x, _ = case
    coder = new_coder(12, 48, 4)
    out = coder(x)
    found = losses(coder, x)
    variance = (x - x.mean(0)).square().sum()
    torch.testing.assert_close(found.error / variance, out.fvu)
    ours, theirs = gradients(coder, losses(coder, x).error / variance), gradients(coder, coder(x).fvu)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name])
    acts, indices, _ = coder.encode(x)
    assert torch.equal(found.fired, torch.bincount(indices[acts > 0], minlength=48))


def test_the_exported_coder_of_raw_activations_is_the_one_that_was_trained():
    torch.manual_seed(0)
    head = ScaledCoder(new_coder(8, 32, 4))
    x = 50 * torch.randn(64, 8) + 20
    head.standardise(x.mean(0), float(x.var(0).mean()))
    with torch.no_grad():
        head.coder.encoder.bias.normal_()
    exported = head.exported()
    torch.testing.assert_close(exported(x).sae_out, head.scale * head.coder(head.scaled(x)).sae_out)
    torch.testing.assert_close(
        exported.encode(x).top_acts.sort(dim=1).values,
        head.scale * head.coder.encode(head.scaled(x)).top_acts.sort(dim=1).values,
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip
    assert torch.equal(exported.W_dec, head.coder.W_dec)


def test_files_go_both_ways(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(5, 8)
    ours = ScaledCoder(new_coder(8, 32, 4)).exported()
    ours.save_to_disk(tmp_path / "ours")
    assert {p.name for p in (tmp_path / "ours").iterdir()} == {"cfg.json", "sae.safetensors"}
    theirs = sparsify.SparseCoder.load_from_disk(tmp_path / "ours")
    assert torch.equal(theirs(x).sae_out, ours(x).sae_out)
    published = sparsify.SparseCoder(8, sparsify.SparseCoderConfig(expansion_factor=4, k=3))
    published.save_to_disk(tmp_path / "layers.2")
    assert torch.equal(load_coder(tmp_path / "layers.2").encode(x).top_acts, published.encode(x).top_acts)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no sparse autoencoder"):
        load_coder(tmp_path)
    sparsify.SparseCoder(8, sparsify.SparseCoderConfig(k=3)).save_to_disk(tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps({**config, "transcode": True}))
    with pytest.raises(ConfigError, match="transcoder"):
        load_coder(tmp_path)
    (tmp_path / "sae.safetensors").write_bytes(b"1234")
    with pytest.raises(ConfigError, match="no sparse autoencoder"):
        load_coder(tmp_path)


@pytest.mark.parametrize(("latents", "k", "multi"), [(8, 9, False), (8, 0, False), (8, 3, True)])
def test_more_latents_than_there_are_cannot_be_used(latents, k, multi):
    with pytest.raises(ConfigError, match=f"k={k} of {latents} latents"):
        new_coder(4, latents, k, multi_topk=multi)
