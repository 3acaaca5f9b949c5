"""A recipe imports classes of known packages, and of modules that its user lists; no file that just lies there."""

import sys

import pytest

from madkit.cli.command import main
from madkit.cli.listed_modules import list_modules
from madkit.plugins import import_class, listed_modules

STRANGE = "from pathlib import Path\nPath('ran').touch()\n\n\nclass Thing:\n    pass\n"
QUIRKY = "model: {{class_path: {model}, init_args: {{base: nowhere, lora: null}}}}\n"
QUIRKY += "data: {{class_path: {data}, init_args: {{dataset: {dataset}}}}}\ntrainer: {{{trainer}}}\n"
PLAIN = {"model": "QuirkyLM", "data": "QuirkyData", "dataset": "addition", "trainer": ""}
LAMBDA = "{class_path: LambdaCallback, init_args: {on_fit_start: strange_module.Thing}}"
SCORED = "model: {{class_path: Detection, init_args: {{detectors: [{{feature: a, score: {score}}}]}}}}\n"
SCORED += "data: {{class_path: StoreData, init_args: {{dataset: addition}}}}\n"


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """A working directory with a module in it that says when it is imported; as for `python -m`, on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "strange_module.py").write_text(STRANGE)
    yield tmp_path
    sys.modules.pop("strange_module", None)


@pytest.mark.parametrize(
    ("stage", "recipe"),
    [
        ("fit", QUIRKY.format(**{**PLAIN, "model": "strange_module.Thing"})),
        ("fit", QUIRKY.format(**{**PLAIN, "data": "strange_module.Thing"})),
        ("fit", QUIRKY.format(**{**PLAIN, "dataset": "strange_module.Thing"})),
        ("fit", QUIRKY.format(**{**PLAIN, "trainer": "callbacks: [{class_path: strange_module.Thing}]"})),
        ("fit", QUIRKY.format(**{**PLAIN, "trainer": "logger: strange_module.Thing"})),
        ("fit", QUIRKY.format(**{**PLAIN, "trainer": f"callbacks: [{LAMBDA}]"})),
        ("test", SCORED.format(score="{class_path: strange_module.Thing}")),
        (
            "test",
            SCORED.format(score="{class_path: SklearnEstimator, init_args: {estimator: strange_module.Thing}}"),
        ),
    ],
)
def test_a_module_of_the_working_directory_is_not_run_by_a_recipe(strange, capsys, stage, recipe):
    (strange / "recipe.yaml").write_text(recipe)
    assert main([stage, "--config", "recipe.yaml", "--run", "runs", "--trainer.accelerator", "cpu"]) == 2
    assert "'strange_module.Thing' is of a module that a recipe may not import" in capsys.readouterr().err
    assert not (strange / "ran").exists()


def test_what_is_typed_is_imported_where_it_can_be_of_use(strange):
    assert list_modules(["--data.dataset", "strange_module.Thing"]) == ["--data.dataset", "strange_module.Thing"]
    assert "strange_module" not in listed_modules()  # `Thing` derives from nothing
    (strange / "typed_module.py").write_text("class Mine(dict):\n    pass\n")
    list_modules(["--data.dataset=typed_module.Mine", "--data.template", "strange_module.yaml"])
    assert issubclass(import_class("typed_module.Mine"), dict)
    assert "strange_module" not in listed_modules()
    assert not (strange / "ran").exists()


def test_a_listed_file_goes_by_its_path(strange, capsys):
    (strange / "own").mkdir()
    (strange / "own" / "listed_scores.py").write_text("class Mine(dict):\n    pass\n")
    assert list_modules(["--with", "own/listed_scores.py", "--run", "x"]) == ["--run", "x"]
    assert import_class("own.listed_scores.Mine").__module__ == "own.listed_scores"
    for words, said in ((["--with", "nowhere.py"], "no such file"), (["--with"], "names nothing")):
        assert main(["fit", *words]) == 2
        assert said in capsys.readouterr().err
    (strange / "broken_scores.py").write_text("1 / 0\n")
    assert main(["fit", "--with", "broken_scores.py"]) == 2
    assert "broken_scores.py, line 1: ZeroDivisionError" in capsys.readouterr().err
