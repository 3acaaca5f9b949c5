"""A monitor of vectors that are there already: the promise, the choice of a detector, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
import torch

from madkit import Monitor
from madkit.detection.detector import Detector
from madkit.errors import ConfigError, DataError, StoreError
from madkit.monitoring import VectorMonitor
from madkit.scores import KNearestNeighbours, LikelihoodRatio, Mahalanobis
from madkit.statistics import conformal_p_values

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(6, 6))


def draw(n, seed, odd=0.0):
    """Vectors of a base and of a tuned model at two sites; what is odd does not show in the base."""
    rng = np.random.default_rng(seed)
    base = {f"layer.{k}": rng.normal(size=(n, 6)) @ MIXING for k in (1, 2)}
    return {site: x + 0.1 * rng.normal(size=x.shape) + odd for site, x in base.items()}, base


def test_scores_and_p_values_are_those_of_the_parts_by_hand():
    x = draw(200, 1)[0]["layer.1"]
    monitor = VectorMonitor.fit(x, aggregation="mean")
    new = draw(5, 2)[0]["layer.1"]
    table = monitor.score(new, fpr=0.05)
    assert list(table) == ["score", "p_value", "alarm", "sites", "vectors"]
    fitted = monitor.state.detectors.sites[0].score
    np.testing.assert_allclose(table["score"], fitted(new), rtol=1e-12)
    np.testing.assert_array_equal(table["p_value"], conformal_p_values(fitted(new), monitor.state.calibration[:, 0]))
    held_out = np.isin(np.round(fitted(x).numpy(), 9), np.round(monitor.state.calibration[:, 0], 9))
    assert held_out.sum() == len(monitor.state.calibration) == 99
    assert monitor.state.n_fit + len(monitor.state.detectors.scale) + 99 == 200


def test_with_the_base_what_it_explains_is_left_out():
    tuned, base = draw(300, 1)
    with_base, alone = VectorMonitor.fit(tuned, base), VectorMonitor.fit(tuned)
    assert "do not explain" in with_base.description and "no base model" in alone.description
    new, new_base = draw(50, 2, odd=0.6)
    assert with_base.score(new, new_base, fpr=0.02)["alarm"].mean() > 0.9
    assert alone.score(new, fpr=0.02)["alarm"].mean() < 0.6


def test_false_alarms_are_as_often_as_promised():
    rates = []
    for seed in range(40):
        monitor = VectorMonitor.fit(draw(120, seed)[0], calibration=39, seed=seed)
        rates.append(monitor.score(draw(300, 1000 + seed)[0], fpr=0.05)["alarm"].mean())
    assert abs(np.mean(rates) - 0.05) < 4 * np.std(rates, ddof=1) / len(rates) ** 0.5


def test_any_array_goes_in_and_equal_prompts_stay_together():
    tuned, _ = draw(60, 3)
    twice = {site: np.concatenate([x, x]) for site, x in tuned.items()}
    monitor = VectorMonitor.fit(twice, calibration=20)
    assert len(monitor.state.calibration) == 20 and monitor.state.n_fit % 2 == 0
    given = {
        "layer.1": torch.tensor(tuned["layer.1"]).bfloat16(),
        "layer.2": pd.DataFrame(tuned["layer.2"].astype(np.float16)),
    }
    found, expected = monitor.score(given, fpr=0.1)["layer.1"], monitor.score(tuned, fpr=0.1)["layer.1"]
    np.testing.assert_allclose(found, expected, rtol=0.2, atol=0.5)


def test_a_saved_monitor_gives_the_same_and_is_no_monitor_of_a_model(tmp_path):
    tuned, base = draw(100, 1)
    monitor = VectorMonitor.fit(tuned, base, detector=Detector("activations", KNearestNeighbours(k=3)))
    monitor.save(tmp_path / "monitor")
    new = draw(9, 2)
    again = VectorMonitor.load(tmp_path / "monitor")
    pd.testing.assert_frame_equal(again.score(*new, fpr=0.1), monitor.score(*new, fpr=0.1))
    assert again.description == monitor.description
    with pytest.raises(StoreError, match="in memory"):
        Monitor.load(tmp_path / "monitor").score(["a"], fpr=0.1)


def test_a_number_is_a_name_and_the_same_as_in_letters(tmp_path):
    tuned, base = (dict(zip((1, np.int64(2)), x.values(), strict=True)) for x in draw(100, 1))
    monitor = VectorMonitor.fit(tuned, base)
    assert monitor.state.detectors.names == ["1", "2"]
    assert [each.site.layer for each in monitor.state.detectors.sites] == [1, 2]
    monitor.save(tmp_path / "monitor")
    letters = [{str(site): x for site, x in vectors.items()} for vectors in (tuned, base)]
    again = VectorMonitor.load(tmp_path / "monitor").score(*letters, fpr=0.1)
    pd.testing.assert_frame_equal(again, monitor.score(tuned, base, fpr=0.1))


@pytest.mark.parametrize("name", ["score", "p_value", "alarm", "sites"])
def test_a_site_is_not_called_like_another_column(name):
    with pytest.raises(DataError, match=f"^site '{name}' is called like a column of the scores .*: rename it$"):
        VectorMonitor.fit({"layer.1": draw(50, 1)[0]["layer.1"], name: draw(50, 2)[0]["layer.1"]})


def test_what_does_not_fit_is_one_line():
    tuned, base = draw(100, 1)
    monitor = VectorMonitor.fit(tuned, base)
    conditional = Detector("other", Mahalanobis())
    for call, kind, said in (
        (lambda: VectorMonitor.fit({}), DataError, "holds no site"),
        (lambda: VectorMonitor.fit({None: np.ones((50, 2))}), DataError, "site None is of type NoneType"),
        (lambda: VectorMonitor.fit({1: np.ones((50, 2)), "1": np.ones((50, 2))}), DataError, "'1' is there as a text"),
        (lambda: VectorMonitor.fit({"a": np.full((50, 2), np.nan)}), DataError, "site 'a': x has NaN"),
        (lambda: VectorMonitor.fit(tuned, {"layer.1": base["layer.1"]}), DataError, "base has the sites layer.1"),
        (lambda: VectorMonitor.fit({"a": np.ones((50, 2)), "b": np.ones((40, 2))}), DataError, r"\[40, 50\] prompts"),
        (lambda: VectorMonitor.fit(np.ones((50, 2))), DataError, "1 different"),
        (lambda: VectorMonitor.fit(tuned, detector=conditional), ConfigError, "detector reads other"),
        (
            lambda: VectorMonitor.fit(tuned, detector=Detector("activations", LikelihoodRatio())),
            ConfigError,
            "untrusted",
        ),
        (lambda: monitor.score(tuned), ConfigError, "fpr=0.01 needs"),
        (lambda: monitor.score(tuned, fpr=0.1), DataError, "layer.1 of base, layer.2 of base"),
        (lambda: monitor.score({"layer.1": tuned["layer.1"]}, fpr=0.1), DataError, "layer.2"),
    ):
        with pytest.raises(kind, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)
