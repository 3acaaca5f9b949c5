"""The command's manners: quick help, and one clear line for every mistake."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from madkit.cli.command import main

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SHORT_DATA = ["--data.task_options", json.dumps({"n_train": 1200, "n_validation": 400, "n_test": 0})]


def python(*args):
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["data", "--help"]])
def test_help_and_version_import_nothing_heavy(words):
    script = (
        "import sys; from madkit.cli.command import main; main(sys.argv[1:]); "
        "heavy = {'torch', 'lightning', 'transformers', 'pandas', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = python("-c", script, *words)
    assert done.returncode == 0, done.stderr
    start = time.perf_counter()
    assert python("-m", "madkit", *words).returncode == 0
    assert time.perf_counter() - start < 1.5


def test_help_names_the_stages_in_order():
    text = python("-m", "madkit", "--help").stdout
    places = [text.index(f"madkit {stage}") for stage in ("fit", "predict", "test", "figures")]
    assert places == sorted(places)


def complaint(capsys, *args):
    """What a wrong command prints: exactly one line, with status 2."""
    capsys.readouterr()
    assert main([str(arg) for arg in args]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("madkit: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def recipe(bases, tmp_path):
    """The recipe for Llama, to be spoiled, with its base model replaced by a small one."""
    content = yaml.safe_load((RECIPES / "llama.yaml").read_text())
    content["model"]["init_args"]["base"] = str(bases["llama"])
    content["run"] = str(tmp_path / "runs")
    content["trainer"]["max_steps"] = 1  # should a mistake go unnoticed, the test fails soon

    def write(**changes):
        for path, value in changes.items():
            place = content
            *parents, last = path.split("__")
            for key in parents:
                place = place[int(key) if isinstance(place, list) else key]
            place[last] = value
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model__init_args__warmupp": 1}, "model: QuirkyLM has no option 'warmupp'"),
        ({"modle": {"class_path": "QuirkyLM"}}, "option 'modle' is not known; did you mean 'model'?"),
        ({"trainer__max_epoch": 1}, "option 'trainer.max_epoch' is not known"),
        ({"trainer__max_epochs": "many"}, "trainer.max_epochs=many"),
        ({"model__class_path": "QuirkLM"}, "there is no class 'QuirkLM'"),
        ({"trainer__callbacks__0__init_args__patiance": 1}, "EarlyStopping has no option 'patiance'"),
        ({"model__init_args__optimizer__init_args__rate": 1}, "AdamW has no option 'rate'"),
        ({"model__init_args__warmup": 2.0}, "warmup=2.0"),
        ({"model__init_args__dtype": "bf17"}, "dtype='bf17' is not supported"),
        ({"model__init_args__lora": {"r": 8, "target_modules": ["q_prj"]}}, "q_prj match nothing in LlamaForCausalLM"),
        ({"data": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_mistakes_in_a_recipe(recipe, capsys, changes, expected):
    assert expected in complaint(capsys, "fit", "--config", recipe(**changes), *SHORT_DATA)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--data.dataset", "additon"], "dataset='additon' is unknown"),
        (["--data.batchsize", "3"], "QuirkyData has no option 'batchsize'"),
        (["--data.batch_size", "few"], "data.batch_size=few"),
        (["--model.base", "./nowhere"], "model.base='./nowhere'"),
        (["--model.base", "meta-llama/Llama-3.1-8B"], "could not be fetched from the Hugging Face hub"),
        (["--data.template", "standardised"], "standardised"),
        (["--data.batch_size", "32", "--data.device_batch_size", "5"], "device_batch_size=5"),
        (["--foo", "3"], "--foo"),
    ],
)
def test_mistakes_on_the_command_line(recipe, capsys, options, expected):
    assert expected in complaint(capsys, "fit", "--config", recipe(), *SHORT_DATA, *options)


def test_a_missing_recipe_and_an_unknown_command(capsys):
    assert "nope.yaml" in complaint(capsys, "fit", "--config", "nope.yaml")
    assert "'fitt' is not a command" in complaint(capsys, "fitt")
    assert "no such folder" in complaint(capsys, "monitor", "nowhere")
    assert "no such folder" in complaint(capsys, "figures", "nowhere")


def test_a_run_folder_is_asked_for(recipe, capsys):
    assert "--run" in complaint(capsys, "fit", "--config", recipe(run=None))


#: The base model alone, which has no adapter to switch off.
NO_ADAPTER = ["--model.adapter", "none", "--model.controls", "[]"]


def predict(base, runs, *options):
    common = ["--config", RECIPES / "predict.yaml", "--run", runs, "--model.base", base, *SHORT_DATA]
    common += ["--lm", RECIPES / "llama.yaml"]
    return ["predict", *common, *options]


def test_predict_before_fit(bases, tmp_path, capsys):
    assert "run `madkit fit` first" in complaint(capsys, *predict(bases["llama"], tmp_path))
    line = complaint(capsys, "predict", "--config", RECIPES / "predict.yaml", "--run", tmp_path)
    assert "fit.yaml" in line and "run `madkit fit` first" in line and "--lm" in line
    (tmp_path / "addition").mkdir(exist_ok=True)
    (tmp_path / "addition" / "fit.yaml").write_text((RECIPES / "llama.yaml").read_text())
    line = complaint(capsys, "predict", "--config", RECIPES / "predict.yaml", "--run", tmp_path)
    assert "a fit that has not ended" in line


def test_a_language_model_is_named(tmp_path, capsys):
    flow = ["fit", "--config", RECIPES / "flow.yaml", "--run", tmp_path]
    assert "data.base is missing: name the recipe" in complaint(capsys, *flow)
    assert "there is no such recipe" in complaint(capsys, *flow, "--lm", tmp_path / "nowhere.yaml")


def test_an_empty_split(bases, tmp_path, capsys):
    few = [
        "--model.adapter",
        "none",
        "--data.task_options",
        json.dumps({"n_train": 8, "n_validation": 400, "n_test": 0}),
    ]
    line = complaint(capsys, *predict(bases["llama"], tmp_path, *few))
    assert "trusted" in line and "n_train" in line


def test_layers_that_do_not_exist(bases, tmp_path, capsys):
    features = json.dumps([{"class_path": "Activations", "init_args": {"first": 40}}])
    line = complaint(capsys, *predict(bases["llama"], tmp_path, *NO_ADAPTER, "--model.features", features))
    assert "layers 0..4" in line


def test_nan_weights(bases, tmp_path, capsys):
    """A model whose weights have gone wrong."""
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(bases["llama"], broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    features = json.dumps([{"class_path": "Activations", "init_args": {"first": 1}}])
    options = [*NO_ADAPTER, "--model.features", features]
    line = complaint(capsys, *predict(broken, tmp_path / "runs", *options))
    assert "the weight 'model.layers.1.mlp.up_proj.weight' is NaN or infinite" in line


def test_scoring_without_features(tmp_path, capsys):
    content = yaml.safe_load((RECIPES / "test.yaml").read_text())
    content["model"]["init_args"]["detectors"] = content["model"]["init_args"]["detectors"][:1]
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(content))
    line = complaint(capsys, "test", "--config", tmp_path / "one.yaml", "--run", tmp_path)
    assert "madkit predict" in line
