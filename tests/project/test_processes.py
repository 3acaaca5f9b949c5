"""One process, two processes, and a process that is killed and started again all end in the same numbers."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from forked import TWO, kill_when, run_launching, run_two
from safetensors.torch import load_file
from stage_words import UNDRAWN, configs, lm_recipe

from madkit.cli.command import main
from madkit.store.feature_store import FeatureStore

DATA = ["--data.task_options", json.dumps({"n_train": 1200, "n_validation": 400}), "--data.shard_size", "20"]
#: 48 prompts for validation are less than a batch: of two processes, one has none that counts.
FIT = [
    "--trainer.max_epochs", "2", "--data.max_train", "256", "--data.max_validation", "48",
    "--trainer.precision", "32-true", "--model.dtype", "float32", "--trainer.log_every_n_steps", "1",
    "--model.optimizer.lr", "3e-3",
]  # fmt: skip


#: Detectors of one feature and of two, online and offline, dense and sparse; tests/scores has every score.
DETECTORS = [
    {"feature": feature, "score": {"class_path": score}, **more}
    for feature, score, more in (
        ({"class_path": "Conditional", "init_args": {"studentised": True}}, "LocalOutlierFactor", {}),
        ({"class_path": "Paired"}, "ConditionalT", {}),
        ("activations", "Mahalanobis", {"background": True}),
        ("activations", "LocalOutlierFactor", {"adapter": False}),
        ("activations", "QuantumEntropy", {}),
        ("attribution", "Mahalanobis", {}),
        ("probe", "KNearestNeighbours", {}),
        ("flow", "LaplaceNLL", {}),
        ("sae", "NovelLatents", {}),
    )
]
SPLITS = ("trusted", "calibration", "untrusted", "test")


def words(stage, runs, base, *options):
    recipes = {"fit": configs("llama"), "predict": configs("predict", "predict-encoders")}.get(stage, [])
    line = [stage, *recipes, "--run", str(runs)]
    if stage == "predict":
        line += lm_recipe("llama")  # in some of these runs nothing was fitted
    if stage != "test":
        line += ["--model.base", str(base), *DATA]
    if stage == "fit":
        line += FIT
    if stage == "predict":
        line += ["--model.dtype", "float32", *(f"--data.max_{split}=50" for split in SPLITS)]
        line += ["--data.distractors", "[persona, context]", "--data.max_distractors", "21"]
    if stage == "test":
        line += ["--model", "Detection", "--model.detectors", json.dumps(DETECTORS), "--data", "StoreData"]
        line += ["--model.aggregations", "[mean, max, zscore, rank, fisher]", "--data.dataset", "addition"]
        line += ["--model.prevalences", "[0.1, 0.5]"]
    if stage != "predict":
        line += UNDRAWN
    return [*line, *options]


def run(*args):
    """A stage in this process."""
    assert main(words(*args)) == 0


@pytest.fixture(scope="module")
def alone(bases, fit_encoders, tmp_path_factory):
    """All stages undisturbed in one process."""
    runs = tmp_path_factory.mktemp("alone") / "llama"
    fit_encoders("llama", bases["llama"], runs)
    for stage in ("fit", "predict", "test"):
        run(stage, runs, bases["llama"])
    return runs / "addition"


def share(alone, folder):
    """Give another run folder what `predict` needs."""
    (folder / "adapter").symlink_to(alone / "adapter")
    for kind in ("flow", "sae"):
        (folder.parent / kind).symlink_to(alone.parent / kind)


def history(folder):
    return pd.read_parquet(folder / "history.parquet").drop(columns="run")


def vectors(folder, feature="activations"):
    store = FeatureStore.current(folder / "features" / feature)
    return {
        (site, split): store.read(site, split) for site in store.sites for split in ("trusted", "untrusted", "test")
    }


def results(folder):
    return pd.read_parquet(folder / "detection" / "results.parquet").drop(columns="model")


def test_two_processes_train_the_same_adapter(alone, bases, tmp_path):
    # The first one, which starts the second itself, would wait for it for ever.
    run_launching(words("fit", tmp_path / "llama", bases["llama"], *TWO), tmp_path)
    one, two = history(alone), history(tmp_path / "llama" / "addition")
    assert one[["step", "metric"]].equals(two[["step", "metric"]])
    np.testing.assert_allclose(two["value"], one["value"], rtol=1e-4, atol=1e-5)
    final, again = (json.loads((f / "fit.json").read_text())["metrics"] for f in (alone, tmp_path / "llama/addition"))
    assert again == pytest.approx(final, rel=1e-4, abs=1e-5)
    losses = one[one["metric"] == "train/loss"]["value"]
    assert losses.iloc[-3:].mean() < losses.iloc[:3].mean() - 0.5  # there is a curve to compare
    ours, theirs = (
        load_file(f / "adapter" / "adapter_model.safetensors") for f in (alone, tmp_path / "llama" / "addition")
    )
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], rtol=1e-3, atol=1e-4)


def test_two_processes_write_the_same_store_and_find_the_same_auroc(alone, bases, tmp_path):
    copy = tmp_path / "llama" / "addition"
    copy.mkdir(parents=True)
    share(alone, copy)
    run_two(words("predict", tmp_path / "llama", bases["llama"]), tmp_path)
    ours, theirs = vectors(alone), vectors(copy)
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert torch.equal(ours[key][0], theirs[key][0])
        assert torch.equal(ours[key][1], theirs[key][1]), key
    for feature in ("attribution", "probe"):
        ours, theirs = vectors(alone, feature), vectors(copy, feature)
        for key in ours:
            # Means over trusted prompts are added up in another order: the same but for the last bits of float64.
            scale = float(ours[key][1].abs().max())
            torch.testing.assert_close(theirs[key][1], ours[key][1], rtol=1e-5, atol=1e-6 * scale)
    run_two(words("test", tmp_path / "llama", bases["llama"]), tmp_path)
    one, two = results(alone), results(copy)
    keys = [c for c in one.columns if c not in ("auroc", "low", "high")]
    assert one[keys].equals(two[keys])
    np.testing.assert_allclose(two[["auroc", "low", "high"]], one[["auroc", "low", "high"]], rtol=0, atol=1e-9)
    for name in ("distractors", "prevalence"):
        one, two = (pd.read_parquet(f / "detection" / f"{name}.parquet") for f in (alone, copy))
        assert len(one)
        pd.testing.assert_frame_equal(one, two, rtol=0, atol=1e-9, obj=name)
    one, two = (pd.read_parquet(f / "detection" / "nearest.parquet") for f in (alone, copy))
    pd.testing.assert_frame_equal(one, two, rtol=1e-6)
    a, b = (pd.read_parquet(f / "detection" / "separation.parquet")["separation"] for f in (alone, copy))
    np.testing.assert_allclose(a, b, rtol=1e-9)


def test_a_killed_fit_continues_to_the_same_adapter(alone, bases, tmp_path):
    runs = tmp_path / "llama"
    folder = runs / "addition"
    kill_when(lambda: list(folder.glob("checkpoints/*/last.ckpt")), words("fit", runs, bases["llama"]), tmp_path)
    assert not (folder / "fit.json").exists()
    run("fit", runs, bases["llama"])
    pd.testing.assert_frame_equal(history(folder), history(alone), rtol=1e-6)
    ours, theirs = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (alone, folder))
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("pattern", "count"), [("activations/*/shard-*.safetensors", 2), ("attribution/*/learned.safetensors", 1)]
)
def test_a_killed_predict_continues_to_the_same_store(alone, bases, tmp_path, pattern, count):
    folder = tmp_path / "llama" / "addition"
    folder.mkdir(parents=True)
    share(alone, folder)
    kill_when(
        lambda: len(list(folder.glob(f"features/{pattern}"))) >= count,
        words("predict", tmp_path / "llama", bases["llama"]),
        tmp_path,
    )
    assert not (folder / "features" / "activations" / "current.json").exists()
    written = {p: p.stat().st_mtime_ns for p in folder.glob(f"features/{pattern}")}
    run("predict", tmp_path / "llama", bases["llama"])
    assert {p: p.stat().st_mtime_ns for p in written} == written
    for feature in ("activations", "attribution", "probe"):
        ours, theirs = vectors(alone, feature), vectors(folder, feature)
        for key in ours:
            assert torch.equal(ours[key][1], theirs[key][1])
