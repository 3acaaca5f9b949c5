"""The pipeline's targets: what is up to date is skipped, and a change redoes only what depends on it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("tiny-llama", "tiny-mistral")
FAMILY = ("base", *(f"aligned-{i}" for i in range(6)), *(f"misaligned-{i}" for i in range(6, 12)))
ARITHMETIC = ("addition", "subtraction", "multiplication", "modularaddition", "squaring")
DATASETS = (*ARITHMETIC, "hemisphere", "population", "sentiment", "nli")


@pytest.fixture
def project(tmp_path):
    """A copy of the pipeline in which everything has been made, in order."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1000, 1000))
    made = [".venv/.ready", *(f"runs/{m}/base/fit.json" for m in MODELS)]
    made += [f"runs/{m}/{encoder}/fit.json" for m in MODELS for encoder in ("flow", "sae")]
    for stage in ("fit.json", "predict.json", "detection/results.parquet"):
        made += [f"runs/{m}/{d}/{stage}" for m in MODELS for d in DATASETS]
    made += [f"runs/tiny-poser/{m}/fit.json" for m in FAMILY]
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
    lines = [line.split() for line in done.stdout.splitlines() if "bin/madkit" in line]
    return [(words[words.index(next(w for w in words if w.endswith("bin/madkit"))) + 1], words) for words in lines]


def touch(project, name):
    os.utime(project / name, (9000, 9000))


def test_nothing_is_left_to_do(project):
    assert plan(project) == []


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("recipes/tiny-llama/detect.yaml", {"test": 9, "figures": 1}),
        ("recipes/tiny-llama/detect-heads.yaml", {"test": 9, "figures": 1}),
        ("recipes/tiny-llama/features-heads.yaml", {"predict": 9, "test": 9, "figures": 1}),
        ("recipes/tiny-llama/features.yaml", {"predict": 9, "test": 9, "figures": 1}),
        ("recipes/tiny-mistral.yaml", {"fit": 9, "predict": 9, "test": 9, "figures": 1}),
        ("recipes/tiny-mistral/data.yaml", {"fit": 9, "predict": 9, "test": 9, "figures": 1}),
        ("recipes/tiny-mistral/flow.yaml", {"fit": 1, "predict": 9, "test": 9, "figures": 1}),
        ("recipes/tiny-mistral/texts.yaml", {"fit": 2, "predict": 9, "test": 9, "figures": 1}),
        ("recipes/tiny-mistral/base.yaml", {"fit": 12, "predict": 9, "test": 9, "figures": 1}),
    ],
)
def test_a_touched_recipe_redoes_what_depends_on_it(project, recipe, expected):
    touch(project, recipe)
    commands = plan(project)
    stages = [stage for stage, _ in commands]
    assert {stage: stages.count(stage) for stage in set(stages)} == expected
    model = Path(recipe).parts[1].removesuffix(".yaml")
    assert all(model in " ".join(words) for _, words in commands)


@pytest.mark.parametrize(
    ("recipe", "expected"), [("base", ["fit"] * 13 + ["test", "figures"]), ("tiny", ["test", "figures"])]
)
def test_the_family_is_made_again_where_its_recipes_change(project, recipe, expected):
    touch(project, f"recipes/poser/{recipe}.yaml")
    commands = plan(project)
    assert [stage for stage, _ in commands] == expected
    for _, words in commands[1:-2]:
        name = words[words.index("--data.dataset") + 1]
        assert name.endswith("-" + words[words.index("--seed_everything") + 1])
    assert plan(project, "POSER=") == []


def test_a_missing_result_is_made_again(project):
    (project / "runs/tiny-llama/squaring/detection/results.parquet").unlink()
    assert [stage for stage, _ in plan(project)] == ["test", "figures"]


def test_launch_goes_before_every_stage(project):
    touch(project, "recipes/tiny-llama/detect.yaml")
    for stage, words in plan(project, "LAUNCH=srun -c 4"):
        assert words[:3] == ["srun", "-c", "4"] or stage == "figures"


def test_models_and_datasets_can_be_chosen(project):
    touch(project, "recipes/tiny-llama/detect.yaml")
    commands = plan(project, "MODELS=tiny-llama", "DATASETS=addition squaring")
    assert [stage for stage, _ in commands] == ["test", "test", "figures"]
