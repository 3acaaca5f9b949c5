"""Flows are densities: against the Jacobian, against a Gaussian, and after they were written and read."""

import json
import math

import numpy as np
import pytest
import torch

from madkit.encoders.flow.couplings import Whitening
from madkit.encoders.flow.laplace_flow import LaplaceFlow
from madkit.encoders.flow.rational_quadratic import Spline
from madkit.errors import ConfigError, DataError

KINDS = {"affine": {"splines": 0}, "spline": {"splines": 6}, "unrotated": {"splines": 0, "whiten": False}}


def shaken(width=6, seed=0, noise=0.3, **options):
    """A flow with random weights and a real whitening, in float64."""
    torch.manual_seed(seed)
    flow = LaplaceFlow(width, **{"couplings": 4, "hidden": 16, **options}).double()
    rows = torch.randn(200, width, dtype=torch.float64) @ torch.randn(width, width, dtype=torch.float64) + 3
    flow.standardise(200, rows.mean(0), torch.cov(rows.T))
    with torch.no_grad():
        for p in flow.parameters():
            if p.requires_grad:
                p.add_(noise * torch.randn_like(p))
    return flow, rows


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_determinant_is_that_of_autograds_jacobian(kind):
    flow, rows = shaken(**KINDS[kind])
    _, log_det = flow.requires_grad_(False).transform(rows[:5])
    for x, value in zip(rows[:5], log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: flow(v[None])[0], x)
        assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(float(value), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_density_is_that_of_laplace_plus_the_log_determinant(kind):
    flow, rows = shaken(**KINDS[kind])
    z, log_det = flow.transform(rows)
    expected = torch.distributions.Laplace(*torch.tensor([0.0, 1.0], dtype=torch.float64)).log_prob(z).sum(1) + log_det
    torch.testing.assert_close(flow.log_prob(rows), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(flow.bits(rows), -expected / 6 / math.log(2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_inverted(kind):
    flow, rows = shaken(**KINDS[kind])
    torch.testing.assert_close(flow.inverse(flow(rows)), rows, rtol=1e-8, atol=1e-8)
    z = torch.randn(50, 6, dtype=torch.float64)
    torch.testing.assert_close(flow(flow.inverse(z)), z, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_flow_of_two_coordinates_integrates_to_one(seed):
    flow, _ = shaken(width=2, seed=seed, noise=0.15, couplings=2)
    # A grid in whitened coordinates, which the whitening's determinant makes one of x.
    step = 0.05
    line = torch.arange(-20, 20, step, dtype=torch.float64)
    x, log_det = flow.requires_grad_(False).whitening.inverse(torch.cartesian_prod(line, line))
    assert float((flow.log_prob(x) + log_det).exp().sum() * step**2) == pytest.approx(1, abs=0.01)


def test_the_gaussian_it_is_compared_with_is_the_gaussian():
    flow, rows = shaken()
    normal = torch.distributions.MultivariateNormal(rows.mean(0), torch.cov(rows.T))
    expected = -normal.log_prob(rows) / 6 / math.log(2)
    torch.testing.assert_close(flow.gaussian_bits(rows), expected, rtol=1e-8, atol=1e-8)


def test_a_fresh_flow_is_its_whitening():
    flow = LaplaceFlow(5)
    x = torch.randn(4, 5)
    torch.testing.assert_close(flow(x).sort(dim=1).values, x.sort(dim=1).values)
    assert isinstance(flow.whitening, Whitening)


def test_autocast_does_not_touch_it():
    flow, rows = shaken(width=16)
    flow, rows = flow.float(), torch.randn(32, 16)
    plain = flow.log_prob(rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = flow.log_prob(rows.bfloat16().float())
        assert inside.dtype == torch.float32
        torch.testing.assert_close(flow.log_prob(rows), plain, rtol=0, atol=0)


def test_float32_agrees_with_float64():
    flow, rows = shaken(width=16)
    exact = flow.bits(rows)
    torch.testing.assert_close(flow.float().bits(rows.float()).double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_is_the_same_to_the_bit(kind, tmp_path):
    flow, rows = shaken(**KINDS[kind])
    flow = flow.float()
    flow.save(tmp_path, {"note": 1})
    again = LaplaceFlow.load(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    assert json.loads((tmp_path / "config.json").read_text())["note"] == 1
    assert torch.equal(again(rows.float()), flow(rows.float()))
    assert not any(p.requires_grad for p in again.parameters())


def test_training_beats_the_gaussian_on_what_is_not_gaussian():
    torch.manual_seed(0)

    def draw(n):
        a, b = torch.randn(n, 2), torch.distributions.Laplace(0.0, 1.0).sample((n, 2))
        curved = torch.stack([a[:, 0], a[:, 0] ** 2 + 0.3 * a[:, 1]], dim=1)
        return torch.cat([curved, b], dim=1) @ mix

    mix = torch.randn(4, 4)
    rows = draw(4096)
    flow = LaplaceFlow(4, couplings=6, hidden=32)
    flow.standardise(len(rows), rows.mean(0).double(), torch.cov(rows.T).double())
    optimizer = torch.optim.Adam([p for p in flow.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        flow.bits(draw(512)).mean().backward()
        optimizer.step()
    fresh = draw(4096)
    flow.requires_grad_(False)
    assert float(flow.bits(fresh).mean()) < float(flow.gaussian_bits(fresh).mean()) - 0.2
    values = np.abs(flow(fresh).numpy()).ravel()
    assert values.mean() == pytest.approx(1, abs=0.1)  # E|z| of Laplace(0, 1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"width": 1}, "width=1"),
        ({"couplings": 0}, "couplings=0"),
        ({"splines": 1}, "splines=1"),
        ({"blocks": -1}, "blocks=-1"),
    ],
)
def test_bad_options_are_named(options, named):
    with pytest.raises(ConfigError, match=named):
        LaplaceFlow(**{"width": 4, **options})


def test_too_few_rows_cannot_be_whitened_and_the_way_out_works():
    rows = torch.randn(5, 8, dtype=torch.float64)
    with pytest.raises(DataError, match="whiten false"):
        LaplaceFlow(8).standardise(5, rows.mean(0), torch.cov(rows.T))
    flow = LaplaceFlow(8, whiten=False)
    flow.standardise(5, rows.mean(0), torch.cov(rows.T))
    torch.testing.assert_close(flow(rows.float()).std(0), torch.ones(8))
    with pytest.raises(DataError, match="all equal"):
        flow.standardise(5, rows[0], torch.zeros(8, 8))


def test_other_widths_and_damaged_files_are_refused(tmp_path):
    flow = LaplaceFlow(4)
    with pytest.raises(DataError, match=r"\(n, 4\)"):
        flow(torch.randn(2, 5))
    with pytest.raises(ConfigError, match="madkit fit"):
        LaplaceFlow.load(tmp_path)
    flow.save(tmp_path, {})
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match="no flow that can be read"):
        LaplaceFlow.load(tmp_path)


def test_a_spline_is_undone_by_its_inverse_and_its_slope_is_its_derivative():
    rng = np.random.default_rng(0)
    numbers = [torch.tensor(rng.normal(size=(50, n)) * 2) for n in (5, 5, 5 - 1)]
    spline = Spline(*numbers, 6.0)
    x = torch.linspace(-7, 7, 50, dtype=torch.float64)
    y, log_slope = spline.forward(x)
    step = 1e-6
    slope = (spline.forward(x + step)[0] - spline.forward(x - step)[0]) / (2 * step)
    torch.testing.assert_close(log_slope, slope.log(), rtol=1e-5, atol=1e-5)
    back, log_back = spline.inverse(y)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_back, -log_slope, rtol=1e-8, atol=1e-8)
