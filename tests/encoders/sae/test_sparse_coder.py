"""Sparse autoencoders: sparsify's own format, losses whose gradients arrive, and dictionaries that are recovered."""

import contextlib
import io

import pytest
import torch

from madkit.encoders.sae import reconstruction
from madkit.encoders.sae.formats import open_sae
from madkit.encoders.sae.sparse_coder import ScaledCoder, coder_losses, new_coder
from madkit.errors import ConfigError

with contextlib.redirect_stdout(io.StringIO()):
    import sparsify


def direct(coder, x, dead=None):
    """The losses by dense matrices and only the library's weights."""
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
    found, expected = coder_losses(coder, x, dead)[part], direct(coder, x, dead)[part]
    torch.testing.assert_close(found, expected)
    ours, theirs = gradients(coder, coder_losses(coder, x, dead)[part]), gradients(coder, direct(coder, x, dead)[part])
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("every", [0, 1, 2, 3, 20])  # of 160 latents every so many are dead; 6 of them may be used
@pytest.mark.parametrize("shift", [0.0, -2.0])  # with the second, most rows have fewer than k positive latents
def test_gradients_of_a_mixture_of_losses_are_those_of_dense_autograd_in_float64(multi, every, shift):
    torch.manual_seed(every)
    coder = new_coder(12, 160, 4, multi_topk=multi).double()
    with torch.no_grad():
        coder.encoder.bias.normal_(std=0.1).add_(shift)
        coder.b_dec.normal_(std=0.1)
    x = torch.randn(64, 12, dtype=torch.float64)
    dead = (torch.arange(160) % every == 0) if every else None
    weights = torch.tensor([1.0, 0.3, 0.7], dtype=torch.float64)
    ours = coder_losses(coder, x, dead)[:3]
    torch.testing.assert_close(torch.stack(ours), torch.stack(direct(coder, x, dead)))
    expected = gradients(coder, torch.stack(direct(coder, x, dead)) @ weights)
    found = gradients(coder, torch.stack(coder_losses(coder, x, dead)[:3]) @ weights)
    assert set(found) == set(expected) == {"encoder.weight", "encoder.bias", "W_dec", "b_dec"}
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("threshold", [0.0, 2.0])
def test_dense_and_sparse_products_over_dead_latents_agree(case, threshold, monkeypatch):
    coder, x, dead = case
    monkeypatch.setitem(reconstruction.DENSE_FROM, "cpu", threshold)
    expected = gradients(coder, direct(coder, x, dead)[1])
    found = gradients(coder, coder_losses(coder, x, dead).auxk)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-4, msg=name)


def test_losses_are_the_same_without_gradients_and_twice_the_same_to_the_last_bit(case):
    coder, x, dead = case
    first, second = coder_losses(coder, x, dead), coder_losses(coder, x, dead)
    with torch.no_grad():
        third = coder_losses(coder, x, dead)
    for a, b, c in zip(first, second, third, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c) and not c.requires_grad
    once, again = gradients(coder, sum(first[:3])), gradients(coder, sum(second[:3]))
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_a_decoder_row_may_turn_but_not_grow(case):
    coder, x, dead = case
    encoder = ScaledCoder(coder)
    found = gradients(coder, coder_losses(coder, x, dead).error)["W_dec"]
    rows = coder.W_dec.detach()
    encoder.remove_growth()
    torch.testing.assert_close(coder.W_dec.grad, found - (found * rows).sum(1, keepdim=True) * rows)
    assert float((coder.W_dec.grad * rows).sum(1).abs().max()) < 1e-4


@pytest.mark.parametrize("part", ["auxk", "multi"])
def test_auxiliary_losses_reach_the_encoder(case, part):
    coder, x, dead = case
    found = gradients(coder, getattr(coder_losses(coder, x, dead), part))
    assert float(found["encoder.weight"].abs().sum()) > 0
    if part == "auxk":
        assert float(found["encoder.weight"][~dead].abs().sum()) == 0


def test_auxiliary_losses_under_bfloat16_are_near_those_of_float32(case):
    coder, x, dead = case
    exact = coder_losses(coder, x, dead)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = coder_losses(coder, x, dead)
    for part in ("error", "auxk", "multi"):
        torch.testing.assert_close(getattr(found, part).float(), getattr(exact, part), rtol=0.05, atol=0.5)
    assert float(gradients(coder, found.auxk + found.multi)["encoder.weight"].abs().sum()) > 0


def test_without_auxiliary_losses_values_and_gradients_are_the_librarys(case):
    _, x, _ = case
    coder = new_coder(12, 48, 4)
    out = coder(x)
    found = coder_losses(coder, x)
    variance = (x - x.mean(0)).square().sum()
    torch.testing.assert_close(found.error / variance, out.fvu)
    ours, theirs = gradients(coder, coder_losses(coder, x).error / variance), gradients(coder, coder(x).fvu)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name])
    acts, indices, _ = coder.encode(x)
    assert torch.equal(found.fired, torch.bincount(indices[acts > 0], minlength=48))


def test_the_exported_coder_of_raw_activations_is_the_one_that_was_trained():
    torch.manual_seed(0)
    encoder = ScaledCoder(new_coder(8, 32, 4))
    x = 50 * torch.randn(64, 8) + 20
    encoder.standardise(x.mean(0), float(x.var(0).mean()))
    with torch.no_grad():
        encoder.coder.encoder.bias.normal_()
    exported = encoder.exported()
    torch.testing.assert_close(exported(x).sae_out, encoder.scale * encoder.coder(encoder.scaled(x)).sae_out)
    torch.testing.assert_close(
        exported.encode(x).top_acts.sort(dim=1).values,
        encoder.scale * encoder.coder.encode(encoder.scaled(x)).top_acts.sort(dim=1).values,
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip
    assert torch.equal(exported.W_dec, encoder.coder.W_dec)


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
    values, _ = open_sae(tmp_path / "layers.2").encoder(published)(x)
    assert torch.equal(values, published.encode(x).top_acts)


@pytest.mark.parametrize(("latents", "k", "multi"), [(8, 9, False), (8, 0, False), (8, 3, True)])
def test_more_latents_than_there_are_cannot_be_used(latents, k, multi):
    with pytest.raises(ConfigError, match=f"k={k} of {latents} latents"):
        new_coder(4, latents, k, multi_topk=multi)
