"""A copy of the project whose recipes take seconds, and the commands for Slurm that docs/clusters.md shows."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
#: Steps of each training: enough for it to be interrupted.
STEPS = 60
FEW = {"max_train": 2048, "max_validation": 64, "max_test": 200} | {
    f"max_{split}": 120 for split in ("trusted", "untrusted", "calibration")
}


def make_project(folder):
    """Copy the working tree, but for tests and what git ignores; `.venv/bin/madkit` there runs the copy."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for path in (folder / "recipes").rglob("*.yaml"):
        path.write_text(yaml.safe_dump(_shortened(yaml.safe_load(path.read_text()))))
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name, words in {"madkit": "-m madkit", "python": ""}.items():
        script = folder / ".venv" / "bin" / name
        script.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} {words} "$@"\n')
        script.chmod(0o755)
    (folder / ".venv" / ".ready").touch()
    return folder


def _shortened(recipe):
    trainer, model = recipe.get("trainer", {}), recipe.get("model", {})
    if "val_check_interval" in trainer:
        trainer |= {"max_epochs": -1, "max_steps": STEPS, "val_check_interval": 10, "check_val_every_n_epoch": None}
        for callback in trainer.get("callbacks", ()):
            if "every_n_train_steps" in callback["init_args"]:
                callback["init_args"]["every_n_train_steps"] = 10
    data = recipe if "class_path" in recipe else recipe.get("data", {})
    if isinstance(data, dict) and data.get("class_path") == "QuirkyData":
        data["init_args"] |= FEW
    if isinstance(data, dict) and data.get("class_path") == "CorpusData":
        data["init_args"] |= {"steps_per_epoch": STEPS, "errors_from": 0, "n_validation": 16}
        data["init_args"]["batch_size"] = min(32, data["init_args"]["batch_size"])
    if isinstance(model, dict) and "warmup" in model.get("init_args", {}):
        model["init_args"]["warmup"] = 0.1
    optimizer = model.get("init_args", {}).get("optimizer", {}) if isinstance(model, dict) else {}
    if "lr" in optimizer.get("init_args", {}):
        # Larger steps carry the last digits, in which two tasks differ from one, into the first ones.
        optimizer["init_args"]["lr"] = min(1e-3, optimizer["init_args"]["lr"])
    return recipe


def commands():
    """The commands of the blocks of docs/clusters.md that name Slurm's programs, as words."""
    found = []
    for block in re.findall(
        r"^```sh\n(.*?)^```", (ROOT / "docs" / "clusters.md").read_text(), re.DOTALL | re.MULTILINE
    ):
        for line in block.replace("\\\n", " ").splitlines():
            if re.search(r"\b(sbatch|srun)\b", line):
                found.append(shlex.split(line, comments=True))
    return found


def environment(project, cluster):
    """That of a shell in the project, with its environment activated and a cluster at hand."""
    settings = {"POSER": "", "BENIGN": "", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    path = f"{project}/.venv/bin{os.pathsep}{cluster.environment['PATH']}"
    return {**cluster.environment, **settings, "PATH": path}
