"""Encoders are trained by the real command, resumed, shared out over processes, and used only where they belong."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from forked import kill_when, run_two
from safetensors.torch import load_file
from stage_words import RECIPES, UNDRAWN, lm_recipe, stage_recipes

from madkit.cli.command import main
from madkit.encoders.encoder_site import EncoderSite
from madkit.encoders.flow.laplace_flow import LaplaceFlow
from madkit.errors import ConfigError
from madkit.lm.hooks import Hookpoint
from madkit.store.feature_store import FeatureStore

TASKS = yaml.safe_load((RECIPES / "tiny" / "texts.yaml").read_text())["init_args"]["tasks"]
for task in ("sentiment", "nli"):  # to make their sentences takes longer than to train on them
    del TASKS[task]
SHORT = [
    "--data.layers", "[1, 3]", "--data.texts.batch_size", "8", "--data.texts.steps_per_epoch", "12",
    "--data.texts.n_validation", "8", "--data.statistics_batches", "3", "--trainer.val_check_interval", "4",
    "--trainer.log_every_n_steps", "1", "--data.texts.tasks", json.dumps(TASKS),
]  # fmt: skip
KINDS = ("flow", "sae")


def words(kind, runs, base, *options):
    recipes = [*stage_recipes("tiny-llama", kind), *lm_recipe("tiny-llama")]
    return ["fit", *recipes, "--run", str(runs / kind), "--data.base", str(base), *SHORT, *options]


@pytest.fixture(scope="module")
def trained(bases, tmp_path_factory):
    """Both kinds of encoder, trained undisturbed in this process."""
    runs = tmp_path_factory.mktemp("encoders")
    for kind in KINDS:
        assert main(words(kind, runs, bases["llama"])) == 0
    return runs


def weights(folder):
    return {
        (path.parent.name, name): tensor
        for path in sorted((folder / "encoder").rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def history(folder):
    return pd.read_parquet(folder / "history.parquet").drop(columns="run")


def compare(ours, theirs, **tolerance):
    a, b = history(ours), history(theirs)
    assert a[["step", "metric"]].equals(b[["step", "metric"]])
    np.testing.assert_allclose(b["value"], a["value"], **tolerance)
    a, b = weights(ours), weights(theirs)
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(b[name], a[name], **tolerance, msg=str(name))


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss_and_leaves_the_usual_files(trained, kind):
    folder = trained / kind
    curve = history(folder)
    losses = curve[curve["metric"] == "train/loss"]["value"]
    assert losses.iloc[-3:].mean() < losses.iloc[:3].mean()
    marker = json.loads((folder / "fit.json").read_text())
    assert marker["result"] == "encoder" and marker["steps"] == 12
    assert not curve.duplicated(["step", "metric"]).any()
    for path in folder.glob("checkpoints/*/*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert state and all(name.startswith(("encoders.", "standardised")) for name in state)


def test_tensorboard_has_curves_plots_and_histograms(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags = {}
    for kind in KINDS:
        events = EventAccumulator(str(trained / kind / "tensorboard" / "fit"))
        events.Reload()
        tags[kind] = events.Tags()
    assert {"train/loss", "val/bits_per_dim", "val/bits_per_dim/model.layers.1"} <= set(tags["flow"]["scalars"])
    assert "quantiles/model.layers.3" in tags["flow"]["images"]
    assert {"train/loss", "val/fvu", "val/dead", "val/fvu/model.layers.3.output"} <= set(tags["sae"]["scalars"])
    assert "log10_latent_frequency/model.layers.1.output" in tags["sae"]["histograms"]


def test_a_finished_fit_is_not_repeated(trained, bases, capsys):
    assert main(words("flow", trained, bases["llama"])) == 0
    assert "already been fitted" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "metric"), [("flow", "val/bits_per_dim"), ("sae", "val/fvu")])
def test_validate_repeats_the_numbers_of_fit(trained, bases, capsys, kind, metric):
    capsys.readouterr()
    assert main(["validate", *words(kind, trained, bases["llama"], *UNDRAWN)[1:]]) == 0
    value = json.loads((trained / kind / "fit.json").read_text())["metrics"][metric]
    assert f"{value:.6f}"[:6] in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_the_same_encoders(trained, bases, tmp_path, kind):
    run_two(words(kind, tmp_path, bases["llama"], *UNDRAWN), tmp_path)
    compare(trained / kind, tmp_path / kind, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["sae"])  # which also has to know what each latent has done
def test_a_killed_fit_continues_to_the_same_encoders(trained, bases, tmp_path, kind):
    line = words(kind, tmp_path, bases["llama"], *UNDRAWN)
    kill_when(lambda: list((tmp_path / kind).glob("checkpoints/*/last.ckpt")), line, tmp_path)
    assert not (tmp_path / kind / "fit.json").exists()
    assert main(line) == 0
    compare(trained / kind, tmp_path / kind, rtol=1e-5, atol=1e-6)


def test_an_encoder_knows_where_it_belongs(trained):
    site = EncoderSite.load(trained / "flow" / "encoder" / "model.layers.1")
    assert site.hookpoint == Hookpoint("model.layers.1", "input") and site.width == 32
    assert site.positions == "after the first token"
    site.require(Hookpoint("model.layers.1", "input"), 32, site.base)
    for wrong, named in (
        ((Hookpoint("model.layers.1", "output"), 32, site.base), "hookpoint"),
        ((site.hookpoint, 64, site.base), "width"),
        ((site.hookpoint, 32, "0123"), "base model"),
    ):
        with pytest.raises(ConfigError, match=named):
            site.require(*wrong)


@pytest.fixture(scope="module")
def predicted(trained, bases):
    """Features of the base model alone, from encoders and activations."""
    recipe = trained / "features.yaml"
    recipe.write_text(
        f"model:\n  class_path: Extractor\n  init_args:\n    base: {bases['llama']}\n    adapter: none\n    features:\n"
        "    - class_path: Activations\n      init_args: {first: 1, step: 2, final: true}\n"
        "    - class_path: Flow\n    - class_path: SAE\n    - class_path: Answers\n"
        f"data: {RECIPES / 'tiny' / 'prompts.yaml'}\n"
    )
    sizes = json.dumps({"n_train": 800, "n_validation": 300, "n_test": 0})
    line = ["predict", "--config", str(recipe), "--run", str(trained), "--data.task_options", sizes]
    assert main([*line, "--data.shard_size", "30"]) == 0
    return trained / "addition"


def test_features_are_the_encoders_of_the_stored_activations(trained, predicted):
    import sparsify

    stores = {name: FeatureStore.current(predicted / "features" / name) for name in ("activations", "flow", "sae")}
    rows, x = stores["activations"].read("model.layers.1", "test")
    own, z = stores["flow"].read("model.layers.1", "test")
    assert torch.equal(rows, own)
    flow = LaplaceFlow.load(trained / "flow" / "encoder" / "model.layers.1")
    torch.testing.assert_close(z, flow(x), rtol=1e-4, atol=1e-4)
    assert stores["sae"].sites == ["model.layers.1.output", "model.layers.3.output"]
    assert stores["sae"].layers == {"model.layers.1.output": 2, "model.layers.3.output": 4}
    _, latents = stores["sae"].read("model.layers.1.output", "test", 10, 50)
    coder = sparsify.SparseCoder.load_from_disk(trained / "sae" / "encoder" / "model.layers.1.output")
    assert latents.layout == torch.sparse_coo and latents.is_coalesced() and latents.shape == (40, coder.num_latents)
    assert int((latents.to_dense() != 0).sum(1).max()) <= coder.cfg.k
    _, whole = stores["sae"].read("model.layers.1.output", "test")
    assert torch.equal(whole.to_dense()[10:50], latents.to_dense())


@pytest.mark.parametrize("world", [1, 2])
def test_sparse_blocks_cover_a_split_once(predicted, world):
    from madkit.derived import DerivedSite
    from madkit.detection.data import Feed, SiteBlocks
    from madkit.store.variant import Variant

    store = FeatureStore.current(predicted / "features" / "sae")
    site, count = store.sites[0], store.count("test")
    feeds, sae = [Feed("test", "test")], Variant("sae")
    derived = DerivedSite(site, None, ((sae, site),))
    blocks = [SiteBlocks(sae, derived, {sae: store}, feeds, count - 1, rank, world) for rank in range(world)]
    parts = [block for rank in blocks for block in rank]
    assert sum(len(part["sources"][0]) for part in parts) == count
    assert all(
        part["sources"][0].layout == torch.sparse_coo and part["sources"][0].shape[1] == store.widths[site]
        for part in parts
    )


def test_encoders_of_another_model_or_place_are_refused(trained, predicted, bases, tmp_path, capsys):
    import shutil

    shutil.copytree(trained / "flow" / "encoder", tmp_path / "run" / "flow" / "encoder")
    recipe = (trained / "features.yaml").read_text()
    other = tmp_path / "other.yaml"
    other.write_text(recipe.replace(str(bases["llama"]), str(bases["mistral"])).replace("    - class_path: SAE\n", ""))
    line = [
        "predict",
        "--config",
        str(other),
        "--data.task_options",
        '{"n_train": 800, "n_validation": 300, "n_test": 0}',
    ]
    assert main([*line, "--run", str(tmp_path / "run")]) == 2
    assert "was trained for base model" in capsys.readouterr().err
    assert main([*line, "--run", str(tmp_path / "none")]) == 2
    assert "flow.yaml" in capsys.readouterr().err


def test_a_published_sae_reads_the_output_of_the_module_it_is_named_after(bases, tmp_path):
    import sparsify

    from madkit.features import SAE
    from madkit.lm import loading

    for name in ("layers.3", "layers.1"):
        sparsify.SparseCoder(32, sparsify.SparseCoderConfig(expansion_factor=2, k=3)).save_to_disk(tmp_path / name)
    lm = loading.skeleton(str(bases["llama"]))
    feature = SAE(encoder=str(tmp_path))
    feature.prepare(lm, "any", tmp_path / "run" / "addition")
    assert feature.hookpoints(lm) == [Hookpoint("model.layers.1", "output"), Hookpoint("model.layers.3", "output")]
    chosen = SAE(encoder=str(tmp_path), subfolders=["layers.3"])
    chosen.prepare(lm, "any", tmp_path / "run" / "addition")
    assert chosen.sites(lm) == ["model.layers.3.output"] and chosen.identity() != feature.identity()
    sparsify.SparseCoder(16, sparsify.SparseCoderConfig(expansion_factor=2, k=3)).save_to_disk(tmp_path / "layers.2")
    with pytest.raises(ConfigError, match="width 16"):
        SAE(encoder=str(tmp_path)).prepare(lm, "any", tmp_path / "run" / "addition")


def test_only_the_chosen_saes_of_a_hub_repository_are_fetched(bases, tmp_path, monkeypatch):
    import huggingface_hub
    import sparsify

    from madkit.features import SAE
    from madkit.lm import loading

    sparsify.SparseCoder(32, sparsify.SparseCoderConfig(expansion_factor=2, k=3)).save_to_disk(tmp_path / "layers.2")
    asked = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda n, **k: asked.update(name=n, **k) or tmp_path)
    feature = SAE(encoder="someone/sae", subfolders=["layers.2"])
    feature.prepare(loading.skeleton(str(bases["llama"])), "any", tmp_path / "addition")
    assert asked["name"] == "someone/sae"
    assert all(pattern.startswith("layers.2/") for pattern in asked["allow_patterns"])


def test_encoders_can_be_trained_on_a_store(trained, predicted, tmp_path):
    store = predicted / "features" / "activations"
    for name, options in (("FlowEncoder", "{whiten: false}"), ("SAEEncoder", "{expansion: 2, k: 4}")):
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(
            f"model:\n  class_path: {name}\n  init_args: {options}\ntrainer: {{max_epochs: 1}}\n"
            f"data:\n  class_path: StoredActivations\n"
            f"  init_args: {{store: {store}, batch_size: 16, steps_per_epoch: 5}}\n"
        )
        assert main(["fit", "--config", str(recipe), "--run", str(tmp_path / name), *UNDRAWN]) == 0
        site = EncoderSite.load(tmp_path / name / "encoder" / "model.layers.3")
        assert site.positions == "last prompt token" and site.data["split"] == "trusted"
        assert site.base == EncoderSite.load(trained / "flow" / "encoder" / "model.layers.1").base
