"""Features of stored activations: shared out, continued, refused where something does not belong together."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from forked import run_two
from stage_words import configs

from madkit.cli.command import main
from madkit.errors import ConfigError
from madkit.extraction.stored_extractor import StoredExtractor, stored_sites
from madkit.features import SAE, Activations, Flow
from madkit.lm import adapters, loading
from madkit.lm.hooks import Hookpoint
from madkit.store.feature_store import FeatureStore
from madkit.store.manifest import write_manifest

STORES = [folder / kind for folder in (Path("features"), Path("controls")) for kind in ("flow", "sae")]


def extractor(name, features, **options):
    items = [{"class_path": kind, "init_args": arguments} for kind, arguments in features]
    return {"class_path": name, "init_args": {"features": items, **options}}


ENCODERS = [("Flow", {}), ("SAE", {})]


def stored(runs, base, *options):
    """The words of a stage that reads flows and SAEs, with and without the adapter, from what is stored."""
    recipe = runs.parent / "stored.yaml"
    model = extractor("StoredExtractor", ENCODERS, controls=["flow", "sae"])
    recipe.write_text(yaml.safe_dump({"model": model}))
    line = ["predict", *configs("encoders-stored"), "--config", str(recipe), "--run", str(runs)]
    return [*line, "--model.base", str(base), "--data.predict_batch_size", "256", *options]


@pytest.fixture(scope="module")
def whole(bases, fit_encoders, tmp_path_factory):
    """A run with an adapter, encoders, and every feature read from the LM."""
    from transformers import AutoModelForCausalLM

    runs = tmp_path_factory.mktemp("stored") / "tiny-llama"
    fit_encoders("tiny-llama", bases["llama"], runs)
    lm = adapters.attach_lora(
        AutoModelForCausalLM.from_pretrained(bases["llama"]), {"r": 2, "init_lora_weights": False}
    )
    lm.save_pretrained(runs / "addition" / "adapter")
    layers = {"first": 1, "step": 1, "final": True}
    features = [("Activations", layers), *ENCODERS]
    data = {"dataset": "addition", "template": "compact", "shard_size": 30, "predict_batch_size": 256}
    data["task_options"] = {"n_train": 800, "n_validation": 300, "n_test": 0}
    recipe = runs / "features.yaml"
    controls = ["activations", "flow", "sae"]
    model = extractor("Extractor", features, controls=controls, base=str(bases["llama"]))
    recipe.write_text(yaml.safe_dump({"model": model, "data": {"class_path": "QuirkyData", "init_args": data}}))
    assert main(["predict", "--config", str(recipe), "--run", str(runs)]) == 0
    return runs


@pytest.fixture
def copied(whole, tmp_path):
    """The run without the encoders' features."""
    runs = tmp_path / "tiny-llama"
    shutil.copytree(whole, runs)
    for store in STORES:
        shutil.rmtree(runs / "addition" / store)
    return runs


def files(runs, store):
    folder = FeatureStore.current(runs / "addition" / store).folder
    return {path.relative_to(folder.parent): path.read_bytes() for path in folder.iterdir()}


def test_two_processes_continue_and_write_the_same_files(whole, copied, bases):
    said = run_two(stored(copied, bases["llama"]), copied.parent)
    assert "[tiny-llama/addition predict]" in said
    for name in STORES:
        assert files(whole, name) == files(copied, name), name
    sae = Path("controls") / "sae"
    store = FeatureStore.current(copied / "addition" / sae)
    (store.folder.parent / "current.json").unlink()
    for index in (0, 3):
        store.path(index).unlink()
    kept = {path: path.stat().st_mtime_ns for path in store.folder.glob("shard-*")}
    assert main(stored(copied, bases["llama"])) == 0
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert files(whole, sae) == files(copied, sae)


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
        write_manifest(manifest.parent, content)
        assert message in refused()
    manifest.write_text(text)
    with monkeypatch.context() as patch:
        patch.setattr("madkit.__version__", "0.0.0")
        assert "another madkit" in refused()
    with monkeypatch.context() as patch:
        patch.setattr("madkit.runs.fingerprints.tokenizer_fingerprint", lambda tokenizer: "other")
        assert "--model.base" in refused()
    assert "predict_batch_size=0" in refused("--data.predict_batch_size", "0")
    (copied / "addition" / "controls" / "activations" / "current.json").unlink()
    assert "no complete store of feature 'activations' in" in (message := refused()) and "controls" in message
    assert not (features / "flow").exists()


def test_model_and_data_that_do_not_fit_are_refused(copied, bases, capsys):
    line = ["predict", "--run", str(copied)]
    base = ["--model.base", str(bases["llama"])]
    few = [
        "--data.dataset",
        "addition",
        "--data.task_options",
        json.dumps({"n_train": 800, "n_validation": 300, "n_test": 0}),
    ]
    assert main([*line, *configs("encoders-stored"), *base, "--data", "QuirkyData", *few]) == 2
    assert (
        "data=QuirkyData does not fit model=StoredExtractor, which reads data=StoredShards" in capsys.readouterr().err
    )
    assert main([*line, "--model", "Extractor", *base, "--data", "StoredShards", *few[:2]]) == 2
    assert "data=StoredShards does not fit model=Extractor, which reads data=QuirkyData" in capsys.readouterr().err


@pytest.mark.parametrize("features", [[Flow(), Activations()], []])
def test_other_features_need_the_lm(features):
    with pytest.raises(ConfigError, match="made from stored activations"):
        StoredExtractor("base", features)
    with pytest.raises(ConfigError, match="listed once"):
        StoredExtractor("base", [SAE(), SAE()])
    with pytest.raises(ConfigError, match=r"model.controls=\['flow'\]: flow must be listed in model.features too"):
        StoredExtractor("base", [SAE()], controls=["flow"])


def test_what_leaves_a_layer_is_what_enters_the_next(whole, bases):
    lm = loading.skeleton(str(bases["llama"]))
    store = FeatureStore.current(whole / "addition" / "features" / "activations")
    points = {
        Hookpoint("model.layers.1", "input"): "model.layers.1",
        Hookpoint("model.layers.1", "output"): "model.layers.2",
        Hookpoint("model.layers.4", "output"): "model.layers.4.output",
    }
    assert stored_sites(list(points), store, lm) == points
    store.manifest["sites"] = [site for site in store.sites if not site.endswith(".output")]
    for point, way in (
        (Hookpoint("model.layers.4", "output"), "choose final=true of Activations"),
        (Hookpoint("model.layers.0", "input"), "choose first and step of Activations"),
        (Hookpoint("model.layers.2.mlp", "output"), "with predict-encoders.yaml"),
    ):
        with pytest.raises(ConfigError, match=way):
            stored_sites([point], store, lm)
