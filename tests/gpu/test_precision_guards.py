"""TF32 and half precision are for training: scores and statistics are the same, whatever a trainer has chosen."""

import pytest
import torch

from madkit import scores
from madkit.streaming import Moments

MAKERS = {
    "mahalanobis": scores.Mahalanobis,
    "ledoit_wolf": lambda: scores.Mahalanobis(shrinkage="ledoit-wolf"),
    "diagonal": scores.DiagonalMahalanobis,
    "lof": lambda: scores.LocalOutlierFactor(k=5),
    "knn": lambda: scores.KNearestNeighbours(k=5),
    "residual": scores.PrincipalResidual,
    "entropy": scores.QuantumEntropy,
    "likelihood": scores.LikelihoodRatio,
    "mixture": lambda: scores.GaussianMixture(components=2),
}


def rows(n, d=48, seed=0):
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=torch.Generator().manual_seed(9))
    return torch.randn(n, d, generator=draw) @ mixing + 30


@pytest.fixture(params=["highest", "high", "medium", "of the backend"])
def precision(request):
    """What float32 products may lose."""
    if request.param == "of the backend":
        if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
            pytest.skip("torch before 2.9")
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    else:
        torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("name", MAKERS)
def test_scores_are_those_of_a_cpu(card, precision, name):
    trusted, test = rows(200), rows(60, seed=1)
    expected = MAKERS[name]().fit(trusted, test)(test)
    with torch.autocast(card.type, torch.bfloat16):
        found = MAKERS[name]().fit(trusted.to(card), test.to(card))(test.to(card)).cpu()
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected.double(), rtol=1e-7, atol=1e-9 * scale)


def test_moments_are_those_of_a_cpu(card, precision):
    moments, expected = Moments(), Moments()
    moments.to(card)
    for batch in rows(300).split(37):
        expected.update(batch)
        with torch.autocast(card.type, torch.bfloat16):
            moments.update(batch.to(card))
    found, there = moments.result().covariance.cpu(), expected.result().covariance
    torch.testing.assert_close(found, there, rtol=1e-10, atol=1e-10 * float(there.abs().max()))
