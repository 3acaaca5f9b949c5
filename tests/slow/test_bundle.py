"""A real bundle: wheels that pip downloads, unpacked and run where there is no index."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIT = "madkit fit --config recipes/tiny-llama.yaml --model.base base/tiny-llama --data.dataset addition"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """madkit and what it requires, but for torch, which is large and which the test's own Python has."""
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    words = ["--recipes", "recipes", "--base", "bases/tiny-llama", "--without", "torch"]
    command = [sys.executable, "-m", "madkit", "bundle", "--out", str(out), *words]
    result = subprocess.run(
        [*command, "--command", f"{FIT} --trainer.max_steps 2 --trainer.val_check_interval 2 --run runs/x"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if "check the names and the network" in result.stderr:
        pytest.skip("there is no package index here")
    assert result.returncode == 0, result.stderr
    return out


def test_a_bundle_without_torch_fits_a_quirky_model_without_an_index(made, tmp_path):
    assert max(path.stat().st_size for path in made.glob("part-*")) == 48_000_000
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_NO_INDEX": "1", "OMP_NUM_THREADS": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }  # fmt: skip
    line = ["sh", str(made / "unpack-and-run.sh"), "--python", sys.executable, "--target"]
    result = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "unpacked" / "runs" / "x" / "addition" / "adapter" / "adapter_model.safetensors").is_file()
    assert not list((tmp_path / "unpacked" / "site-packages").glob("torch-*")), "torch was to be left out"
    said = subprocess.run(
        [*line, "--", "sh", "-c", "$0 -c 'import madkit; print(madkit.__file__)'", sys.executable],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.startswith(str(tmp_path / "unpacked" / "site-packages"))
