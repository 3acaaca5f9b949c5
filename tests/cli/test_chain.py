"""`madkit run`: each stage of a chain is what it is alone, and the next one begins where it may."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import yaml

from madkit.cli import chain
from madkit.cli.chain import hand_on, split
from madkit.cli.command import main
from madkit.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["fitt", "--run", "a"], "'fitt'"),
        (["fit", "then"], "nothing"),
        (["fit", "then", "then", "test"], "nothing"),
        (["fit", "--run", "a", "then", "figures"], "'figures'"),
    ],
)
def test_each_part_begins_with_a_stage(words, found):
    with pytest.raises(ConfigError, match=f"run: {found} where a stage should begin"):
        split(words)


@pytest.fixture
def recipe(tmp_path):
    def write(name, **sections):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(sections))
        return str(path)

    return write


def data(name, **options):
    return {"class_path": name, "init_args": options}


def added(*stages):
    """What each stage takes over, as a dict."""
    completed = hand_on(stages)
    assert [words[: len(stage)] for words, stage in zip(completed, stages, strict=True)] == [list(s) for s in stages]
    rest = [words[len(stage) :] for words, stage in zip(completed, stages, strict=True)]
    return [dict(zip(words[::2], words[1::2], strict=True)) for words in rest]


def test_a_stage_takes_over_what_its_command_line_does_not_say(recipe):
    fit = recipe("fit", run="runs/of-recipe", data=data("QuirkyData", dataset="nli"))
    predict = recipe("predict", data={"init_args": {"dataset": "addition"}})
    test = recipe("test", data=data("StoreData", dataset="addition"))
    words = [["fit", "--config", fit], ["predict", "--config", predict], ["test", f"--config={test}"]]
    from_recipe = {"--run": "runs/of-recipe", "--data.dataset": "nli"}
    assert added(*words) == [{}, from_recipe, from_recipe]
    words[0] += ["--run", "r", "--data.dataset=squaring", "--lm", "lm.yaml"]
    typed = {"--run": "r", "--data.dataset": "squaring"}
    assert added(*words) == [{}, {**typed, "--lm": "lm.yaml"}, typed]
    words[1] += ["--data.dataset", "capitals", "--lm=other.yaml"]
    assert added(*words) == [{}, {"--run": "r"}, {**typed, "--data.dataset": "capitals"}]


def test_a_recipe_that_names_its_run_keeps_it_unless_a_command_line_named_another(recipe):
    base = recipe("base", run="runs/base", data=data("CorpusData"))
    tune = recipe("tune", run="runs/tuned", data=data("QuirkyData", dataset="nli"))
    assert added(["fit", "--config", base], ["fit", "--config", tune]) == [{}, {}]
    assert added(["fit", "--config", base, "--run", "r"], ["fit", "--config", tune]) == [{}, {"--run": "r"}]


def test_data_without_datasets_are_given_none(recipe):
    tune = recipe("tune", run="runs/tuned", data=data("QuirkyData", dataset="nli"))
    corpus = recipe("corpus", data=data("CorpusData"))
    assert added(["fit", "--config", tune], ["fit", "--config", corpus]) == [{}, {"--run": "runs/tuned"}]


def test_mistakes_are_found_before_anything_runs(recipe, capsys):
    fit = recipe("fit", run="runs/a", data=data("QuirkyData", dataset="nli"))
    assert main(["run", "fit", "--config", fit, "then", "test", "--config", "nowhere.yaml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "nowhere.yaml" in lines[0]


@pytest.mark.parametrize(
    ("stages", "imported"),
    [
        (["fit"], []),
        (["fit", "test"], []),
        (["fit", "predict", "test"], ["datasets", "peft"]),
        (["test", "test"], ["scipy.stats", "sklearn.linear_model", "sklearn.pipeline"]),
    ],
)
def test_what_several_stages_import_later_is_imported_before_them(monkeypatch, stages, imported):
    seen = []
    monkeypatch.setattr(chain, "import_module", seen.append)
    chain._import_stages([[stage] for stage in stages])
    assert seen == imported


def test_what_stages_import_later_is_there_to_be_imported():
    assert all(find_spec(module) is not None for modules in chain.LATER.values() for module in modules)


CHAIN = """
import os, sys, time
from madkit.cli.signals import Interrupted, interruptible, say_interrupted
from madkit.cli.stage_process import StageProcess

def main(words):
    print(words[0], sys.argv[0], os.getpid() != parent, flush=True)
    sys.argv[0] = "changed"
    if words[0] == "fail":
        return 3
    if words[0] == "exit":
        sys.exit(2)
    if words[0] == "raise":
        raise KeyError("odd")
    try:
        with interruptible():
            time.sleep(20 if words[0] == "wait" else 0)
    except Interrupted as interruption:
        say_interrupted(interruption.signum)
        return interruption.status
    return 0

parent, statuses = os.getpid(), []
with StageProcess(main) as process:
    for word in sys.argv[1:]:
        statuses.append(process.run([word]))
print(statuses, flush=True)
sys.exit(statuses[-1])
"""


def test_stages_are_processes_and_nothing_leaks_from_one_to_the_next():
    done = subprocess.run(
        [sys.executable, "-c", CHAIN, "good", "fail", "exit", "raise", "good"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "KeyError: 'odd'" in done.stderr
    stages = ["good", "fail", "exit", "raise", "good"]
    assert done.stdout.splitlines() == [*(f"{word} -c True" for word in stages), "[0, 3, 2, 1, 0]"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_passed_on_and_its_status_comes_back(number, status):
    process = subprocess.Popen(
        [sys.executable, "-c", CHAIN, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # which tests in the background inherit as ignored
    )  # fmt: skip
    assert process.stdout.readline().startswith("wait")
    time.sleep(0.2)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=15)
    assert process.returncode == status
    assert said == "madkit: interrupted; the same command continues\n"
