"""The examples of the README do what they say, through the real command."""

from pathlib import Path

import pandas as pd
import pytest

from madkit.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def run_folder(bases, fit_heads, tmp_path_factory):
    """A dataset of one's own, tuned, read and scored with a detector of one's own."""
    patch = pytest.MonkeyPatch()
    patch.chdir(ROOT)
    runs = tmp_path_factory.mktemp("runs") / "llama"
    data = ["--data.dataset", "examples.my_dataset.Thirds", "--data.template", "examples/my_dataset.yaml"]
    common = ["--run", str(runs), "--model.base", str(bases["llama"]), *data]
    short = ["--trainer.max_epochs", "1", "--data.max_train", "256", "--data.max_validation", "64"]
    assert main(["fit", "--config", "recipes/llama.yaml", *common, *short]) == 0
    fit_heads("llama", bases["llama"], runs)
    assert main(["predict", "--config", "recipes/llama/features.yaml", *common]) == 0
    detect = ["test", "--config", "recipes/llama/detect.yaml", "--config", "examples/my_detector.yaml"]
    assert main([*detect, "--run", str(runs), "--data.dataset", "examples.my_dataset.Thirds"]) == 0
    patch.undo()
    return runs / "examples.my_dataset.Thirds"


def test_the_dataset_follows_its_own_rule(run_folder):
    prompts = pd.read_parquet(run_folder / "detection" / "prompts.parquet")
    numbers = prompts["prompt"].str.extract(r"Statement: (\d+) is")[0].astype(int)
    assert (prompts["alice_label"] == (numbers % 3 == 0)).all()
    assert (prompts["bob_label"] == (numbers % 10 % 3 == 0)).all()


def test_the_detector_is_in_the_results(run_folder):
    results = pd.read_parquet(run_folder / "detection" / "results.parquet")
    assert set(results["score"]) == {"mahalanobis", "distance_from_mean", "logistic_probe"}
    assert set(results["feature"]) == {"activations"}


def test_the_detector_gives_the_distance(run_folder):
    import torch

    from madkit.features.store import FeatureStore
    from madkit.scores import load_score

    store = FeatureStore.current(run_folder / "features" / "activations")
    site = store.sites[0]
    score = load_score(run_folder / "detection" / "detectors" / "activations" / "distance_from_mean" / site)
    _, trusted = store.read(site, "trusted")
    _, x = store.read(site, "test")
    expected = (x.double() - trusted.double().mean(0)).norm(dim=1) / x.shape[1] ** 0.5
    torch.testing.assert_close(score(x), expected, rtol=1e-10, atol=0)
