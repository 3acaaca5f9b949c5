"""CPU time until a stage begins to work, and until a mistake is said, against importing torch and Lightning.

    python benchmarks/startup.py [--repeat 3] [--out rows.md]

CPU seconds of the process (user and system), the least of some tries, because the clock also counts what else runs. A
stage begins to work where its first batch goes to the model, or the first rows to a detector: what comes before it,
reading the recipe, the prompts and the small model's weights too, is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: A stage that ends where its work would begin.
BEGIN = """
import os, sys
from madkit.cli.command import main
from madkit.cli.deferred import defer

defer()
from lightning.pytorch.loops import evaluation_loop, prediction_loop, training_epoch_loop

def end(*args, **kwargs):
    os._exit(0)

training_epoch_loop._TrainingEpochLoop.advance = end
evaluation_loop._EvaluationLoop._evaluation_step = end
prediction_loop._PredictionLoop._predict_step = end
sys.exit(main(sys.argv[1:]))
"""
FIT = ["--config", "recipes/tiny-llama.yaml", "--data.dataset", "hemisphere", "--trainer.num_sanity_val_steps", "0"]
PREDICT = ["--config", "recipes/predict.yaml", "--config", "recipes/tiny/predict.yaml", "--data.dataset", "hemisphere"]
TEST = ["--config", "recipes/test.yaml", "--data.dataset", "hemisphere"]
#: So that the run which is predicted and tested is soon there.
SHORT = ["--trainer.max_steps", "1", "--trainer.val_check_interval", "1", "--trainer.limit_val_batches", "1"]
CALLBACK = json.dumps(
    {"trainer": {"callbacks": [{"class_path": "EarlyStopping", "init_args": {"monitr": "val/loss"}}]}}
)
IMPORTS = {"`import torch`": ["-c", "import torch"], "`import lightning.pytorch`": ["-c", "import lightning.pytorch"]}


def cases(run: str) -> dict[str, list[str]]:
    """By name, the words of each Python process.

    Args:
        run: the folder of a fitted run with features.
    """
    madkit = ["-m", "madkit"]
    at = ["--run", run]
    fitted = Path(run, "hemisphere")
    elsewhere = ["--run", f"{run}/other", "--lm", f"{fitted}/fit.yaml", "--model.adapter", f"{fitted}/adapter"]
    return {
        **IMPORTS,
        "`madkit --help`": [*madkit, "--help"],
        "`madkit fit --help`": [*madkit, "fit", "--help"],
        "an option that does not exist": [*madkit, "fit", *FIT, *at, "--foo", "3"],
        "a recipe that does not exist": [*madkit, "fit", "--config", "nowhere.yaml"],
        "a class that is misspelt": [*madkit, "fit", *FIT, *at, "--model", "QuirkLM"],
        "no run folder": [*madkit, "test", *TEST],
        "a word for a number, of a class": [*madkit, "fit", *FIT, *at, "--data.batch_size", "few"],
        "an option of a callback that does not exist": [*madkit, "fit", *FIT, *at, "--config", CALLBACK],
        "a feature that is misspelt": [*madkit, "predict", *PREDICT, *at, "--model.features+=Activatons"],
        "`fit`, until it begins to work": ["-c", BEGIN, "fit", *FIT, "--run", f"{run}/new"],
        "`predict`, until it begins to work": ["-c", BEGIN, "predict", *PREDICT, *elsewhere],
        "`test`, until it begins to work": ["-c", BEGIN, "test", *TEST, *at],
        "`figures` of nothing": [*madkit, "figures", "benchmarks", "--out", f"{run}/figures"],
    }


def cpu_seconds(words: list[str], repeat: int) -> float:
    """The least CPU time of a Python process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    seconds = []
    for _ in range(repeat):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], cwd=ROOT, env=env, capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)


def make_run(folder: str) -> None:
    """Fit, and read features of few prompts."""
    few = [f"--data.max_{name}=60" for name in ("trusted", "untrusted", "test")]
    words = ["fit", *FIT, *SHORT, *few, "--run", folder, "then", "predict", *PREDICT]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "madkit", "run", *words], cwd=ROOT, env=env, capture_output=True, check=True)


def rows(repeat: int) -> Iterator[str]:
    """The times, and their ratios to the two imports, as lines of Markdown."""
    yield "| | CPU s | x torch | x Lightning |"
    yield "|---|---|---|---|"
    torch, lightning = (cpu_seconds(words, repeat) for words in IMPORTS.values())
    with tempfile.TemporaryDirectory() as folder:
        make_run(folder)
        for name, words in cases(folder).items():
            s = cpu_seconds(words, repeat)
            yield f"| {name} | {s:.2f} | {s / torch:.2f} | {s / lightning:.2f} |"


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = []
    for line in rows(arguments.repeat):
        print(line, flush=True)
        lines.append(line)
    if arguments.out is not None:
        arguments.out.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
