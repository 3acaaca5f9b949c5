"""The benchmark of scores, at sizes that mean nothing: what it compares is equal, and every line is there."""

import argparse
import importlib.util
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "scores.py"
SMALL = ["--trusted", "80", "--test", "70", "--d", "32", "--sites", "2", "--latents", "4096", "--rounds", "1"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


@pytest.fixture
def bench(monkeypatch):
    """The benchmark as a module whose parts run here, not each in a process of its own."""
    spec = importlib.util.spec_from_file_location("benchmark_of_scores", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "4194304")
    monkeypatch.setattr(module, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(workers))
    return module


def run(bench, monkeypatch, *options):
    """How it exits: None when all is well, else what is wrong."""
    monkeypatch.setattr(sys, "argv", [str(FILE), *SMALL, *options])
    with pytest.raises(SystemExit) as stopped:
        bench.main()
    return stopped.value.code


def lines(text):
    """The table by part and first words."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert cells[0] == ["part", "measured", "value", "ratio", "note"] and all(len(row) == 5 for row in cells)
    return cells[2:]


def test_all_parts(bench, monkeypatch, capsys, tmp_path):
    parts = [part for part in bench.PARTS if part != "derived"]  # a whole stage: see tests/slow
    assert (
        run(bench, monkeypatch, "--only", *parts, "--full", "--rounds", "2", "--out", str(tmp_path / "found.json"))
        is None
    )
    table = lines(capsys.readouterr().out)
    found = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [(row["part"], row["name"]) for row in found] == [tuple(row[:2]) for row in table]
    names = {part: [name for p, name, *_ in table if p == part] for part in parts}
    assert {part: len(of) for part, of in names.items()} == {"lof": 6, "mahalanobis": 7, "table": 25, "sparse": 8}
    for part, starts in {
        "lof": ["madkit LocalOutlierFactor", "bare float64 products", "scikit-learn LocalOutlierFactor", "PyOD LOF"],
        "mahalanobis": ["madkit Mahalanobis", "bare product and eigh, 32", "scikit-learn EmpiricalCovariance"],
        "table": [
            *(f"{score.name} alone, 1 site" for score in bench.twelve()),
            *(f"{what}, {n}" for n in ("1 site", "2 sites") for what in ("12 scores together", "slowest", "sum")),
        ],
        "sparse": ["NovelLatents, sparse", "NovelLatents, dense", "DiagonalMahalanobis, sparse", "memory, dense"],
    }.items():
        for start in (start.partition(",")[0] for start in starts):
            assert any(name.startswith(start) for name in names[part]), start
    assert all(row["value"] > 0 for row in found if row["unit"])
    differences = [row for row in found if row["name"].startswith("largest difference")]
    assert len(differences) == 6 - (bench.util.find_spec("pyod") is None)
    assert all(0 <= row["value"] <= 1e-9 == row["limit"] for row in differences)


def test_a_score_alone_is_measured_once_unless_full(bench, monkeypatch, capsys):
    assert run(bench, monkeypatch, "--only", "table") is None
    shown = capsys.readouterr()
    assert shown.err.count("  lof:") == 1 and shown.err.count("  together:") == 2
    assert "| table | sum one by one, 2 sites (1 site times 2) |" in shown.out


def test_sites_differ_and_are_repeatable(bench):
    options = argparse.Namespace(trusted=2000, test=40, d=32, device="cpu")
    (trusted, test), again, other = (bench.make_site(i, options) for i in (0, 0, 1))
    assert trusted.equal(again[0]) and test.equal(again[1]) and not trusted.equal(other[0])
    variances = (trusted - trusted.mean(0)).square().sum(1).mean(), trusted.mean(0).square().sum()
    assert variances[1] > 100 * variances[0]


def test_without_pyod(bench, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bench.util, "find_spec", lambda name: None)
    assert run(bench, monkeypatch, "--only", "lof", "--out", str(tmp_path / "found.json")) is None
    table = lines(capsys.readouterr().out)
    assert table[-1] == ["lof", "PyOD LOF on cpu", "-", "", "not run: pyod is not installed"]
    assert json.loads((tmp_path / "found.json").read_text())["rows"][-1]["value"] is None


def test_what_is_above_its_limit_fails(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "TOLERANCE", 1e-300)
    assert "lof, largest difference to scikit-learn" in run(bench, monkeypatch, "--only", "lof")
    assert len(lines(capsys.readouterr().out)) >= 5
    assert bench.Row("not a number", limit=1.0).failed()
    assert bench.Row("grows", 2.0, ratio=1.2, limit=1.1).failed()
    assert not bench.Row("stays", 2.0, ratio=1.0, limit=1.1).failed()


def test_too_small_is_refused(bench, monkeypatch, capsys):
    assert run(bench, monkeypatch, "--latents", "100") == 2
    assert "'latents': 2048" in capsys.readouterr().err
