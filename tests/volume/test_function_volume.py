"""Local volumes of functions of a vector, against laws that are known exactly."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from madkit.errors import ConfigError, DataError
from madkit.volume import Diagonal, Matrix, adam_scales, inverse_root, log_mass, log_volume
from madkit.volume.estimation.crossings import find_crossings
from madkit.volume.weight_space.direction import Direction


def ball(center, curvature=2.0):
    return lambda w: curvature * ((w - center) ** 2).sum(-1)


def center_of(dimension, norm):
    center = torch.zeros(dimension, dtype=torch.float64)
    center[-1] = norm
    return center


def log_standard_error(logs):
    """The standard error of a log-mean-exp."""
    parts = np.exp(logs - logs.max())
    return parts.std(ddof=1) / parts.mean() / math.sqrt(len(logs))


@pytest.mark.parametrize("dimension", [50, 400])
def test_a_ball_about_the_origin_is_exact(dimension):
    estimate = log_volume(ball(0.0), torch.zeros(dimension).double(), 0.5, 1.0, 25, tolerance=1e-9)
    expected = float(log_mass(dimension, 0.5))
    assert estimate.log_volume.value == pytest.approx(expected, abs=1e-6)
    assert estimate.mean.value == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(estimate.radii, 0.5, rtol=1e-9)
    assert estimate.reached.all()


def test_a_ball_away_from_the_origin_is_within_three_standard_errors():
    center = center_of(50, 3.0)
    estimate = log_volume(ball(center), center, 0.5, 1.0, 4000, tolerance=1e-8, batched=True)
    error = log_standard_error(estimate.log_volumes)
    assert error < 0.01
    assert estimate.log_volume.value == pytest.approx(-114.588, abs=3 * error + 1e-3)
    low, high = estimate.log_volume[1:]
    assert low < -114.588 + 0.02 and high > -114.588 - 0.02 and high - low == pytest.approx(4 * error, rel=0.3)


@settings(max_examples=25)
@given(st.integers(1, 60), st.floats(0, 2), st.floats(0.01, 2), st.floats(0.5, 2), st.integers(0, 10**6))
def test_the_non_central_chi_square_law(dimension, norm, cutoff, sigma, seed):
    center = center_of(dimension, norm)
    estimate = log_volume(ball(center), center, cutoff, sigma, 600, seed=seed, tolerance=1e-7, batched=True)
    law = stats.ncx2(dimension, max((norm / sigma) ** 2, 1e-12))
    expected = law.logcdf(cutoff / 2 / sigma**2)
    # Five standard errors: there are many examples.
    assert estimate.log_volume.value == pytest.approx(expected, abs=5 * log_standard_error(estimate.log_volumes) + 1e-5)


def test_preconditioners_of_an_ellipsoid_agree_and_the_ideal_one_has_no_scatter():
    """About the origin of a wide Gaussian the mass is the volume times the density: a closed form."""
    torch.manual_seed(0)
    curvature = torch.logspace(-1, 1, 12, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))
    hessian = rotation @ torch.diag(curvature) @ rotation.T
    sigma, cutoff = 1e4, 1e-2
    log_ball = 6 * math.log(math.pi) - special.gammaln(7)
    half_axes = 12 / 2 * math.log(2 * cutoff) - 0.5 * float(curvature.log().sum())
    expected = log_ball + half_axes - 6 * math.log(2 * math.pi * sigma**2)

    def straight(w):
        return 0.5 * (w * curvature * w).sum(-1)

    def rotated(w):
        return 0.5 * ((w @ hessian) * w).sum(-1)

    options = {"cutoff": cutoff, "sigma": sigma, "tolerance": 1e-9, "batched": True}
    center = torch.zeros(12, dtype=torch.float64)
    ideal = log_volume(straight, center, preconditioner=Diagonal(curvature**-0.5), **options)
    np.testing.assert_allclose(ideal.log_volumes, expected, atol=1e-6)
    root = rotation @ torch.diag(curvature**-0.5) @ rotation.T
    both = log_volume(rotated, center, preconditioner=Matrix(3 * root), **options)
    np.testing.assert_allclose(both.log_volumes, expected, atol=1e-6)
    plain = log_volume(rotated, center, directions=4000, **options)
    assert plain.log_volume.value == pytest.approx(expected, abs=5 * log_standard_error(plain.log_volumes))
    # A preconditioner that is wrong is unbiased all the same.
    wrong = log_volume(straight, center, directions=4000, preconditioner=Diagonal(curvature**-0.2), **options)
    assert wrong.log_volume.value == pytest.approx(expected, abs=5 * log_standard_error(wrong.log_volumes))


@pytest.mark.parametrize("stretch", [1.01, 1e3])
def test_the_interval_is_that_of_resampled_logsumexps(stretch):
    """Also where volumes are further apart than a float can tell."""
    estimate = log_volume(ball(0.0), torch.zeros(300).double(), 0.5, 1.0, 6)
    estimate = dataclasses.replace(estimate, stretches=stretch ** np.arange(6.0))
    x = estimate.log_volumes
    assert (np.ptp(x) > 1e4) == (stretch > 2)
    rows = np.random.default_rng(0).integers(6, size=(10_000, 6))
    expected = np.quantile(special.logsumexp(x[rows], axis=1) - np.log(6), [0.025, 0.975])
    np.testing.assert_allclose(estimate.log_volume[1:], expected, rtol=1e-12)


def test_adams_second_moment_is_a_preconditioner():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
    scale = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    for _ in range(50):
        model(scale * torch.randn(8, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    scales = adam_scales(optimizer, model.named_parameters())["weight"][0]
    assert (scales.diff() < 0).all()
    second = optimizer.state[model.weight]["exp_avg_sq"][0].double()
    torch.testing.assert_close(scales, 1 / (second.sqrt() + 1e-5))
    assert float(Diagonal(scales).scales.log().sum()) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ConfigError, match="no second moment of 'weight'"):
        adam_scales(torch.optim.SGD(model.parameters(), lr=1.0), model.named_parameters())
    with pytest.raises(ConfigError, match="eps=0"):
        inverse_root(second, eps=0)


def test_a_radius_is_a_point_that_was_evaluated():
    """The published bisection returned the midpoint after the one that met the cutoff: 0.75 for 0.5."""
    seen = {}

    def change(which, radii):
        values = 2.0000001 * radii**2 + radii**5
        seen.update(zip(radii.tolist(), values.tolist(), strict=True))
        return values

    crossings = find_crossings(change, np.array([1.0, 1e-4, 30.0]), np.full(3, 1e3), 0.5)
    for radius, value in zip(crossings.radii, crossings.changes, strict=True):
        assert seen[radius] == value == pytest.approx(0.5, rel=1e-3)
    assert crossings.evaluations.max() <= 12


@settings(max_examples=80)
@given(st.floats(0.3, 9), st.floats(-12, 12), st.floats(-8, 2), st.floats(0, 5), st.sampled_from([1e-3, 1e-10]))
def test_radii_of_steep_flat_and_saturating_losses(power, scale, start, ceiling, tolerance):
    """Powers of the distance, of any scale, that level off above the cutoff."""
    top = 0.01 * (1.5 + 10.0**ceiling)

    def change(which, radii):
        with np.errstate(over="ignore"):
            return top * -np.expm1(-((radii * np.exp(scale)) ** power) / top)

    crossings = find_crossings(change, np.array([np.exp(start)]), np.array([1e30]), 0.01, tolerance)
    root = (-top * np.log1p(-0.01 / top)) ** (1 / power) / np.exp(scale)
    assert crossings.reached.all() and abs(crossings.changes[0] - 0.01) <= tolerance * 0.01
    assert crossings.radii[0] == pytest.approx(root, rel=2 * tolerance / min(power, 1) + 1e-12)
    assert crossings.evaluations[0] <= 80


def test_a_direction_that_never_reaches_the_cutoff_counts_with_its_complete_half_line():
    """A slab: unlimited across, so its mass is that of an interval."""
    dimension = 4

    def slab(w):
        return torch.clamp(w[..., 0].abs(), max=0.5) ** 2

    estimate = log_volume(slab, torch.zeros(dimension).double(), 1.0, 1.0, 20, batched=True)
    assert not estimate.reached.any() and np.isinf(estimate.radii).all()
    np.testing.assert_allclose(estimate.log_volumes, 0, atol=1e-12)
    assert "cutoff never reached in 20" in repr(estimate)
    cut = log_volume(lambda w: w[..., 0] ** 2, torch.zeros(dimension).double(), 1.0, 1.0, 5000, batched=True)
    expected = math.log(stats.norm.cdf(1) - stats.norm.cdf(-1))
    assert cut.log_volume.value == pytest.approx(expected, abs=4 * log_standard_error(cut.log_volumes))
    assert 0 < (~cut.reached).sum() < 1000
    # The squared distance from the origin is chi-squared: beyond the bound there is next to nothing.
    np.testing.assert_array_equal(cut.bounded[cut.reached], cut.radii[cut.reached])
    assert np.isfinite(cut.bounded).all() and (stats.chi2.sf(cut.bounded[~cut.reached] ** 2, dimension) < 1e-15).all()


def test_a_loss_that_overflows_is_above_the_cutoff():
    def loss(w):
        return (w**2).sum() if (w**2).sum() < 1e-6 else torch.tensor(float("nan"))

    estimate = log_volume(loss, torch.ones(3).double() * 0, 1e-8, 1.0, 3)
    np.testing.assert_allclose(estimate.radii, 1e-4, rtol=1e-3)


def test_a_loss_that_does_not_vanish_is_refused_and_a_step_function_said_to_be_one():
    with pytest.raises(DataError, match="however close to the centre"):
        log_volume(lambda w: float(w.norm() > 0), torch.zeros(3).double(), 1e-3, 1.0, 2)
    with pytest.warns(UserWarning, match="jumps there"):
        estimate = log_volume(lambda w: torch.floor(10 * w.norm()) / 10, torch.zeros(3).double(), 0.55, 1.0, 2)
    np.testing.assert_allclose(estimate.changes, [0.5, 0.5], atol=0.11)


def test_directions_are_uniform_on_the_sphere_and_the_same_however_they_are_cut():
    g = Direction(3, 1).normals("w", torch.arange(200_000))
    assert stats.kstest(g.double().numpy(), "norm").pvalue > 0.01
    assert abs(float((g[1:] * g[:-1]).mean())) < 0.01
    parts = [Direction(3, 1).normals("w", torch.arange(i, min(i + 777, 5000))) for i in range(0, 5000, 777)]
    assert torch.equal(torch.cat(parts), g[:5000])
    others = [Direction(4, 1).normals("w", torch.arange(9)), Direction(3, 2).normals("w", torch.arange(9))]
    others.append(Direction(3, 1).normals("v", torch.arange(9)))
    assert all(not torch.equal(g[:9], other) for other in others)


def test_one_seed_gives_one_number_and_float32_nearly_the_same():
    one, again = (log_volume(ball(1.0), torch.ones(9), 0.1, directions=5) for _ in range(2))
    assert one.sigma == pytest.approx(1.0)
    np.testing.assert_array_equal(one.log_volumes, again.log_volumes)
    assert not np.allclose(one.aligned, log_volume(ball(1.0), torch.ones(9), 0.1, directions=5, seed=1).aligned)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutoff": 0}, "cutoff=0"),
        ({"sigma": -1.0}, "sigma=-1"),
        ({"directions": 0}, "directions=0"),
        ({"tolerance": float("nan")}, "tolerance=nan"),
        ({"center": torch.zeros(3)}, "root mean square of center, which is 0"),
        ({"center": torch.zeros(2, 2)}, r"shape \(2, 2\)"),
        ({"center": torch.tensor([float("nan")])}, "finite numbers"),
        ({"loss": lambda w: w, "batched": True}, "one number each"),
        ({"preconditioner": lambda: Diagonal(torch.tensor([1.0, 0.0]))}, "positive and finite"),
        ({"preconditioner": lambda: Matrix(torch.ones(2, 2))}, "no inverse"),
        ({"preconditioner": lambda: Matrix(torch.ones(2, 3))}, "not square"),
    ],
)
def test_what_cannot_be_a_volume_is_refused(change, message):
    options = {"loss": ball(0.0), "center": torch.ones(3), **change}
    with pytest.raises(ConfigError, match=message):
        if "preconditioner" in options:
            options["preconditioner"] = options["preconditioner"]()
        log_volume(options.pop("loss"), options.pop("center"), **options)


def test_a_loss_that_is_nan_at_the_centre_is_refused():
    with pytest.raises(DataError, match="at the center is nan"):
        log_volume(lambda w: float("nan"), torch.ones(3))
