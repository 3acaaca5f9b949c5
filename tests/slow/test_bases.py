"""The base models that come with the project are those that their recipes make."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

BASES = Path(__file__).resolve().parents[2] / "bases"


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-mistral"])
def test_the_files_are_those_that_the_provenance_names(name):
    digests = json.loads((BASES / name / "provenance.json").read_text())["sha256"]
    assert "model.safetensors" in digests
    for file, digest in digests.items():
        assert hashlib.sha256((BASES / name / file).read_bytes()).hexdigest() == digest, file
    assert sum(path.stat().st_size for path in BASES.glob("*/model.safetensors")) < 3.2e6


def test_the_recipe_begins_as_the_training_did(tmp_path):
    """The first 800 of 4,300 steps, with the learning rates that they have in the whole training."""
    options = ["--trainer.max_steps", "800", "--model.warmup", str(0.0125 * 4300 / 800), "--model.decay", "0"]
    command = [sys.executable, "-m", "madkit", "fit", "--config", "recipes/tiny/base.yaml", "--run", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count()), "MADKIT_PROGRESS": "lines"}
    subprocess.run([*command, *options], check=True, cwd=BASES.parent, env=environment)
    again = accuracies(tmp_path / "history.parquet")
    stored = accuracies(BASES / "tiny-llama" / "history.parquet")
    assert {400, 800} <= set(again.index)
    # On another processor, or with another number of threads, training takes another course to the same end.
    assert ((again - stored)[[400, 800]].abs() < 0.05).all(), (again, stored)


def accuracies(path):
    history = pd.read_parquet(path)
    return history[history["metric"] == "val/accuracy"].drop_duplicates("step").set_index("step")["value"]
