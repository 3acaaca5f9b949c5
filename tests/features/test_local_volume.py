"""Local volumes as features: one search for both, any number of processes, and the recipes through the real command."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from small_lms import make_batch, make_lm, with_lora
from stage_words import RECIPES

from madkit.cli.command import main
from madkit.errors import ConfigError
from madkit.extraction.forward_pass import switched, trace
from madkit.features import LocalVolume, LocalVolumeRadii
from madkit.store.feature_store import FeatureStore
from madkit.volume.prompt_volumes import PromptVolumes

FEW = {"directions": 2, "tolerance": 1e-2}


def compute(model, *features, batch=None, adapter=True):
    batch = make_batch() if batch is None else batch
    traces = trace(model, features, {f.name: f.hookpoints(model) for f in features}, batch, adapter=adapter)
    with torch.no_grad(), switched(model, adapter):
        return [feature(traces[feature.name])["weights"] for feature in features]


def test_both_features_come_from_one_search(monkeypatch):
    lm, searches = make_lm(), []
    radii = PromptVolumes.radii
    monkeypatch.setattr(PromptVolumes, "radii", lambda self, batch: searches.append(radii(self, batch)) or searches[-1])
    volume, vector = compute(lm, LocalVolume(**FEW), LocalVolumeRadii(**FEW))
    assert len(searches) == 1 and volume.shape == (6, 1) and vector.shape == (6, 2)
    assert volume.dtype == vector.dtype == torch.float64
    torch.testing.assert_close(vector, torch.from_numpy(searches[0].bounded))
    # In that many dimensions the largest radius decides.
    assert (vector.max(1).values.argsort() == volume[:, 0].argsort()).all()
    other, _ = compute(lm, LocalVolume(**FEW, seed=1), LocalVolumeRadii(**FEW))
    assert len(searches) == 3 and not torch.equal(other, volume)


def test_the_control_is_the_model_without_its_adapter():
    model = with_lora(make_lm())
    (ours,) = compute(model, LocalVolumeRadii(**FEW), adapter=False)
    (base,) = compute(make_lm(), LocalVolumeRadii(**FEW))
    (quirky,) = compute(model, LocalVolumeRadii(**FEW))
    torch.testing.assert_close(ours, base, rtol=1e-4, atol=0)
    assert not torch.allclose(quirky, base, rtol=0.05)


def test_the_rest_of_the_batch_does_not_matter():
    lm, batch = make_lm(), make_batch()
    (together,) = compute(lm, LocalVolumeRadii(directions=2, tolerance=1e-5))
    part = {key: value[2:4] for key, value in batch.items()}
    (alone,) = compute(lm, LocalVolumeRadii(directions=2, tolerance=1e-5), batch=part)
    torch.testing.assert_close(alone, together[2:4], rtol=1e-4, atol=0)


def test_another_model_is_not_read_as_the_first():
    """One object for two models, in turns, and a copy of it, which takes no model along."""
    feature, models = LocalVolumeRadii(**FEW), [make_lm(), make_lm(num_hidden_layers=3)]
    expected = [compute(lm, LocalVolumeRadii(**FEW))[0] for lm in models]
    for number in (0, 1, 1, 0):
        torch.testing.assert_close(compute(models[number], feature)[0], expected[number])
    with torch.no_grad():
        for p in models[0].parameters():
            p.mul_(1.3)
    trained = compute(models[0], copy.deepcopy(feature))[0]
    torch.testing.assert_close(trained, compute(models[0], LocalVolumeRadii(**FEW))[0])
    assert not torch.allclose(trained, expected[0], rtol=0.05)


def test_names_and_options_tell_features_apart():
    names = [
        LocalVolume().name,
        LocalVolume(at="last").name,
        LocalVolumeRadii("15").name,
        LocalVolumeRadii("lora").name,
        LocalVolume(r"layers\.(1|2)\.mlp").name,
    ]
    assert names == [
        "local_volume", "local_volume_last", "local_volume_radii_layer15", "local_volume_radii_lora",
        "local_volume_layers-1-2-mlp",
    ]  # fmt: skip
    assert LocalVolume("15").config["weights"] == 15 and LocalVolume("1").layers(make_lm()) == [1]
    assert LocalVolume(cutoff=0.1).identity() != LocalVolume().identity()
    with pytest.raises(ConfigError, match=r"layers 0\.\.1"):
        LocalVolume(7).sites(make_lm())
    for wrong in ({"cutoff": -1.0}, {"at": "first"}, {"directions": 0}, {"tolerance": 0.0}):
        with pytest.raises(ConfigError, match=str(next(iter(wrong)))):
            LocalVolume(**wrong)


def reduced(path, folder):
    """A recipe with two directions in place of 25."""
    text = path.read_text()
    assert text.count("directions: 25") == 2
    target = folder / f"{path.parent.name}-{path.name}"
    target.write_text(text.replace("directions: 25", "directions: 2"))
    return target


@pytest.mark.parametrize("model", ["llama", "tiny-mistral"])
def test_every_recipe_runs_through_the_command(model, bases, tmp_path):
    """Prompts go in, and AUROCs of both detectors of Table 1 come out."""
    base = bases["mistral" if "mistral" in model else "llama"]
    nothing_else = {"model": {"init_args": {"features": [{"class_path": "Answers"}], "controls": []}}}
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(nothing_else))
    own = [
        RECIPES / "predict.yaml",
        tmp_path / "alone.yaml",
        reduced(RECIPES / "predict-volume.yaml", tmp_path),
    ]
    options = [
        "--lm",
        RECIPES / f"{model}.yaml",
        "--run",
        tmp_path / "run",
        "--model.base",
        base,
        "--model.adapter",
        "none",
        "--data.max_calibration",
        "0",
    ]
    options += ["--data.max_trusted=12", "--data.max_untrusted=4", "--data.max_test=6"]
    options += ["--data.task_options", '{"n_train": 400, "n_validation": 200, "n_test": 0}']
    recipes = [word for recipe in own for word in ("--config", recipe)]
    assert main([str(word) for word in ["predict", *recipes, *options]]) == 0
    store = FeatureStore.current(tmp_path / "run" / "addition" / "features" / "local_volume_radii")
    assert store.read("weights", "test")[1].shape == (12, 2)
    detectors = yaml.safe_load((RECIPES / "test-volume.yaml").read_text())["model"]["init_args"]["detectors+"]
    wanted = {"model": {"init_args": {"detectors": detectors, "aggregations": ["mean"], "ceiling": False}}}
    (tmp_path / "wanted.yaml").write_text(yaml.safe_dump(wanted))
    recipes = ["--config", RECIPES / "test.yaml", "--config", tmp_path / "wanted.yaml"]
    assert main([str(word) for word in ["test", *recipes, "--run", tmp_path / "run"]]) == 0
    results = pd.read_parquet(tmp_path / "run" / "addition" / "detection" / "results.parquet")
    assert set(zip(results["feature"], results["score"], strict=True)) == {
        ("local_volume", "low_value"),
        ("local_volume_radii", "mahalanobis"),
        *(("own_answer", score) for score in ("log_odds", "label")),
    }
    assert np.isfinite(results["auroc"]).all()
