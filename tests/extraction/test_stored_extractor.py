"""Features of stored activations: shared out, continued, refused where something does not belong together."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from stage_words import configs

from madkit.cli.command import main
from madkit.errors import ConfigError
from madkit.extraction.stored_extractor import StoredExtractor, _tensors
from madkit.features import SAE, Activations, Flow
from madkit.lm import loading
from madkit.lm.hooks import Hookpoint
from madkit.store.feature_store import FeatureStore

TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
KINDS = ("base_flow", "base_sae", "flow", "sae")


def extractor(name, features, **options):
    items = [{"class_path": kind, "init_args": arguments} for kind, arguments in features]
    return {"class_path": name, "init_args": {"features": items, **options}}


def encoders(*adapters):
    return [(kind, {"adapter": adapter}) for kind in ("Flow", "SAE") for adapter in adapters]


def stored(runs, base, *options):
    """The words of a stage that reads flows and SAEs, with and without the adapter, from what is stored."""
    recipe = runs.parent / "stored.yaml"
    model = extractor("StoredExtractor", encoders(True, False))
    recipe.write_text(yaml.safe_dump({"model": model}))
    line = ["predict", *configs("encoders-stored"), "--config", str(recipe), "--run", str(runs)]
    return [*line, "--model.base", str(base), "--data.predict_batch_size", "256", *options]


@pytest.fixture(scope="module")
def whole(bases, fit_encoders, tmp_path_factory):
    """A run with an adapter, encoders, and every feature read from the LM."""
    from transformers import AutoModelForCausalLM

    runs = tmp_path_factory.mktemp("stored") / "tiny-llama"
    fit_encoders("tiny-llama", bases["llama"], runs)
    lm = loading.attach_lora(AutoModelForCausalLM.from_pretrained(bases["llama"]), {"r": 2, "init_lora_weights": False})
    lm.save_pretrained(runs / "addition" / "adapter")
    layers = {"first": 1, "step": 1, "final": True}
    features = [("Activations", layers), ("Activations", {**layers, "adapter": False}), *encoders(True, False)]
    data = {"dataset": "addition", "template": "compact", "shard_size": 30, "predict_batch_size": 256}
    data["task_options"] = {"n_train": 800, "n_validation": 300}
    recipe = runs / "features.yaml"
    model = extractor("Extractor", features, base=str(bases["llama"]))
    recipe.write_text(yaml.safe_dump({"model": model, "data": {"class_path": "QuirkyData", "init_args": data}}))
    assert main(["predict", "--config", str(recipe), "--run", str(runs)]) == 0
    return runs


@pytest.fixture
def copied(whole, tmp_path):
    """The run without the encoders' features."""
    runs = tmp_path / "tiny-llama"
    shutil.copytree(whole, runs)
    for kind in KINDS:
        shutil.rmtree(runs / "addition" / "features" / kind)
    return runs


def files(runs, kind):
    folder = FeatureStore.current(runs / "addition" / "features" / kind).folder
    return {path.relative_to(folder.parent): path.read_bytes() for path in folder.iterdir()}


def command(words):
    line = [sys.executable, "-m", "madkit", *words]
    return subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def test_two_processes_continue_and_write_the_same_files(whole, copied, bases):
    done = command(stored(copied, bases["llama"], *TWO))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "[tiny-llama/addition predict]" in done.stderr
    for kind in KINDS:
        assert files(whole, kind) == files(copied, kind), kind
    store = FeatureStore.current(copied / "addition" / "features" / "base_sae")
    (store.folder.parent / "current.json").unlink()
    for index in (0, 3):
        store.path(index).unlink()
    kept = {path: path.stat().st_mtime_ns for path in store.folder.glob("shard-*")}
    assert main(stored(copied, bases["llama"])) == 0
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert files(whole, "base_sae") == files(copied, "base_sae")


def test_without_a_finished_stage_there_is_no_predict_json(copied, bases):
    (copied / "addition" / "predict.json").unlink()
    assert main(stored(copied, bases["llama"])) == 0
    assert not (copied / "addition" / "predict.json").exists()
    assert FeatureStore.current(copied / "addition" / "features" / "flow").complete


def test_what_does_not_belong_together_is_refused(copied, bases, capsys, monkeypatch):
    def refused(*options):
        assert main(stored(copied, bases["llama"], *options)) == 2
        return capsys.readouterr().err

    features = copied / "addition" / "features"
    manifest = FeatureStore.current(features / "activations").folder / "manifest.json"
    text = manifest.read_text()
    for part, message in (("dtype", "differ in dtype"), ("adapter", "another adapter"), ("base", "differ in base")):
        content = json.loads(text)
        content["identity"][part] = "other"
        manifest.write_text(json.dumps(content))
        assert message in refused()
    manifest.write_text(text)
    with monkeypatch.context() as patch:
        patch.setattr("madkit.__version__", "0.0.0")
        assert "another madkit" in refused()
    with monkeypatch.context() as patch:
        patch.setattr("madkit.runs.fingerprints.tokenizer_fingerprint", lambda tokenizer: "other")
        assert "--model.base" in refused()
    assert "predict_batch_size=0" in refused("--data.predict_batch_size", "0")
    (features / "base_activations" / "current.json").unlink()
    assert "no complete store of feature 'base_activations'" in refused()
    assert not (features / "flow").exists()


def test_model_and_data_that_do_not_fit_are_refused(copied, bases, capsys):
    line = ["predict", "--run", str(copied)]
    base = ["--model.base", str(bases["llama"])]
    few = ["--data.dataset", "addition", "--data.task_options", json.dumps({"n_train": 800, "n_validation": 300})]
    assert main([*line, *configs("encoders-stored"), *base, "--data", "QuirkyData", *few]) == 2
    assert "model=StoredExtractor reads data=StoredShards" in capsys.readouterr().err
    assert main([*line, "--model", "Extractor", *base, "--data", "StoredShards", *few[:2]]) == 2
    assert "use it with model=StoredExtractor" in capsys.readouterr().err


@pytest.mark.parametrize("features", [[Flow(), Activations()], []])
def test_other_features_need_the_lm(features):
    with pytest.raises(ConfigError, match="made from stored activations"):
        StoredExtractor("base", features)
    with pytest.raises(ConfigError, match="listed once"):
        StoredExtractor("base", [SAE(), SAE()])


def test_what_leaves_a_layer_is_what_enters_the_next(whole, bases):
    lm = loading.skeleton(str(bases["llama"]))
    store = FeatureStore.current(whole / "addition" / "features" / "activations")
    points = {
        Hookpoint("model.layers.1", "input"): "model.layers.1",
        Hookpoint("model.layers.1", "output"): "model.layers.2",
        Hookpoint("model.layers.4", "output"): "model.layers.4.output",
    }
    assert _tensors(list(points), store, lm) == points
    store.manifest["sites"] = [site for site in store.sites if not site.endswith(".output")]
    for point, way in (
        (Hookpoint("model.layers.4", "output"), "choose final=true of Activations"),
        (Hookpoint("model.layers.0", "input"), "choose first and step of Activations"),
        (Hookpoint("model.layers.2.mlp", "output"), "with predict-encoders.yaml"),
    ):
        with pytest.raises(ConfigError, match=way):
            _tensors([point], store, lm)
