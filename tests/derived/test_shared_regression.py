"""Detectors that regress the same rows share one regression, and no others do."""

import torch

from madkit.streaming import ridge
from madkit.streaming.covariance import covariance_statistics
from madkit.streaming.ridge import ridge_regression


def test_one_decomposition_serves_the_same_rows_and_no_others(monkeypatch):
    calls, plain = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda x: calls.append(1) or plain(x))
    monkeypatch.setattr(ridge, "_last", {})
    for n in (12, 3):  # more rows than numbers in each, and fewer
        rows = torch.randn(n, 6, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
        first, again = (ridge_regression(covariance_statistics(rows.clone()), 3, 0.1) for _ in range(2))
        assert len(calls) == 1 and first is again
        moved = rows.clone()
        moved[0, 0] += 1e-9
        others = [
            ridge_regression(covariance_statistics(moved), 3, 0.1),
            ridge_regression(covariance_statistics(rows), 2, 0.1),
            ridge_regression(covariance_statistics(rows), 2, 0.2),
        ]
        assert len(calls) == 4 and not any(other is first for other in others)
        assert not torch.equal(others[0].coefficients, first.coefficients)
        calls.clear()
