"""CPU time until a stage begins to work, and until a mistake is said, against importing torch and Lightning.

    python benchmarks/startup.py [--repeat 3] [--out benchmarks/startup.md]

CPU seconds of the process (user and system), the least of some tries, because the clock also counts what else runs.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: A stage that ends where its work would begin: classes are made, nothing is run.
BEGIN = """
import sys
from madkit.cli.command import main
from lightning.pytorch.cli import LightningCLI
LightningCLI._run_subcommand = lambda self, subcommand: None
from madkit.cli.stages import Stages
Stages._run_subcommand = LightningCLI._run_subcommand
Stages.instantiate_classes = lambda self: None
sys.exit(main(sys.argv[1:]))
"""
FIT = ["--config", "recipes/llama.yaml", "--run", "nowhere"]
CASES = {
    "`import torch`": ["-c", "import torch"],
    "`import lightning.pytorch`": ["-c", "import lightning.pytorch"],
    "`madkit --help`": ["-m", "madkit", "--help"],
    "`madkit fit --help`": ["-m", "madkit", "fit", "--help"],
    "an option that does not exist": ["-m", "madkit", "fit", *FIT, "--foo", "3"],
    "a recipe that does not exist": ["-m", "madkit", "fit", "--config", "nowhere.yaml"],
    "a class that is misspelt": ["-m", "madkit", "fit", *FIT, "--model", "QuirkLM"],
    "no run folder": ["-m", "madkit", "test", "--config", "recipes/test.yaml"],
    "a number that is none, of a class": ["-m", "madkit", "fit", *FIT, "--data.batch_size", "few"],
    "`fit`, parsed": ["-c", BEGIN, "fit", *FIT],
    "`predict`, parsed": [
        "-c",
        BEGIN,
        "predict",
        "--config",
        "recipes/predict.yaml",
        "--lm",
        "recipes/llama.yaml",
        *FIT[2:],
    ],
    "`test`, parsed": ["-c", BEGIN, "test", "--config", "recipes/test.yaml", *FIT[2:]],
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


def rows(repeat: int) -> Iterator[str]:
    """The times, and their ratios to the two imports, as lines of Markdown."""
    yield "| | CPU s | x torch | x Lightning |"
    yield "|---|---|---|---|"
    torch, lightning = (cpu_seconds(words, repeat) for words in list(CASES.values())[:2])
    for name, words in CASES.items():
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
