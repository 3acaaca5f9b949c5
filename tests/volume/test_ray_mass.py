"""The radial integral against 40-digit quadrature, closed forms and scipy's distributions."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from madkit.errors import ConfigError
from madkit.volume import log_mass
from madkit.volume.estimation.ray_mass import outer_radius

DIMENSIONS = [1, 2, 3, 19, 20, 21, 400, 10**4, 10**7, 10**10]


def reference(dimension, radius, aligned=0.0, norm=0.0, sigma=1.0):
    """The definition, by tanh-sinh quadrature with 40 digits around the peak."""
    with mpmath.workdps(40):
        d, r, m, q = (mpmath.mpf(x) for x in (dimension, radius / sigma, aligned / sigma, norm / sigma))
        n = d - 1
        mode = (-m + mpmath.sqrt(m * m + 4 * n)) / 2
        peak = max(min(mode, r), mpmath.mpf(0))

        def rise(s):
            return (n * mpmath.log(s) if n else 0) - s * s / 2 - m * s

        top = rise(peak) if peak else mpmath.mpf(0)
        width = 1 / mpmath.sqrt((n / peak**2 if n else 0) + 1)
        if peak < mode:
            width = min(width, 1 / abs(n / peak - peak - m))
        steps = (-300, -100, -40, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20)
        points = sorted({min(max(peak + k * width, mpmath.mpf(0)), r) for k in steps})
        area = mpmath.quad(lambda s: mpmath.e ** (rise(s) - top) if s or not n else mpmath.mpf(0), points)
        return float((1 - d / 2) * mpmath.log(2) - mpmath.loggamma(d / 2) + top - q * q / 2 + mpmath.log(area))


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_integral_is_exact_from_one_dimension_to_ten_thousand_million(dimension):
    rng = np.random.default_rng(dimension % 97)
    for _ in range(6):
        sigma = 10 ** rng.uniform(-2, 2)
        norm = sigma * 10 ** rng.uniform(-2, 1) * dimension ** rng.choice([0, 0.5])
        share = rng.choice([-1, 1]) if dimension == 1 else rng.uniform(-1, 1) * rng.choice([1, dimension**-0.5])
        near = abs(np.sqrt(dimension) + 3 * rng.normal())
        radius = sigma * rng.choice([near, np.sqrt(dimension) * 10 ** rng.uniform(-4, 1)])
        expected = reference(dimension, radius, share * norm, norm, sigma)
        mass = float(log_mass(dimension, radius, share * norm, norm, sigma))
        # 1e-8 is what is promised; what is reached is the rounding of the largest term.
        assert mass == pytest.approx(expected, rel=1e-11, abs=1e-10)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_whole_space_has_mass_one(dimension):
    assert float(log_mass(dimension, np.inf)) == pytest.approx(0, abs=1e-12)
    assert float(log_mass(dimension, outer_radius(dimension))) == pytest.approx(0, abs=1e-12)
    assert float(log_mass(dimension, 0.0)) == -np.inf


@settings(max_examples=150)
@given(st.integers(1, 3000), st.floats(0.05, 3))
def test_about_the_origin_it_is_the_incomplete_gamma_function(dimension, share):
    radius = share * np.sqrt(dimension)
    expected = np.log(special.gammainc(dimension / 2, radius**2 / 2))
    if expected > -600:
        assert float(log_mass(dimension, radius)) == pytest.approx(expected, rel=1e-10, abs=1e-11)


@settings(max_examples=60)
@given(st.integers(2, 60), st.floats(0, 4), st.floats(0.3, 3), st.floats(0.3, 3))
def test_its_mean_over_the_sphere_is_the_non_central_chi_square_law(dimension, norm, radius, sigma):
    """By quadrature over the angle between direction and centre, which has a density in closed form."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    angle = (nodes + 1) * np.pi / 2
    weights = weights * np.sin(angle) ** (dimension - 2)
    weights = weights / weights.sum()
    logs = log_mass(dimension, np.full(400, radius), norm * np.cos(angle), norm, sigma)
    expected = stats.ncx2.cdf((radius / sigma) ** 2, dimension, max((norm / sigma) ** 2, 1e-300))
    if expected > 1e-250:
        assert special.logsumexp(logs, b=weights) == pytest.approx(np.log(expected), rel=1e-7, abs=1e-7)


def test_in_one_dimension_it_is_the_normal_law():
    """Both directions together: the mass of an interval."""
    both = log_mass(1, np.array([0.5, 2.0]), np.array([3.0, -3.0]), 3.0)
    expected = np.log(stats.norm.cdf(3.5) - stats.norm.cdf(1.0))
    assert special.logsumexp(both) - np.log(2) == pytest.approx(expected, rel=1e-12)


def test_the_published_cases():
    assert float(log_mass(50, 0.5)) == pytest.approx(-110.110, abs=1e-3)
    assert stats.ncx2.logcdf(0.25, 50, 9) == pytest.approx(-114.588, abs=1e-3)
    expected = 200 * np.log(0.125) - special.gammaln(201) + np.log(special.hyp1f1(200, 201, -0.125))
    assert float(log_mass(400, 0.5)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "arguments", [(0, 1.0), (3, -1.0), (3, np.nan), (3, 1.0, np.inf), (3, 1.0, 0, -1.0), (3, 1.0, 0, 0, 0.0)]
)
def test_what_is_no_mass_is_refused(arguments):
    with pytest.raises(ConfigError):
        log_mass(*arguments)
