"""Conformal p-values keep their promise, on average and for one calibration set."""

import numpy as np
import pytest
from scipy import integrate

from madkit.errors import ConfigError, DataError
from madkit.statistics import (
    ConformalMartingale,
    benjamini_hochberg,
    conformal_p_values,
    needed_calibration,
    realised_rate,
    smallest_rate,
)
from madkit.statistics.conformal import require_rate


@pytest.mark.parametrize("m", [19, 50, 99, 500, 5000])
@pytest.mark.parametrize("ties", [False, True])
def test_the_share_of_false_alarms_is_the_nominal_one(m, ties):
    rng = np.random.default_rng(m)
    draw = (lambda *n: rng.poisson(3, n).astype(float)) if ties else (lambda *n: rng.standard_t(3, n))
    repeats, per_set = 4000 if m < 1000 else 400, 20
    alarms = {fpr: [] for fpr in (0.01, 0.05, 0.1) if smallest_rate(m) <= fpr}
    for _ in range(repeats):
        p = conformal_p_values(draw(per_set), draw(m))
        for fpr, shares in alarms.items():
            shares.append((p <= fpr).mean())
    assert alarms
    for fpr, shares in alarms.items():
        error = np.std(shares) / np.sqrt(repeats)
        exact = np.floor(fpr * (m + 1) + 1e-9) / (m + 1)
        assert np.mean(shares) <= fpr + 4 * error
        if not ties:
            assert abs(np.mean(shares) - exact) <= 4 * error


def test_p_values_are_what_counting_gives():
    rng = np.random.default_rng(0)
    held_out, x = rng.integers(0, 9, 40).astype(float), rng.integers(-2, 12, 30).astype(float)
    expected = [(1 + sum(c >= s for c in held_out)) / 41 for s in x]
    assert conformal_p_values(x, held_out).tolist() == expected


def test_what_one_calibration_set_promises():
    rng = np.random.default_rng(1)
    for fpr, m in [(0.05, 60), (0.01, 99), (0.1, 400)]:
        bound = realised_rate(fpr, m, 0.9)
        held_out = np.sort(rng.random((4000, m)), axis=1)
        k = int(fpr * (m + 1) + 1e-9)
        rates = 1 - held_out[:, m - k]  # above the k-th largest, or at it, there is an alarm
        assert abs((rates <= bound).mean() - 0.9) < 4 * np.sqrt(0.09 / 4000)


def test_how_many_prompts_a_promise_needs():
    for fpr in (0.01, 0.02, 0.03, 0.05, 0.07, 1 / 3, 0.5):
        m = needed_calibration(fpr)
        assert smallest_rate(m) <= fpr < smallest_rate(m - 1)
    with pytest.raises(ConfigError, match=r"fpr=0.01 needs 99 calibration prompts and there are 98, which can promise"):
        require_rate(0.01, 98)
    with pytest.raises(ConfigError, match=r"fpr=1.5 is no rate"):
        require_rate(1.5, 98)
    with pytest.raises(DataError, match="calibration is empty"):
        conformal_p_values([1.0], [])


def test_a_selection_has_few_false_ones():
    rng = np.random.default_rng(2)
    shares = []
    for _ in range(300):
        held_out = rng.normal(size=400)
        x = np.concatenate([rng.normal(size=90), rng.normal(4, 1, size=10)])
        chosen = benjamini_hochberg(conformal_p_values(x, held_out)) <= 0.2
        shares.append(chosen[:90].sum() / max(1, chosen.sum()))
    assert np.mean(shares) <= 0.2 + 4 * np.std(shares) / np.sqrt(300)
    assert benjamini_hochberg([0.03, 0.01, 0.5]).tolist() == pytest.approx([0.045, 0.03, 0.5])


@pytest.mark.parametrize("ties", [False, True])
def test_an_exchangeable_stream_seldom_alarms_ever(ties):
    rng = np.random.default_rng(3)
    draw = (lambda n: np.zeros(n)) if ties else (lambda n: rng.normal(size=n))
    highest = [ConformalMartingale(draw(30), seed=i).update(draw(40)).highest for i in range(500)]
    for rate in (0.02, 0.05, 0.2):
        alarms = np.mean(np.array(highest) >= 1 / rate)
        assert alarms <= rate + 4 * np.sqrt(rate * (1 - rate) / 500)


def test_the_first_bet_is_fair_and_what_the_docstring_says():
    exponents = np.linspace(0.1, 0.9, 9)
    for rank in (10, 300, 5000, 9990):
        p = (rank + 0.5) / 10000
        capital = ConformalMartingale(-np.arange(9999.0)).update([0.5 - rank]).capital
        assert capital == pytest.approx(0.5 + 0.5 * np.mean(exponents * p ** (exponents - 1)), rel=0.05)
    assert [integrate.quad(lambda p, e=e: e * p ** (e - 1), 0, 1)[0] for e in exponents] == pytest.approx([1.0] * 9)


def test_a_change_is_noticed_also_when_it_comes_late():
    rng = np.random.default_rng(4)
    for late in (0, 1000):
        martingale = ConformalMartingale(rng.normal(size=300)).update(rng.normal(size=late))
        assert not martingale.alarm(0.01)
        assert martingale.update(rng.normal(2.5, 1, size=60)).alarm(0.01)
