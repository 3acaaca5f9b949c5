"""The ridge regression behind `Conditional`, by another route: scikit-learn, and one fit for each left-out prompt."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from madkit.derived import Conditional
from madkit.errors import ConfigError, DataError
from madkit.scores.common.saved_module import SavedModule
from madkit.streaming.covariance import covariance_statistics
from madkit.streaming.moments import Moments
from madkit.streaming.ridge import ridge_regression


def prompts(n=40, p=6, q=4, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(n, p)) * np.linspace(3, 0.1, p) + 5
    tuned = base @ rng.normal(size=(p, q)) + rng.normal(size=(n, q)) + 2
    return base, tuned


def fitted(base, tuned, **options):
    conditional = Conditional(**options)
    conditional.update([torch.tensor(base), torch.tensor(tuned)])
    conditional.finalize()
    return conditional


def alpha(base, penalty):
    return penalty * np.square(base - base.mean(0)).sum() / base.shape[1]


@pytest.mark.parametrize(("n", "p"), [(40, 6), (10, 15)])
def test_residuals_of_new_prompts_are_those_of_scikit_learn(n, p):
    base, tuned = prompts(n, p)
    new_base, new_tuned = prompts(7, p, seed=1)
    expected = new_tuned - Ridge(alpha=alpha(base, 0.02)).fit(base, tuned).predict(new_base)
    conditional = fitted(base, tuned, penalty=0.02)
    np.testing.assert_allclose(conditional([torch.tensor(new_base), torch.tensor(new_tuned)]), expected, atol=1e-10)


@pytest.mark.parametrize(("n", "p"), [(40, 6), (10, 15)])
def test_trusted_residuals_are_those_of_a_regression_without_the_prompt(n, p):
    base, tuned = prompts(n, p)
    strength = alpha(base, 0.02)
    keep = ~np.eye(n, dtype=bool)
    expected = [
        tuned[i] - Ridge(alpha=strength).fit(base[keep[i]], tuned[keep[i]]).predict(base[[i]])[0] for i in range(n)
    ]
    conditional = fitted(base, tuned, penalty=0.02)
    actual = conditional([torch.tensor(base), torch.tensor(tuned)], trusted=True)
    np.testing.assert_allclose(actual, expected, atol=1e-9)


def test_studentised_residuals_have_one_variance_for_trusted_and_new_prompts():
    # Under the model itself, by simulation: noise of variance 1, an unpenalised fit, new prompts far from the others.
    rng = np.random.default_rng(0)
    base, far = rng.normal(size=(12, 4)), rng.normal(size=(6, 4)) * 4
    true = np.ones((4, 1))
    trusted, new = [], []
    for _ in range(400):
        tuned, new_tuned = base @ true + rng.normal(size=(12, 1)), far @ true + rng.normal(size=(6, 1))
        conditional = fitted(base, tuned, studentised=True, penalty=1e-9)
        trusted.append(conditional([torch.tensor(base), torch.tensor(tuned)], trusted=True))
        new.append(conditional([torch.tensor(far), torch.tensor(new_tuned)]))
    for rows in (trusted, new):
        by_prompt = torch.cat(rows, dim=1).square().mean(1)
        assert float((by_prompt - 1).abs().max()) < 0.35, by_prompt


@pytest.mark.parametrize(("n", "p"), [(40, 6), (12, 15)])
def test_the_penalty_minimises_generalised_cross_validation(n, p):
    base, tuned = prompts(n, p)
    ridge = ridge_regression(covariance_statistics(torch.tensor(np.hstack([base, tuned]))), p)
    x, y = base - base.mean(0), tuned - tuned.mean(0)

    def criterion(strength):
        hat = x @ np.linalg.solve(x.T @ x + strength * np.eye(p), x.T) + 1 / n
        return n * np.square(y - hat @ y).sum() / (n - np.trace(hat)) ** 2

    scale = np.square(x).sum() / p
    others = [criterion(scale * 10.0**power) for power in np.linspace(-9, 2, 89)]
    assert criterion(ridge.penalty) == pytest.approx(min(others), rel=1e-6)


def test_neither_batches_nor_a_second_process_change_the_vectors():
    base, tuned = prompts()
    whole = fitted(base, tuned)
    parts = Conditional()
    for rows in (slice(30, 40), slice(0, 3), slice(3, 30)):
        parts.update([torch.tensor(base[rows]), torch.tensor(tuned[rows])])
    new = [torch.tensor(x) for x in prompts(5, seed=3)]
    torch.testing.assert_close(parts(new), whole(new), rtol=1e-10, atol=1e-10)


def test_a_prompt_alone_in_a_direction_has_a_finite_residual():
    base, tuned = prompts(8, 6)
    base[:, 5] = 0
    base[0, 5] = 1
    conditional = fitted(base, tuned, penalty=1e-12)
    assert torch.isfinite(conditional([torch.tensor(base), torch.tensor(tuned)], trusted=True)).all()


def test_it_is_saved_and_read_bit_by_bit(tmp_path):
    conditional = fitted(*prompts(), studentised=True)
    conditional.save(tmp_path)
    new = [torch.tensor(x) for x in prompts(5, seed=3)]
    assert torch.equal(SavedModule.load(tmp_path)(new), conditional(new))


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="penalty=0"):
        Conditional(penalty=0)
    with pytest.raises(DataError, match="no trusted prompts"):
        Conditional().finalize([2, 2])
    with pytest.raises(DataError, match="without variance"):
        fitted(np.ones((5, 2)), np.ones((5, 2)))
    with pytest.raises(DataError, match="NaN"):
        fitted(np.full((5, 2), np.nan), np.ones((5, 2)))


def test_the_regression_sees_only_the_rows_it_is_given():
    base, tuned = prompts()
    moments = Moments()
    moments.update(torch.tensor(np.hstack([base, tuned])))
    ridge = ridge_regression(moments.result(), 6, 0.1)
    np.testing.assert_allclose(ridge.leverages(torch.tensor(base)).mean() * 40, 1 + np.trace(hat(base, 0.1)), rtol=1e-9)


def hat(base, penalty):
    x = base - base.mean(0)
    return x @ np.linalg.solve(x.T @ x + alpha(base, penalty) * np.eye(x.shape[1]), x.T)
