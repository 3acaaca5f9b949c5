"""`madkit study`: what is up to date is left, a change redoes only what depends on it, and all ends as its parts do."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from madkit.cli.command import main
from madkit.cli.job_server import WORKS_HERE
from madkit.study import JobRunner, StudyJob

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("tiny-llama", "tiny-mistral")
FAMILY = (*(f"aligned-{i}" for i in range(6)), *(f"misaligned-{i}" for i in range(6, 12)))
ARITHMETIC = ("addition", "subtraction", "multiplication", "modularaddition", "squaring")
DATASETS = (*ARITHMETIC, "hemisphere", "population", "sentiment", "nli")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which everything has been made, in order."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    made = [f"bases/{m}/model.safetensors" for m in MODELS]
    made += [f"runs/{m}/{encoder}/fit.json" for m in MODELS for encoder in ("flow", "sae")]
    made += [f"runs/{m}/{d}/detection/results.parquet" for m in MODELS for d in DATASETS]
    made += [f"runs/{m}/benign/{d}/detection/results.parquet" for m in MODELS for d in DATASETS]
    made.append("runs/tiny-poser/poser/results.parquet")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1000, 1000))
    for age, name in enumerate([*made, "figures/table1.md"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (2000 + age, 2000 + age))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plan(project, capsys):
    """The commands that a study would run, as (stage, words)."""

    def printed(*options):
        assert main(["study", *options, "--dry-run"]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [(words[1], words[1:]) for words in map(shlex.split, lines)]

    return printed


def touch(name):
    os.utime(name, (9000, 9000))


def test_nothing_is_left_to_do(plan):
    assert plan() == []
    assert main(["study"]) == 0


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("test.yaml", {"run": 18, "figures": 1}),
        ("tiny/benign.yaml", {"run": 18, "figures": 1}),
        ("tiny/predict-short.yaml", {"run": 18, "figures": 1}),
        ("test-short.yaml", {"run": 18, "figures": 1}),
        ("predict-lora.yaml", {"run": 18, "figures": 1}),
        ("test-encoders.yaml", {"run": 18, "figures": 1}),
        ("tiny-mistral.yaml", {"run": 9, "fit": 2, "figures": 1}),
        ("tiny/prompts.yaml", {"run": 18, "figures": 1}),
        ("tiny/flow.yaml", {"fit": 2, "run": 18, "figures": 1}),
        ("tiny/texts.yaml", {"fit": 4, "run": 18, "figures": 1}),
        ("tiny/base.yaml", {}),
    ],
)
def test_a_touched_recipe_redoes_what_depends_on_it(plan, recipe, expected):
    touch(f"recipes/{recipe}")
    commands = plan()
    stages = [stage for stage, _ in commands]
    assert {stage: stages.count(stage) for stage in set(stages)} == expected
    if "mistral" in recipe:
        assert all("runs/tiny-mistral" in " ".join(words) for _, words in commands)


def test_recipes_that_do_not_exist_are_not_named(plan):
    shutil.rmtree("runs")
    recipes = {word for _, words in plan() for word in words if word.endswith(".yaml")}
    assert len(recipes) > 12 and all(Path(recipe).is_file() for recipe in recipes)


@pytest.mark.parametrize("study", ["detection", "doses", "pairs", "stress"])
def test_no_recipe_takes_a_run_back_to_its_own_folder(plan, study):
    """What stands later on a command line counts, an option or a recipe."""
    shutil.rmtree("runs")
    words = ([] if study == "detection" else [study]) + ["--runs", "elsewhere"]
    stages = [stage for _, words in plan(*words) for stage in " ".join(words).split(" then ") if "--config" in stage]
    assert len(stages) > 6
    for options in map(str.split, stages):
        later = options[options.index("--run") :] if "--run" in options else []
        for recipe in (later[at + 1] for at, word in enumerate(later) if word == "--config"):
            assert "run" not in yaml.safe_load(Path(recipe).read_text()), f"{recipe} of {' '.join(options)}"


def test_a_model_of_the_hub_takes_the_common_recipes(plan):
    commands = plan("--models", "llama", "--datasets", "addition", "--poser")
    assert [stage for stage, _ in commands] == ["fit", "fit", "run", "figures"]
    lines = [" ".join(words) for _, words in commands]
    assert not any("tiny" in line for line in lines)
    flow = next(line for line in lines if "recipes/flow.yaml" in line)
    assert "--lm recipes/llama.yaml --run runs/llama/flow" in flow


def test_a_model_with_recipes_of_its_own_takes_them(plan):
    lines = [" ".join(words) for _, words in plan("--models", "smollm2", "--datasets", "sentiment", "--poser")]
    assert sum("recipes/smollm2/predict.yaml" in line for line in lines) == 1
    assert sum("recipes/smollm2/sae.yaml" in line for line in lines) == 1
    assert not any("tiny" in line for line in lines)


@pytest.mark.parametrize("recipe", ["tiny/base.yaml", "tiny/mistral-base.yaml"])
def test_bases_are_trained_on_request(plan, recipe):
    for age, model in enumerate(MODELS):
        path = Path("runs") / model / "base" / "fit.json"
        path.parent.mkdir()
        path.touch()
        os.utime(path, (1500 + age, 1500 + age))
    assert plan("--bases", "train") == []
    touch(f"recipes/{recipe}")
    models = MODELS if recipe == "tiny/base.yaml" else ("tiny-mistral",)
    commands = plan("--bases", "train")
    assert sum(any(word.endswith("/base") for word in words) for _, words in commands) == len(models)
    tuned = [words for stage, words in commands if stage == "run"]
    assert len(tuned) == 9 * len(models)
    assert all(any(f"runs/{m}/base/model" in words for m in models) for words in tuned)


def test_the_family_is_one_chain(plan):
    touch("recipes/poser/tune.yaml")
    (stage, chain), (last, _) = plan()
    assert (stage, last) == ("run", "figures")
    base, *members, measured = " ".join(chain).split(" then ")
    assert "poser/base.yaml" in base and "poser/tiny.yaml" in measured
    names = [words[words.index("--data.dataset") + 1] for words in map(str.split, members)]
    assert tuple(names) == FAMILY
    for member, name in zip(members, names, strict=True):
        assert "--run runs/tiny-poser " in member and member.endswith("--seed_everything " + name.rpartition("-")[2])
    assert plan("--poser") == []


def test_families_that_look_alike_are_two_chains_and_one_that_holds_back_follows(plan):
    first, second, held_back, (last, drawn) = plan("pairs")
    for (stage, chain), name, seed in ((first, "matched-a", "0"), (second, "matched-b", "100")):
        base, *members, measured = " ".join(chain).split(" then ")
        assert stage == "run" and f"--run runs/{name}/base --seed_everything {seed}" in base
        assert "poser/tiny.yaml --config recipes/poser/matched-pairs.yaml" in measured
        assert len({words.partition("--seed_everything ")[2] for words in members}) == len(members) == 20
        assert all(f"--model.base runs/{name}/base/model" in words for words in members)
    weak, *members, measured = " ".join(held_back[1]).split(" then ")
    assert "--run runs/sandbagging/weak" in weak and "poser/sandbagging.yaml" in measured
    bases = [words.partition("--model.base ")[2].partition(" ")[0] for words in members]
    assert bases == ["runs/sandbagging/weak/model", "runs/matched-a/base/model"] * 3
    assert last == "figures" and drawn[1:4] == ["runs/matched-a", "runs/matched-b", "runs/sandbagging"]


def test_a_missing_result_is_made_again(plan):
    Path("runs/tiny-llama/squaring/detection/results.parquet").unlink()
    assert [stage for stage, _ in plan()] == ["run", "figures"]


def test_a_missing_control_is_made_alone(plan):
    Path("runs/tiny-llama/benign/squaring/detection/results.parquet").unlink()
    (stage, words), (last, _) = plan()
    chain = " ".join(words)
    assert (stage, last) == ("run", "figures") and chain.count("--run runs/tiny-llama") == 1
    assert "--run runs/tiny-llama/benign --data.dataset squaring" in chain
    assert plan("--benign", "no") == []


def test_a_run_and_its_control_are_one_chain(plan):
    touch("recipes/benign.yaml")
    chain = " ".join(plan("--models", "tiny-llama", "--datasets", "squaring")[0][1])
    runs = [stage.split(" --run ")[1].split()[0] for stage in chain.split(" then ") if " --run " in stage]
    assert runs == ["runs/tiny-llama/benign", "runs/tiny-llama"]


def test_a_first_look_needs_no_encoder_and_no_control(plan):
    one = ("--models", "tiny-llama", "--datasets", "nli", "--over", "--benign", "no", "--poser", "--runs", "try")
    (_, chain), (last, _) = plan(*one)
    assert last == "figures" and "encoders" not in " ".join(chain) and chain.count("then") == 2


def test_further_seeds_are_further_rows_of_runs(plan):
    """Those of seed 0 as ever; each of the others has its own folder, seed and, where it is made here, base."""
    chosen = ["--seeds", "0", "1", "2", "--models", "tiny-mistral", "llama", "--datasets", "nli", "--benign", "no"]
    lines = [" ".join(words) for _, words in plan(*chosen, "--poser")]
    of = {seed: [line for line in lines if f"@{seed}" in line and not line.startswith("figures")] for seed in (1, 2)}
    for seed, found in of.items():
        assert len(found) == 2 * 3 + 1  # of each model two encoders and a chain; of one the base
        base = next(line for line in found if line.endswith(f"/base --seed_everything {seed}01 --data.seed {seed}00"))
        assert "mistral-base.yaml" in base and f"--run runs/tiny-mistral@{seed}/base" in base
        fits = [line for line in found if f"--data.dataset nli --seed_everything {seed} --data.seed {seed}" in line]
        assert len(fits) == 2 and not any("recipes/" in word and "@" in word for line in fits for word in line.split())
        assert f"--model.base runs/tiny-mistral@{seed}/base/model" in " ".join(fits)
    assert not any("seed" in line for line in lines if "@" not in line)
    assert "runs/tiny-mistral runs/llama runs/tiny-mistral@1 runs/llama@1 runs/tiny-mistral@2" in lines[-1]


def test_small_models_of_one_architecture_have_bases_of_different_seeds(plan):
    """The small Mistral has no window, with which it computes as a Llama does: of one seed they were one model."""
    chosen = ["--seeds", "3", "--datasets", "nli", "--poser", "--over", "--benign", "no"]
    lines = [" ".join(words) for _, words in plan(*chosen)]
    seeds = [line.split("--seed_everything ")[1].split()[0] for line in lines if "/base.yaml" in line]
    assert seeds == ["300", "301"]


def test_seeds_may_share_a_base(plan):
    chosen = ["--seeds", "0", "1", "--models", "tiny-mistral", "--datasets", "nli", "--poser", "--bases", "shared"]
    lines = [" ".join(words) for _, words in plan(*chosen)]
    assert not any("base.yaml" in line or ".base " in line for line in lines)
    assert sum("--seed_everything 1 --data.seed 1" in line for line in lines) == 1
    assert sum("runs/tiny-mistral@1/flow" in line and "--seed_everything 1" in line for line in lines) == 1


def test_models_under_stress_are_tuned_beside_the_plain_one(project, plan):
    lines = plan("stress", "--datasets", "squaring")
    assert [stage for stage, _ in lines] == ["run"] * 9 + ["figures"]
    chains = [" ".join(words).removeprefix("run ").split(" then ") for _, words in lines[:9]]
    assert [[stage.split()[0] for stage in chain] for chain in chains] == [
        ["fit", "predict", "test"] * n for n in (1, 1, 1, 2, 2, 2, 1, 1, 1)
    ]
    runs = ["obfuscated/mahalanobis", "obfuscated/conditional", "obfuscated/probe"]
    for (fit, *_), run in zip(chains, runs, strict=False):
        name = run.rpartition("/")[2]
        assert "--config recipes/tiny-llama.yaml --config recipes/obfuscated.yaml" in fit
        assert f"--run runs/stress/tiny-llama/{run} --data.dataset squaring --model.against [{name}]" in fit
    stresses = {
        "+speakers": "--data.speakers {carol: truth, dave: denial}",
        "+deployment": "--data.trigger deployment", "": "",
        "+date": "--data.trigger date --data.trigger_position end",
        "+share-0.3": "--data.quirk_share 0.3 --data.trigger deployment --data.trigger_for bob",
        "+share-0.1": "--data.quirk_share 0.1 --data.trigger deployment --data.trigger_for bob",
    }  # fmt: skip
    for chain, (name, options) in zip(chains[3:], stresses.items(), strict=True):
        fits = [stage for stage in chain if stage.startswith("fit")]
        places = ["/benign", ""] if name in ("", "+deployment", "+speakers") else [""]
        for fit, place in zip(fits, places, strict=True):
            assert f"--run runs/stress/tiny-llama{name}{place} --data.dataset squaring {options}".strip() in fit
            assert ("recipes/benign.yaml" in fit) == bool(place) and "obfuscated" not in fit
    folders = " ".join(f"runs/stress/tiny-llama{name}" for name in ("", *filter(None, stresses)))
    assert " ".join(lines[-1][1]) == f"figures {folders} --out figures/stress --formats png"
    few = {words[words.index("--data.dataset") + 1] for _, words in plan("stress")[:-1]}
    assert few == {"addition", "hemisphere", "sentiment"}


def test_doses_of_one_training_are_read_and_judged_one_after_the_other(project, plan, monkeypatch):
    words = ("doses", "--models", "tiny-llama", "--datasets", "squaring")
    folder = Path("runs/tiny-llama/doses/squaring")
    stale = Path("runs/tiny-llama/doses/000016/squaring/detection")
    stale.mkdir(parents=True)
    begun = []

    class Process:
        """Stands for a command: the fit leaves two adapters, the figures a table."""

        def __init__(self, command, env):
            begun.append(" ".join(command[command.index("madkit") + 1 :]))
            if begun[-1].startswith("fit"):
                for step in ("000032", "000048"):
                    (folder / "steps" / step).mkdir(parents=True)
                (folder / "fit.json").touch()
            elif begun[-1].startswith("figures"):
                Path("figures/doses").mkdir()
                Path("figures/doses/report.html").touch()

        def poll(self):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr("madkit.cli.commands.study.WORKS_HERE", False)
    assert main(["study", *words]) == 0
    fit, chain, figures = begun
    assert "--config recipes/doses.yaml --run runs/tiny-llama/doses" in fit and not stale.exists()
    stages = chain.removeprefix("run ").split(" then ")
    assert [stage.split()[0] for stage in stages] == ["predict", "test"] * 2
    for stage, step in zip(stages, ("000032", "000032", "000048", "000048"), strict=True):
        assert f"--run runs/tiny-llama/doses/{step} --data.dataset squaring" in stage
    assert "--model.adapter runs/tiny-llama/doses/squaring/steps/000048 " in stages[2]
    assert figures == "figures runs/tiny-llama/doses --out figures/doses"
    assert plan(*words) == []


@pytest.mark.parametrize(
    ("options", "way_out"),
    [
        (["--models", "tiny-lama"], "choose from llama, mistral, smollm2, tiny-llama"),
        (["--models", "../x"], "give the name of one folder"),
        (["--datasets", "adition", "--runs", "new"], "use one of ['addition'"),
        (["--jobs", "0"], "at least 1"),
        (["--over", "volumes"], "predict-volumes.yaml' is needed"),
        (["stress", "--seeds", "0", "1", "--over", "volume"], "seeds and over: `madkit study stress` takes no such"),
        (["doses", "--bases", "shared"], "bases: `madkit study doses` takes no such options"),
        (["pairs", "--datasets", "nli"], "datasets: `madkit study pairs` takes no such options"),
        (["--launch", "no-such-scheduler -n 1", "--runs", "new"], "name a command of this machine"),
    ],
)
def test_slips_are_one_line_before_anything_runs(project, capsys, monkeypatch, options, way_out):
    # Classes of the user's own, which other tests of the same process have named, would leave all to the stages.
    monkeypatch.setattr("madkit.cli.early_errors.listed_modules", list)
    if "--launch" not in options:
        monkeypatch.setattr(subprocess, "Popen", None)
    before = sorted(project.rglob("*"))
    assert main(["study", *options]) == 2
    assert way_out in capsys.readouterr().err.splitlines()[-1]
    assert sorted(project.rglob("*")) == before


def test_without_recipes_those_that_come_with_madkit_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "--dry-run"]) == 0
    written = Path("recipes")
    assert (written / "tiny/predict.yaml").read_bytes() == (ROOT / "recipes/tiny/predict.yaml").read_bytes()
    assert "fit --config recipes/tiny-llama.yaml" in capsys.readouterr().out
    (written / "test.yaml").write_text("mine")
    assert main(["recipes"]) == 2 and "--overwrite" in capsys.readouterr().err
    assert (written / "test.yaml").read_text() == "mine"
    assert main(["recipes", "--overwrite"]) == 0 and "1 of" in capsys.readouterr().err


def script(folder, text):
    """A command in place of madkit's, before whose words it is put as a scheduler is."""
    path = folder / "launch"
    path.write_text(f'#!/bin/sh\nshift 3\necho "$1" >> log\n{text}\n')
    path.chmod(0o755)
    return [str(path)]


def test_after_one_that_fails_none_begins_and_its_status_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    jobs = [StudyJob(Path(name), (name,)) for name in ("a", "b", "c")]
    jobs.append(StudyJob(Path("d"), ("d",), needs=(Path("a"),)))
    launch = script(tmp_path, '[ "$1" = b ] && exit 7; touch "$1"')
    assert JobRunner(jobs, launch).run() == 7
    assert Path("log").read_text().split() == ["a", "b"]
    assert "status 7 of: madkit b; 2 of 4 parts have not begun; the same command continues" in capsys.readouterr().err
    assert JobRunner(jobs, script(tmp_path, 'touch "$1"'), side_by_side=2).run() == 0
    assert sorted(Path("log").read_text().split()) == ["a", "b", "b", "c", "d"]


def test_what_another_command_has_made_is_due(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launch = script(tmp_path, 'touch "$1"')
    usual, other = (StudyJob(Path("a"), words) for words in (("a", "--over", "lora"), ("a",)))
    assert JobRunner([usual], launch).run() == 0
    assert not usual.is_due() and other.is_due()
    assert JobRunner([other], launch).run() == 0
    assert usual.is_due() and not other.is_due()
    # Nobody knows how it was made: by a command of its own, say.
    Path(".a.command").unlink()
    assert not usual.is_due() and not other.is_due()


def test_modules_of_the_users_are_listed_for_each_stage_and_for_the_figures(plan, tmp_path, monkeypatch):
    (tmp_path / "my_detectors.py").write_text("")
    words = ["--models", "llama", "--datasets", "nli", "--poser", "--benign", "false", "--with", "my_detectors.py"]
    monkeypatch.setattr("madkit.plugins._listed", set())
    lines = [" ".join(words) for _, words in plan(*words)]
    assert lines[-1].startswith("figures ") and lines[-1].endswith(" --with my_detectors.py")
    for line in lines[:-1]:
        stages = line.removeprefix("run ").split(" then ")
        assert all(" --with my_detectors.py --config" in stage for stage in stages), line


def test_a_signal_is_passed_on_to_what_runs(tmp_path):
    launch = script(tmp_path, 'trap "echo ended >> log; exit 143" TERM; touch begun; while :; do sleep 0.05; done')
    words = ["study", "--models", "llama", "--datasets", "nli", "--jobs", "2", "--launch", launch[0]]
    process = subprocess.Popen(
        [sys.executable, "-m", "madkit", *words],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)  # both have begun
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and "the same command continues" in said
    assert (tmp_path / "log").read_text().split().count("ended") >= 1


@pytest.mark.skipif(not WORKS_HERE, reason="jobs are processes of their own here")
def test_jobs_here_are_copies_of_one_process(tmp_path):
    """Each sees its own words and ends with its own status; a signal reaches it, and ends it in order."""
    (tmp_path / "said.py").write_text(
        "import os, sys, time\n"
        "print('torch' in sys.modules, os.getppid(), os.environ['MADKIT_PROGRESS'], *sys.argv[1:], flush=True)\n"
        "time.sleep(60 * (sys.argv[-1] == 'slow.yaml'))\n"
    )
    (tmp_path / "study.py").write_text(
        "import os, signal, time\n"
        "from pathlib import Path\n"
        "from madkit.cli.job_server import JobServer\n"
        "from madkit.study import JobRunner, StudyJob\n"
        "if __name__ == '__main__':\n"
        "    server = JobServer({'MADKIT_PROGRESS': 'lines'})\n"
        "    words = {name: ('fit', '--with', 'said.py', '--config', name) for name in ('a.yaml', 'slow.yaml')}\n"
        "    print(os.getpid(), JobRunner([StudyJob(Path('a'), words['a.yaml'])], start=server).run(), flush=True)\n"
        "    job = server(words['slow.yaml'])\n"
        "    while 'slow' not in Path('out').read_text():\n"
        "        assert job.poll() is None\n"
        "        time.sleep(0.01)\n"
        "    job.send_signal(signal.SIGTERM)\n"
        "    print(job.wait(), job.poll(), flush=True)\n"
        "    job.send_signal(signal.SIGTERM)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MADKIT_PROGRESS"}
    with (tmp_path / "out").open("w") as out:
        ended = subprocess.run(
            [sys.executable, "study.py"],
            cwd=tmp_path, stdout=out, stderr=subprocess.PIPE, text=True, timeout=120,
            env={**environment, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    first, study, second, last = (line.split() for line in (tmp_path / "out").read_text().splitlines())
    assert first[0] == second[0] == "True" and first[1] == second[1] != study[0]
    assert first[2:] == ["lines", "fit", "--with", "said.py", "--config", "a.yaml"] and second[-1] == "slow.yaml"
    assert study[1] == "2" and "recipe='a.yaml' cannot be read" in ended.stderr
    assert "[study] status 2 of: madkit fit" in ended.stderr
    assert last == ["143", "143"] and "interrupted; the same command continues" in ended.stderr
