"""The benchmarks as they are called, each part of which is a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they read /proc")


def called(name, folder, *options):
    line = [sys.executable, str(FOLDER / f"{name}.py"), *options]
    return subprocess.run(line, capture_output=True, text=True, check=True, cwd=folder)


def test_scores(tmp_path):
    small = ["--trusted", "80", "--test", "70", "--d", "32", "--sites", "2", "--latents", "4096"]
    done = called("scores", tmp_path, *small, "--only", "sparse")
    assert sum(line.startswith("| sparse |") for line in done.stdout.splitlines()) == 8
    assert "NovelLatents, dense: " in done.stderr


def test_detectors_that_use_the_base_model(tmp_path):
    done = called("scores", tmp_path, "--only", "derived", "--trusted", "100", "--d", "32", "--rounds", "1")
    lines = [line for line in done.stdout.splitlines() if line.startswith("| derived |")]
    assert [" 11 detectors" in lines[0], " 17 detectors" in lines[1], len(lines)] == [True, True, 4]
    assert "goal at most 1.3" in lines[1]


def test_extraction(tmp_path):
    small = ["--size", "cpu", "--batch", "1", "--length", "4"]
    done = called("extraction", tmp_path, *small, "--side", "hooks", "--out", str(tmp_path / "x"))
    assert json.loads(done.stdout) >= 0
    assert load_file(tmp_path / "x")["model.layers.7"].shape == (1, 512)


def test_gpu_sections_at_small_sizes(tmp_path):
    """All of them but the run of a language model through all stages, which recipes' tests make."""
    sections = ["tuning", "extraction", "sae", "volume", "scores", "cuda"]
    line = [sys.executable, str(FOLDER / "gpu"), "--reduced", "--runs", str(tmp_path), "--only", *sections]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=FOLDER.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    known = json.loads((tmp_path / "reduced.json").read_text())["sections"]
    assert {part["state"] for parts in known.values() for part in parts.values()} == {"done"}
    assert known["cuda"]["tests"]["facts"]["passed"] > 50
    again = subprocess.run(line, capture_output=True, text=True, check=True, cwd=FOLDER.parent)
    assert again.stdout.count("done before") == sum(len(parts) for parts in known.values())
