"""The wheel in an empty environment, in an empty folder: what a user has after `pip install`, without a checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*words, folder, **further):
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder, env=environment | further, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip


def test_one_dataset_from_the_wheel_to_its_figures(tmp_path):
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    built = run(sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT, folder=tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("madkit_lm-*.whl")
    assert run(sys.executable, "-m", "venv", tmp_path / "venv", folder=tmp_path).returncode == 0
    python, madkit = (tmp_path / "venv" / "bin" / name for name in ("python", "madkit"))
    pinned = ("--constraint", ROOT / "constraints.txt", wheel)
    installed = run(python, *pip, "install", *pinned, folder=tmp_path)
    if installed.returncode and "connection" in installed.stderr.lower():
        pytest.skip("no package index")
    assert installed.returncode == 0, installed.stderr
    work = tmp_path / "work"
    work.mkdir()
    assert run(madkit, "recipes", "--out", "mine", folder=work).returncode == 0
    assert (work / "mine" / "tiny" / "predict.yaml").read_bytes() == (ROOT / "recipes/tiny/predict.yaml").read_bytes()
    one = ("--models", "tiny-llama", "--datasets", "hemisphere", "--over", "--benign", "no", "--poser")
    studied = run(madkit, "study", *one, folder=work)
    assert studied.returncode == 0, studied.stderr[-2000:]
    assert {"recipes", "runs", "figures"} <= {path.name for path in work.iterdir()}
    assert (work / "figures" / "report.html").stat().st_size > 10_000
    again = run(madkit, "study", *one, "--dry-run", folder=work)
    assert again.returncode == 0 and not again.stdout
