"""Scores against files of numbers that are right."""

from pathlib import Path

import numpy as np
import pytest

from madkit.scores import (
    DiagonalMahalanobis,
    LaplaceNLL,
    LikelihoodRatio,
    LocalOutlierFactor,
    Mahalanobis,
    NovelLatents,
    QuantumEntropy,
)

GOLDEN = Path(__file__).parent / "golden"

KNOWN = {
    "mahalanobis": Mahalanobis,
    "mahalanobis_relative": lambda: Mahalanobis(relative=True),
    "lof": LocalOutlierFactor,
    "lof_sklearn": LocalOutlierFactor,
    "lof_simplified": lambda: LocalOutlierFactor(variant="simplified"),
    "quantum_entropy": QuantumEntropy,
    "laplace_nll": LaplaceNLL,
    "likelihood_ratio": LikelihoodRatio,
    "diagonal_mahalanobis_drop": DiagonalMahalanobis,
    "diagonal_mahalanobis_ridge0.1": lambda: DiagonalMahalanobis(ridge=0.1),
    "novel_latents": NovelLatents,
}


@pytest.mark.parametrize("case", ["dense", "sae"])
@pytest.mark.parametrize("name", KNOWN)
def test_golden(case, name):
    arrays = np.load(GOLDEN / f"scores_{case}.npz")
    if name not in arrays:
        pytest.skip(f"{name} is not defined for {case}")
    score = KNOWN[name]().fit(arrays["trusted"], arrays["untrusted"])
    np.testing.assert_allclose(score(arrays["test"]), arrays[name], rtol=1e-8, atol=1e-12)
