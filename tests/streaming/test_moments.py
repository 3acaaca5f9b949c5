"""Streamed moments against plain sums."""

import numpy as np
import pytest
import torch

from madkit.streaming import Extremes, Moments, Pool, Variances


def rows(n=60, d=6, seed=0):
    """Rows with a constant feature, a feature that is mostly zero, and a mean far from the origin."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 50
    x[:, 0] = 0.1
    x[:, 1] *= rng.random(n) < 0.3
    return torch.tensor(x)


def close(a, b, rtol=1e-9):
    torch.testing.assert_close(a, b, rtol=rtol, atol=1e-12)


def test_moments_survive_a_large_offset():
    x = rows(1000)
    shift = 2.0**30
    moments = Moments()
    for batch in ((x * 2**20).round() / 2**20 + shift).split(7):
        moments.update(batch)
    exact = np.cov(((x * 2**20).round() / 2**20).numpy().T)
    np.testing.assert_allclose(moments.result().covariance, exact, rtol=1e-9, atol=1e-12)


def test_fourth_moments_are_the_plain_sums():
    x = rows(200)
    moments = Moments()
    for batch in x.split(9):
        moments.update(batch)
    centred = x - x.mean(0)
    close(moments.result().fourth, centred.square().sum(1).square().sum())
    # Ours is exactly zero for the constant feature; the plain sum is not quite.
    torch.testing.assert_close(moments.third, centred.square().sum(1) @ centred, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("kind", [Moments, Pool, Variances, Extremes])
def test_half_precision_and_float32_are_summed_as_float64(kind):
    x = rows(40).float()
    for given in (x, x.half()):
        found, expected = kind(), kind()
        for batch in given.split(9):
            found.update(batch)
        expected.update(given.double())
        for part in kind.parts:
            a, b = getattr(found, part), getattr(expected, part)
            assert a.dtype == b.dtype, part
            if kind is not Pool:
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-9)
        if kind is Pool:
            assert torch.equal(found.result(), expected.result())
