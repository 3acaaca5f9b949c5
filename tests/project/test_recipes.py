"""Every recipe runs through the real command: only the base model is replaced, and the run is shortened.

One model of the published size goes through all stages with everything laid over them, a small one through the whole
chain from random weights; the other two are fitted. What a stage does after it was repeated, damaged or given other
options is seen with one detector.
"""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from stage_words import MODELS, RECIPES, UNDRAWN, architecture, configs, stage_recipes

from madkit.cli.command import main
from madkit.store.feature_store import FeatureStore

SHORT_DATA = ["--data.task_options", json.dumps({"n_train": 1200, "n_validation": 400})]
SHORT_FIT = [
    "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "8", "--trainer.val_check_interval", "4",
    "--trainer.log_every_n_steps", "2", "--data.max_train", "256", "--data.max_validation", "48",
]  # fmt: skip
LIMITS = [f"--data.max_{split}=40" for split in ("trusted", "untrusted", "calibration", "test")]


def recipes(model, stage):
    """A stage's recipe with those of the encoders and the LoRA laid over it."""
    return stage_recipes(model, stage, f"{stage}-encoders", f"{stage}-lora")


def run(*args):
    assert main([str(arg) for arg in args]) == 0


def test_every_recipe_is_covered():
    """A new recipe has to be one of these kinds, or needs a test of its own."""
    kinds = {path.relative_to(RECIPES).as_posix() for path in RECIPES.rglob("*.yaml")}
    expected = {f"{name}.yaml" for name in (*MODELS, "predict", "test", "test-ideas", "flow", "sae", "encoders-stored")}
    expected |= {f"{stage}-{part}.yaml" for stage in ("predict", "test") for part in ("encoders", "lora", "volume")}
    expected |= {f"tiny/{name}.yaml" for name in ("base", "mistral-base", "prompts", "texts", "predict", "flow", "sae")}
    expected |= {"pythia/difficulty.yaml"}  # tests/difficulty/test_difficulty.py
    # tests/poser/test_module.py
    expected |= {f"poser/{part}.yaml" for part in ("base", "tune", "tiny", "llama-13b")}
    expected |= {f"poser/{part}.yaml" for part in ("matched", "matched-pairs", "sandbagging", "tune-short")}
    # tests/project/test_control_recipes.py
    expected |= {
        f"{name}.yaml" for name in ("benign", "tiny/benign", "doses", "obfuscated", "predict-short", "test-short")
    }
    expected |= {"tiny/predict-short.yaml"}
    # tests/slow/test_stress_recipes.py
    expected |= {f"{name}.yaml" for name in ("predict-stress", "tiny/predict-stress", "test-stress")}
    expected |= {f"published/{name}.yaml" for name in ("llama", "mistral", "prompts")}  # test_published_recipes.py
    smollm2 = ("texts", "flow", "sae", "predict", "predict-short")
    expected |= {"smollm2.yaml", *(f"smollm2/{name}.yaml" for name in smollm2)}  # test_smollm2_recipes.py
    assert kinds == expected


@pytest.fixture(scope="module")
def finished(bases, fit_encoders, tmp_path_factory):
    """The run folder after fit, predict and test of one model's recipes."""
    model, base = "llama", bases["llama"]
    runs = tmp_path_factory.mktemp("runs") / model
    common = ["--run", runs, "--model.base", base, *SHORT_DATA]
    run("fit", *configs(model), *common, *SHORT_FIT)
    fit_encoders(model, base, runs)
    run("predict", *recipes(model, "predict"), "--run", runs, *LIMITS)
    run("test", *recipes(model, "test"), "--run", runs, *UNDRAWN)  # one detector is drawn: `drawn`
    return model, base, runs / "addition"


def one_detector(folder, kind):
    """The words of a stage that judges the activations of a run by one score."""
    recipe = folder / f"{kind}.yaml"
    detector = {"feature": "activations", "score": {"class_path": kind}}
    data = {"class_path": "StoreData", "init_args": {"dataset": "addition"}}
    model = {"class_path": "Detection", "init_args": {"detectors": [detector], "aggregations": ["mean"]}}
    recipe.write_text(yaml.safe_dump({"model": model, "data": data}))
    return ["test", "--config", recipe]


@pytest.fixture(scope="module")
def drawn(finished, tmp_path_factory):
    """A copy of that folder in which one detector was judged, and drawn for TensorBoard."""
    model, _, folder = finished
    root = tmp_path_factory.mktemp("drawn")
    copy = root / model / "addition"
    shutil.copytree(folder, copy)
    run(*one_detector(root, "LocalOutlierFactor"), "--run", copy.parent)
    return copy


def test_ideas_are_judged_beside_the_default_in_every_aggregation(finished, tmp_path):
    model, _, folder = finished
    shutil.copytree(folder, tmp_path / model / "addition")
    run("test", *stage_recipes(model, "test", "test-ideas"), "--run", tmp_path / model, *UNDRAWN)
    results = pd.read_parquet(tmp_path / model / "addition" / "detection" / "results.parquet")
    judged = results[(results["subset"] == "all") & (results["site"] == "aggregate") & (results["setting"] == "online")]
    listed = yaml.safe_load((RECIPES / "test-ideas.yaml").read_text())["model"]["init_args"]
    assert set(judged["aggregation"]) == set(listed["aggregations"])
    # Every detector has a number in each: those of the default recipe, and the ideas beside them.
    table = judged.pivot_table(index=["feature", "score", "adapter"], columns="aggregation", values="auroc")
    assert table.notna().all(axis=None) and table.index.is_unique
    default = yaml.safe_load((RECIPES / "test.yaml").read_text())["model"]["init_args"]
    offline = 1  # quantum entropy
    assert len(table) == len(default["detectors"]) + len(listed["detectors+"]) - offline


def test_fit_leaves_an_adapter_that_peft_loads_without_madkit(finished):
    from peft import AutoPeftModelForCausalLM

    _, _, folder = finished
    model = AutoPeftModelForCausalLM.from_pretrained(folder / "adapter")
    trained = [p for name, p in model.named_parameters() if "lora_B" in name]
    assert trained and any(bool(p.abs().sum() > 0) for p in trained)


def test_the_adapter_says_in_which_words_it_was_trained(finished):
    from madkit.data.prompts.template_files import load_templates

    _, _, folder = finished
    record = json.loads((folder / "adapter" / "template.json").read_text())
    templates = load_templates("standardized", "addition", ["op1", "op2", "result"])
    assert record["name"] == "standardized" and record["wordings"] == [template.digest for template in templates]


def test_checkpoints_hold_the_adapter_and_not_the_base(finished):
    _, _, folder = finished
    for path in folder.glob("checkpoints/*/*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["state_dict"]
        assert all("lora_" in name for name in checkpoint["state_dict"])
        assert checkpoint["optimizer_states"][0]["state"]


def test_tensorboard_has_the_curves_and_the_histograms(finished, drawn):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, _, folder = finished
    events = EventAccumulator(str(folder / "tensorboard" / "fit"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    wanted = {"loss", "accuracy", "alice_loss", "alice_accuracy", "bob_loss", "bob_accuracy", "bob_truth_accuracy"}
    assert {f"val/{name}" for name in wanted} <= scalars
    assert "train/loss" in scalars
    assert any("learning_rate" in name for name in scalars)
    assert {"log_odds/alice", "log_odds/bob"} <= set(events.Tags()["histograms"])
    assert "log_odds" in events.Tags()["images"]
    detection = EventAccumulator(str(drawn / "tensorboard" / "test"))
    detection.Reload()
    assert {"auroc_by_layer_online", "roc_online"} <= set(detection.Tags()["images"])
    for subset in ("all", "agree", "disagree"):
        assert any(tag.endswith(subset) and "auroc_by_layer" in tag for tag in detection.Tags()["scalars"])


def test_every_file_is_for_whom_the_umask_lets(finished):
    """Run folders are shared, and safetensors writes files that only their owner may read."""
    _, _, folder = finished
    mask = os.umask(0)
    os.umask(mask)
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".safetensors", ".ckpt", ".json", ".yaml", ".parquet"}
    assert not [path for path in files if path.stat().st_mode & 0o777 != 0o666 & ~mask]


def test_history_has_each_step_once(finished):
    _, _, folder = finished
    history = pd.read_parquet(folder / "history.parquet")
    assert not history.duplicated(["step", "metric"]).any()
    assert {"train/loss", "val/loss", "val/bob_truth_accuracy"} <= set(history["metric"])


def test_the_resolved_recipes_are_kept(finished):
    _, base, folder = finished
    for stage in ("fit", "predict", "test"):
        text = (folder / f"{stage}.yaml").read_text()
        assert text.startswith("# madkit ")
        resolved = yaml.safe_load(text)
        if stage != "test":
            assert resolved["model"]["init_args"]["base"] == str(base)


def test_the_store_holds_what_the_model_computes(finished):
    """A stored vector equals the one that transformers and peft give for its prompt alone."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    _, base, folder = finished
    store = FeatureStore.current(folder / "features" / "activations")
    answers = FeatureStore.current(folder / "features" / "answers")
    model = AutoPeftModelForCausalLM.from_pretrained(
        folder / "adapter", dtype=getattr(torch, store.identity["dtype"], None)
    )
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows, x = store.read("model.layers.4", "test", 3, 5)
    _, logits = answers.read("logits", "test", 3, 5)
    for row, vector, pair in zip(rows.tolist(), x, logits, strict=True):
        prompt = store.rows.set_index("row").loc[row, "prompt"]
        tokens = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            out = model(**tokens, output_hidden_states=True)
        torch.testing.assert_close(
            vector.float(), out.hidden_states[4][0, -1].float(), rtol=0.05, atol=0.05 * float(vector.float().std())
        )
        choices = [tokenizer(prompt + c)["input_ids"][tokens["input_ids"].shape[1]] for c in (" No", " Yes")]
        torch.testing.assert_close(pair.float(), out.logits[0, -1, choices].float(), rtol=0.05, atol=0.1)


def test_results_are_tidy_and_have_intervals(finished):
    model, _, folder = finished
    results = pd.read_parquet(folder / "detection" / "results.parquet")
    assert set(results["subset"]) == {"all", "agree", "disagree"}
    assert set(results["feature"]) == {
        "activations",
        "attribution",
        "probe",
        "answers",
        "flow",
        "lora_activity",
        "update_directions",
        "sae",
        "own_answer",
        "conditional_studentised",
        "delta",
        "paired",
    }
    named = {"online": {""}, "offline": {"untrusted split"}, "ceiling": {""}, "own answer": {""}}
    assert results.groupby("setting")["untrusted"].agg(set).to_dict() == named
    assert set(results[results["setting"] == "ceiling"]["score"]) == {"logistic_probe"}
    for name in ("partial_auroc", "tpr", "average_precision"):
        assert results[f"{name}_low"].le(results[name]).all() and results[name].le(results[f"{name}_high"]).all()
    assert {"mahalanobis", "lof"} <= set(results["score"])
    assert {"mean", "max", "zscore", "rank", "fisher", ""} == set(results["aggregation"])
    assert set(results.loc[~results["adapter"], "feature"]) == {"activations"}
    assert not results.duplicated(["feature", "adapter", "score", "site", "aggregation", "subset"]).any()
    assert ((results["low"] <= results["auroc"]) & (results["auroc"] <= results["high"])).all()
    assert (results[results["subset"] == "all"]["n_normal"] == results[results["subset"] == "all"]["n_anomalous"]).all()
    assert set(results["dataset"]) == {"addition"} and set(results["model"]) == {model}


def test_auroc_in_the_results_is_that_of_the_written_scores(finished):
    from sklearn.metrics import roc_auc_score

    _, _, folder = finished
    results = pd.read_parquet(folder / "detection" / "results.parquet")
    scores = pd.read_parquet(folder / "detection" / "scores.parquet")
    prompts = pd.read_parquet(folder / "detection" / "prompts.parquet").set_index("row")
    results = results[(results["setting"] != "own answer") & (results["subset"] == "disagree")]
    keys = ["feature", "adapter", "score", "site", "aggregation"]
    written = dict(list(scores.set_index("row").groupby(keys)["value"]))
    rows = prompts.index[prompts["alice_label"] != prompts["bob_label"]]
    assert len(results) > 100 and set(written) == set(results[keys].itertuples(index=False, name=None))
    for line in results.itertuples():
        chosen = written[tuple(getattr(line, key) for key in keys)].loc[rows]
        assert line.auroc == pytest.approx(roc_auc_score(prompts.loc[rows, "anomalous"], chosen), abs=1e-12)


def test_the_aggregate_is_the_mean_over_sites(finished):
    _, _, folder = finished
    scores = pd.read_parquet(folder / "detection" / "scores.parquet")
    one = scores[(scores["feature"] == "activations") & scores["adapter"] & (scores["score"] == "lof")]
    mean = one[one["aggregation"] == ""].groupby("row")["value"].mean()
    written = one[one["aggregation"] == "mean"].set_index("row")["value"]
    np.testing.assert_allclose(written.loc[mean.index], mean, rtol=1e-12)


def test_calibrated_aggregates_come_from_held_out_trusted_prompts(finished):
    from madkit.statistics import aggregate

    _, _, folder = finished
    scores = pd.read_parquet(folder / "detection" / "scores.parquet")
    calibration = pd.read_parquet(folder / "detection" / "calibration.parquet")
    store = FeatureStore.current(folder / "features" / "activations")
    held_out = store.rows[store.rows["split"] == "calibration"]
    trusted = store.rows[store.rows["split"] == "trusted"]
    assert not set(held_out["id"]) & set(trusted["id"]) and set(held_out["name"]) <= set(trusted["name"])
    assert set(held_out["character"]) == {"Alice"} and held_out["difficulty_quantile"].max() < 0.25
    wide = []
    for table in (scores[scores["aggregation"] == ""], calibration):
        one = table[(table["feature"] == "activations") & table["adapter"] & (table["score"] == "lof")]
        wide.append(one.pivot(index="row", columns="site", values="value")[store.sites])
    assert wide[1].index.tolist() == held_out["row"].tolist()
    for way in ("zscore", "rank", "fisher"):
        written = scores[(scores["feature"] == "activations") & scores["adapter"] & (scores["score"] == "lof")]
        written = written[written["aggregation"] == way].set_index("row")["value"]
        np.testing.assert_allclose(written.loc[wide[0].index], aggregate(way, *wide), rtol=1e-9, atol=1e-12)


def test_offline_scores_may_learn_from_the_test_prompts_and_say_so(drawn, tmp_path):
    """Transductive: the same score, fitted by hand on the test prompts, gives the same numbers."""
    from madkit.scores import QuantumEntropy

    copy = tmp_path / drawn.parent.name / drawn.name
    shutil.copytree(drawn, copy)
    curves = copy / "tensorboard" / "test"
    earlier = {path.name for path in curves.glob("events.*")}
    assert earlier
    options = ["--model.untrusted", "test", "--model.ceiling", "false"]
    run(*one_detector(tmp_path, "QuantumEntropy"), "--run", copy.parent, *options)
    results = pd.read_parquet(copy / "detection" / "results.parquet")
    assert not earlier & {path.name for path in curves.glob("events.*")}  # nothing of the recipe before
    assert set(results[results["setting"] == "offline"]["untrusted"]) == {"test prompts"}
    assert "ceiling" not in set(results["setting"]) and set(results["aggregation"]) == {"mean", ""}
    store = FeatureStore.current(copy / "features" / "activations")
    site = store.sites[0]
    (_, trusted), (rows, test) = (store.read(site, split) for split in ("trusted", "test"))
    expected = pd.Series(QuantumEntropy().fit(trusted, test)(test).numpy(), index=rows.numpy())
    scores = pd.read_parquet(copy / "detection" / "scores.parquet")
    written = scores[(scores["score"] == "quantum_entropy") & (scores["site"] == site)].set_index("row")["value"]
    np.testing.assert_allclose(written.loc[expected.index], expected, rtol=1e-9)


def test_fitted_scores_reload_and_give_the_same_numbers(finished):
    from madkit.scores import load_score

    _, _, folder = finished
    store = FeatureStore.current(folder / "features" / "activations")
    scores = pd.read_parquet(folder / "detection" / "scores.parquet")
    for site in store.sites:
        rows, x = store.read(site, "test")
        score = load_score(folder / "detection" / "detectors" / "activations" / "mahalanobis" / site)
        written = scores[
            (scores["feature"] == "activations") & (scores["score"] == "mahalanobis") & (scores["site"] == site)
        ]
        written = written[written["adapter"]]
        np.testing.assert_allclose(score(x).numpy(), written.set_index("row").loc[rows.numpy(), "value"], rtol=1e-12)


def test_repeated_stages_do_no_work(finished, capsys):
    model, base, folder = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors") if "detectors" not in path.parts}
    common = ["--run", folder.parent, "--model.base", base, *SHORT_DATA]
    run("fit", *configs(model), *common, *SHORT_FIT)
    assert "already been fitted" in capsys.readouterr().err
    run("predict", *recipes(model, "predict"), "--run", folder.parent, *LIMITS)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_validate_repeats_the_numbers_of_fit(finished, capsys):
    model, base, folder = finished
    common = ["--run", folder.parent, "--model.base", base, *SHORT_DATA, "--data.max_validation", "48"]
    fitted = json.loads((folder / "fit.json").read_text())
    # What another recipe has left is newer, and none of this one's.
    own, other = folder / "checkpoints" / fitted["key"], folder / "checkpoints" / "other"
    other.mkdir()
    for path in own.glob("*.ckpt"):
        (other / path.name).write_bytes(b"another recipe's")
    capsys.readouterr()
    run("validate", *configs(model), *common)
    shutil.rmtree(other)
    assert f"{fitted['metrics']['val/loss']:.6f}"[:6] in capsys.readouterr().out


def test_a_store_of_another_adapter_is_refused(finished, capsys, tmp_path):
    from safetensors.torch import load_file, save_file

    from madkit.runs.file_digest import file_digest

    model, _, folder = finished
    copy = tmp_path / model / "addition"
    shutil.copytree(folder, copy)
    words = [*map(str, one_detector(tmp_path, "Mahalanobis")), "--run", str(copy.parent)]
    path = copy / "adapter" / "adapter_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    assert main(words) == 2
    assert "adapter_model.safetensors' is missing or not what `madkit fit` has written" in capsys.readouterr().err
    # As if it had been tuned again.
    fit = json.loads((copy / "fit.json").read_text())
    fit["files"]["adapter"]["adapter_model.safetensors"] = file_digest(path)
    (copy / "fit.json").write_text(json.dumps(fit))
    assert main(words) == 2
    assert "another adapter" in capsys.readouterr().err


def contents(folder, name):
    """The files of a feature's current store."""
    return {p.name: p.read_bytes() for p in FeatureStore.current(folder / "features" / name).folder.iterdir()}


def test_encoders_of_stored_activations_are_those_of_the_lm(finished, monkeypatch, capsys, tmp_path):
    """The same files in a store of the same key, and no language model."""
    from madkit.lm import loading

    model, _, folder = finished
    copy = tmp_path / model / "addition"
    shutil.copytree(folder, copy)
    for kind in ("flow", "sae"):
        (copy.parent / kind).symlink_to(folder.parent / kind)
        shutil.rmtree(copy / "features" / kind)
    with_lm = ["predict", *stage_recipes(model, "predict"), "--run", copy.parent, *LIMITS]
    without = ["predict", *configs("encoders-stored"), "--run", copy.parent]
    # Every third layer is stored, and the encoders of this test read others.
    assert main([str(word) for word in without]) == 2
    assert "choose first and step of Activations in predict.yaml" in capsys.readouterr().err
    features = [{"class_path": "Activations", "init_args": {"step": 1}}, {"class_path": "Answers"}]
    (tmp_path / "all.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"features": features}}}))
    run(*with_lm, "--config", tmp_path / "all.yaml")
    before, stamp = json.loads((copy / "predict.json").read_text()), (copy / "predict.json").stat().st_mtime_ns
    recipe = (copy / "predict.yaml").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_causal_lm", None)
        run(*without)
    after = json.loads((copy / "predict.json").read_text())
    for kind in ("flow", "sae"):
        theirs, ours = (FeatureStore.current(f / "features" / kind) for f in (folder, copy))
        assert theirs.folder.name == ours.folder.name == after["features"][kind]
        assert contents(folder, kind) == contents(copy, kind)
        assert after["stored"][kind]["made_from"] == {"activations": after["features"]["activations"]}
    assert after["made_by"] == before["made_by"] and after["features"] | before["features"] == after["features"]
    assert (copy / "predict.json").stat().st_mtime_ns == stamp and (copy / "predict.yaml").read_bytes() == recipe
    assert "StoredExtractor" in (copy / "predict-stored.yaml").read_text()
    # Whoever asks the LM later finds them done.
    written = {p: p.stat().st_mtime_ns for kind in ("flow", "sae") for p in copy.glob(f"features/{kind}/*/shard-*")}
    run(*with_lm, *configs("predict-encoders"))
    assert written and {p: p.stat().st_mtime_ns for p in written} == written


@pytest.mark.parametrize(
    ("model", "dataset"),
    [
        ("mistral", "hemisphere"),
        ("tiny-llama", "population"), ("tiny-llama", "nli"), ("tiny-mistral", "sentiment"),
    ],
)  # fmt: skip
def test_datasets_that_are_not_arithmetic_are_fitted(model, dataset, bases, tmp_path):
    """With all options of the recipe, but for the number of questions."""
    runs = tmp_path / model
    common = ["--run", runs, "--model.base", bases[architecture(model)], "--data.dataset", dataset]
    prompts = yaml.safe_load((RECIPES / f"{model}.yaml").read_text())["data"]
    if model.startswith("tiny-"):
        prompts = yaml.safe_load((RECIPES / prompts).read_text())
    options = prompts["init_args"].get("task_options", {})
    options |= {"n_train": 1200, "n_validation": 400}
    short = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--data.max_validation", "32"]
    short += ["--data.max_train", "256"]
    run("fit", *configs(model), *common, *short, "--data.task_options", json.dumps(options))
    history = pd.read_parquet(runs / dataset / "history.parquet")
    assert {"val/alice_accuracy", "val/bob_truth_accuracy"} <= set(history["metric"])


@pytest.mark.parametrize("model", [m for m in MODELS if m.startswith("tiny-")])
def test_a_base_from_random_weights_can_be_tuned(model, tmp_path):
    """base, fit; and predict, test, figures: each stage finds what the one before it wrote."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    runs = tmp_path / "runs" / model
    short = ["--data.batch_size", "48", "--data.steps_per_epoch", "4", "--data.n_validation", "8"]
    short += ["--trainer.val_check_interval", "2"]
    overlay = ["tiny/mistral-base"] if architecture(model) == "mistral" else []
    if overlay:  # laid over what has all tasks in the other case
        short += ["--data.tasks", '{"addition": {"max": 99}, "hemisphere": {"words": 1, "easiest": 600}}']
        short += ["--data.weights", "{}"]
    run("fit", *configs("tiny/base", *overlay), "--run", runs / "base", *short)
    base = runs / "base" / "model"
    lm, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    assert lm.config.model_type == architecture(model)
    assert lm.config.vocab_size == len(tokenizer)
    history = pd.read_parquet(runs / "base" / "history.parquet")
    assert history[history["metric"] == "val/loss"]["step"].tolist() == [2, 4]
    # One that knows its words: no city or review is spelled in bytes.
    words = tokenizer.tokenize("Name: Luna\nContext: hemispheres\nStatement: Lima lies in the north\nTrue? Yes")
    assert words[5] == " Lima" and len(words) == 12
    common = ["--run", runs, "--model.base", base, "--data.dataset", "hemisphere"]
    few = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "2", "--data.max_train", "256"]
    run("fit", *configs(model), *common, *few, "--data.max_validation", "32")
    if model != "tiny-llama":  # the stages after it are those of `finished`
        return
    chosen = ["--run", runs, "--data.dataset", "hemisphere"]
    run("predict", *stage_recipes(model, "predict"), *chosen, *LIMITS)
    # With one detector: `finished` has all of them, and to draw thirty takes a minute.
    run(*one_detector(tmp_path, "LocalOutlierFactor"), *chosen)
    results = pd.read_parquet(runs / "hemisphere" / "detection" / "results.parquet")
    sites = results[results["aggregation"] == ""]
    assert sorted(sites["layer"].dropna().unique()) == [1, 2, 3, 4]
    assert (sites[sites["subset"] == "all"]["n_anomalous"] == 40).all()
    run("figures", runs, "--out", tmp_path / "figures", "--formats", "png", "--jobs", "1")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"table1.md", "table1.csv"} <= names
    assert sum(name.endswith(".png") for name in names) >= 5
