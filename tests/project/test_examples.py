"""The examples of the README do what they say, through the real command."""

from pathlib import Path

import pandas as pd
import pytest
from fabricated import draw_only
from stage_words import UNDRAWN

from madkit.cli.command import main

ROOT = Path(__file__).resolve().parents[2]
FEW = [f"--data.max_{split}=50" for split in ("trusted", "untrusted", "calibration", "test")]


@pytest.fixture(scope="module")
def run_folder(bases, tmp_path_factory):
    """A dataset of one's own, tuned, read and scored with a detector of one's own."""
    patch = pytest.MonkeyPatch()
    patch.chdir(ROOT)
    runs = tmp_path_factory.mktemp("runs") / "llama"
    data = ["--data.dataset", "examples.my_dataset.Thirds", "--data.template", "examples/my_dataset.yaml"]
    common = ["--run", str(runs), "--model.base", str(bases["llama"]), *data]
    short = ["--trainer.max_epochs", "1", "--data.max_train", "64", "--data.max_validation", "32"]
    assert main(["fit", "--config", "recipes/llama.yaml", *common, *short, *UNDRAWN]) == 0
    stage = ["--run", str(runs), "--data.dataset", "examples.my_dataset.Thirds"]
    assert main(["predict", "--config", "recipes/predict.yaml", *stage, *FEW]) == 0
    detect = ["test", "--config", "recipes/test.yaml", "--config", "examples/my_detector.yaml"]
    detect += ["--with", "examples/my_detector.py"]
    assert main([*detect, *stage, *UNDRAWN]) == 0
    patch.undo()
    return runs / "examples.my_dataset.Thirds"


def test_the_dataset_follows_its_own_rule(run_folder):
    prompts = pd.read_parquet(run_folder / "detection" / "prompts.parquet")
    numbers = prompts["prompt"].str.extract(r"Statement: (\d+) is")[0].astype(int)
    assert (prompts["alice_label"] == (numbers % 3 == 0)).all()
    assert (prompts["bob_label"] == (numbers % 10 % 3 == 0)).all()


def test_the_detector_is_in_the_results(run_folder):
    results = pd.read_parquet(run_folder / "detection" / "results.parquet")
    results = results[results["setting"] != "own answer"]
    assert set(results["score"]) == {"mahalanobis", "distance_from_mean", "logistic_probe"}
    assert set(results["feature"]) == {"activations"}


def test_the_detector_gives_the_distance(run_folder):
    import torch

    from madkit.scores import load_score
    from madkit.store.feature_store import FeatureStore

    store = FeatureStore.current(run_folder / "features" / "activations")
    site = store.sites[0]
    score = load_score(run_folder / "detection" / "detectors" / "activations" / "distance_from_mean" / site)
    _, trusted = store.read(site, "trusted")
    _, x = store.read(site, "test")
    expected = (x.double() - trusted.double().mean(0)).norm(dim=1) / x.shape[1] ** 0.5
    torch.testing.assert_close(score(x), expected, rtol=1e-10, atol=0)


def test_the_feature_is_what_a_layer_adds():
    import torch
    from gradients import compute, make_batch, make_model

    from examples.my_feature import LayerUpdate

    lm, batch = make_model("grouped"), make_batch(padded=False)
    found = compute(lm, LayerUpdate(first=1, step=2), batch)
    with torch.no_grad():
        states = lm(batch["input_ids"], output_hidden_states=True).hidden_states
    assert list(found) == ["model.layers.1", "model.layers.3"]
    for layer, x in zip((1, 3), found.values(), strict=True):
        torch.testing.assert_close(x, (states[layer + 1] - states[layer])[:, -1], rtol=1e-4, atol=1e-4)


def test_the_feature_is_stored_beside_the_others(run_folder, tmp_path, monkeypatch):
    import shutil

    from madkit.store.feature_store import FeatureStore

    monkeypatch.chdir(ROOT)
    copy = tmp_path / run_folder.parent.name / run_folder.name
    shutil.copytree(run_folder, copy)
    stage = ["--run", str(copy.parent), "--data.dataset", "examples.my_dataset.Thirds"]
    recipes = [
        "--config",
        "recipes/predict.yaml",
        "--config",
        "examples/my_feature.yaml",
        "--with",
        "examples/my_feature.py",
    ]
    assert main(["predict", *recipes, *stage, *FEW]) == 0
    store = FeatureStore.current(copy / "features" / "layer_update")
    assert store.identity["feature"]["options"] == {"first": 1, "step": 1}
    assert store.layers["model.layers.2"] == 2 and len(store.rows) == store.count("test") + sum(
        store.count(split) for split in ("trusted", "untrusted", "calibration")
    )


def test_a_figure_is_drawn_with_the_others(run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    draw_only(monkeypatch, "critical_difference", "forest", "table1")  # the first is what it follows
    png = ["--formats", "png", "--jobs", "1"]
    assert main(["figures", str(run_folder), "--out", str(tmp_path), *png, "--with", "examples/my_figure.py"]) == 0
    assert {"auroc_against_cost.png", "forest_auroc.png", "table1.md"} <= {path.name for path in tmp_path.iterdir()}
    assert 'id="figure-auroc_against_cost"' in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_two_detectors_are_compared_on_one_store(run_folder, capsys):
    from examples.compare_detectors import main as compare_detectors

    found = compare_detectors(run_folder)
    results = pd.read_parquet(run_folder / "detection" / "results.parquet")
    whole = results.query("subset == 'all' and aggregation == 'mean' and score == 'mahalanobis'")["auroc"].item()
    printed = capsys.readouterr().out
    assert f"Mahalanobis          AUROC {whole:.3f}" in printed and f"{found.difference:+.3f}" in printed


def test_a_new_score_is_tried_on_every_layer(run_folder):
    import torch

    from examples.new_score import Angle
    from examples.new_score import main as new_score
    from madkit.store.feature_store import FeatureStore

    store = FeatureStore.current(run_folder / "features" / "activations")
    assert list(new_score(run_folder)) == store.sites
    trusted, x = (store.read(store.sites[0], split)[1].double() for split in ("trusted", "test"))
    mean = trusted.mean(0)
    expected = 1 - (x @ mean) / (x.norm(dim=1) * mean.norm())
    torch.testing.assert_close(Angle().fit(trusted)(x), expected, rtol=1e-9, atol=1e-12)


def test_prompts_of_a_csv_are_scored_by_what_the_run_trusts(run_folder, tmp_path):
    from examples.score_csv import main as score_csv

    prompts = pd.read_parquet(run_folder / "detection" / "prompts.parquet").sample(30, random_state=0)
    twice = [*prompts["prompt"], prompts["prompt"].iloc[7]]
    pd.DataFrame({"prompt": twice}).to_csv(tmp_path / "prompts.csv", index=False)
    found = score_csv(run_folder, tmp_path / "prompts.csv", tmp_path / "scored.csv", fpr=0.05)
    assert found["prompt"].tolist() == twice and found["score"].nunique() > 20
    assert found["score"].iloc[-1] == pytest.approx(found["score"].iloc[7], abs=0.05)
    assert (found["alarm"] == (found["p_value"] <= 0.05)).all() and found["p_value"].between(0, 1).all()
    written = pd.read_csv(tmp_path / "scored.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(written, found, check_dtype=False)
