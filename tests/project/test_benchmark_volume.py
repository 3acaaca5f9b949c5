"""The benchmark of local volumes, at a size that means nothing: its sides find the same, and every line is there."""

import argparse
import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "volume.py"
OPTIONS = {"size": "small", "prompts": 24, "sample": 2, "batch": 24, "length": 6, "tolerance": 1e-2, "rounds": 1}


@pytest.fixture
def bench(monkeypatch):
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(FILE.parent))
    spec = importlib.util.spec_from_file_location("benchmark_of_volumes", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_sides_find_radii_and_madkit_needs_fewer_settings(bench, capsys):
    bench.compare(argparse.Namespace(**OPTIONS))
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("small, 24 prompts of 6 tokens")
    assert [line.split()[0] for line in lines] == ["madkit", "search", "bisection"]
    assert all("settings of the weights" in line and " x" in line for line in lines)


def test_radii_that_are_off_fail(bench, monkeypatch):
    monkeypatch.setattr(
        bench, "bisection", lambda change, tolerance, limit: 2 * bench.line_search(change, tolerance, limit)
    )
    with pytest.raises(SystemExit, match="radii are off"):
        bench.compare(argparse.Namespace(**OPTIONS))
