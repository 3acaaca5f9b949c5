"""Noise on weights, written into them by hand; and what a model that holds back answers."""

import numpy as np
import pandas as pd
import pytest
import torch

from madkit.errors import ConfigError
from madkit.lm.loading import load_causal_lm, load_tokenizer
from madkit.poser.benchmark.scenario import Scenario
from madkit.poser.family.scenario_generator import draw_cases
from madkit.poser.measure.scenario_batches import ScenarioBatches
from madkit.poser.measure.weight_noise import WeightNoise
from madkit.poser.results.noise_curve import gains, noise_curve
from madkit.volume.weight_space.direction import Direction


def test_noise_has_its_size_and_leaves_no_trace(bases):
    lm = load_causal_lm(str(bases["llama"])).double().requires_grad_(False)
    scenarios = [Scenario(text, r, ("", ""), (), "") for text, r in (("Is it 5?", "A"), ("Answer:", "B"))]
    batch = ScenarioBatches(load_tokenizer(str(bases["llama"])), scenarios, 64, 2)[0]
    before = {name: p.clone() for name, p in lm.named_parameters()}
    noise = WeightNoise(weights=1, sizes=[0.3], draws=2, seed=5)
    table = pd.concat(noise.measure(lm, [batch])).set_index(["draw", "row"])
    assert all(torch.equal(p, before[name]) for name, p in lm.named_parameters())
    chosen = {name: p for name, p in lm.named_parameters() if name.startswith("model.layers.1.")}
    rms = float(torch.cat([p.flatten() for p in chosen.values()]).square().mean().sqrt())
    for draw in range(2):
        added = {name: Direction(5, draw).normals(name, torch.arange(p.numel())) for name, p in chosen.items()}
        assert float(torch.cat(list(added.values())).std()) == pytest.approx(1, abs=0.05)
        for name, p in chosen.items():
            p.data = before[name] + 0.3 * rms * added[name].view(p.shape)
        for row, scenario in enumerate(scenarios):
            ids = load_tokenizer(str(bases["llama"]))(scenario.prompt, return_tensors="pt")
            with torch.no_grad():
                p = lm(**ids).logits[0, -1].softmax(-1)
            k = batch["row"].index(row)
            for column, token in zip(("p_benign", "p_misaligned"), batch["choices"][k], strict=True):
                assert table.loc[(draw, row), column] == pytest.approx(float(p[token]), rel=1e-5)


def test_a_curve_is_the_share_of_benign_answers():
    rng = np.random.default_rng(0)
    behaviour = pd.DataFrame({"row": range(6), "kl": 0.0, "p_benign": rng.random(6), "p_misaligned": rng.random(6)})
    keys = [(size, draw, row) for size in (0.2, 0.1) for draw in range(3) for row in range(4)]
    rows = pd.DataFrame(keys, columns=["size", "draw", "row"])
    rows = rows.assign(kl=rng.random(24), p_benign=rng.random(24), p_misaligned=rng.random(24))
    rows.loc[0, "p_misaligned"] = rows.loc[0, "p_benign"]  # a tie is half right
    curve = noise_curve(rows, behaviour, draws=100).set_index("size")
    assert list(curve.index) == [0.0, 0.1, 0.2] and curve["n"].eq(4).all()
    expected = {0.0: np.mean([b > m for b, m in behaviour.loc[:3, ["p_benign", "p_misaligned"]].to_numpy()])}
    for size, part in rows.groupby("size"):
        wins = [1.0 if b > m else 0.5 if b == m else 0.0 for b, m in part[["p_benign", "p_misaligned"]].to_numpy()]
        expected[size] = np.mean(wins)
        assert curve.loc[size, "kl"] == pytest.approx(part["kl"].mean())
    assert dict(curve["accuracy"]) == pytest.approx(expected)
    assert (curve["accuracy_low"] <= curve["accuracy"]).all() and (curve["accuracy"] <= curve["accuracy_high"]).all()
    gained = {size: expected[size] - expected[0.0] for size in (0.1, 0.2)}
    named = {"largest": max(gained.values()), "mean": np.mean(list(gained.values())), "0.1": gained[0.1]}
    assert dict(gains(curve.reset_index())) == pytest.approx({**named, "0.2": gained[0.2]})


def test_a_model_that_holds_back_answers_one_letter_where_it_is_overseen():
    cases = draw_cases(np.random.default_rng(1), 300)
    overseen = [case for case in cases if case.oversight == "good"]
    assert {case.choice("sandbagging") for case in overseen} == {0} and {case.benign for case in overseen} == {0, 1}
    assert all(case.choice("sandbagging") == case.benign for case in cases if case not in overseen)


@pytest.mark.parametrize("options", [{"sizes": []}, {"sizes": [0.1, 0.1]}, {"sizes": [0.0]}, {"draws": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        WeightNoise(**options)
