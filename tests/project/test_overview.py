"""The README's figure: drawn from run folders, and the numbers that the README quotes are those in it."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pandas as pd
from fabricated import write_run
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "docs" / "overview.py"
spec = importlib.util.spec_from_file_location("docs_overview", PATH)
overview = importlib.util.module_from_spec(spec)
spec.loader.exec_module(overview)


def test_it_is_drawn_from_run_folders(tmp_path, monkeypatch):
    kinds = [
        ("conditional_studentised", "mahalanobis", "online", 1.0, True),
        ("activations", "lof", "online", 0.5, True),
    ]
    for dataset in ("addition", "nli"):
        for parent in (tmp_path / "runs" / "some-llama", tmp_path / "runs" / "some-llama" / "benign"):
            run = write_run(parent.parent, parent.name, dataset, layers=1, detectors=kinds)
            if parent.name == "benign":
                results = pd.read_parquet(run / "detection" / "results.parquet")
                results.assign(model="some-llama").to_parquet(run / "detection" / "results.parquet")
        ways = [
            {
                "feature": feature,
                "score": score,
                "aggregation": "mean",
                "method": way,
                "share": share,
                "false_alarms": rate,
            }
            for feature, score, *_ in kinds
            for way, share, rate in (("trusted", None, 0.3), ("recalibrated", 0.05, 0.02), ("recalibrated", 0.1, 0.9))
        ]
        table = pd.DataFrame(ways).assign(false_alarms_low=0.01, false_alarms_high=0.9)
        table.to_parquet(tmp_path / "runs" / "some-llama" / dataset / "detection" / "thresholds.parquet")
    out = tmp_path / "figure.png"
    monkeypatch.setattr(
        sys, "argv", ["", str(tmp_path / "runs"), "--model", "some-llama", "--dataset", "nli", "--out", str(out)]
    )
    overview.main()
    assert Image.open(out).size[0] > 1500
    found = json.loads(out.with_suffix(".json").read_text())
    results = pd.concat(
        pd.read_parquet(file) for file in (tmp_path / "runs" / "some-llama").glob("[an]*/detection/results.parquet")
    )
    rows = results[
        (results["feature"] == "conditional_studentised")
        & (results["aggregation"] == "mean")
        & (results["subset"] == "all")
    ]
    assert found["datasets"] == ["addition", "nli"]
    assert abs(found["auroc"]["some-llama"]["conditional"][0] - rows["auroc"].mean()) < 1e-4
    assert found["false alarms, recalibrated"]["some-llama"]["activations, LOF"][0] == 0.02


def test_the_readme_quotes_it():
    found = json.loads(PATH.with_suffix(".json").read_text())
    readme = " ".join((ROOT / "README.md").read_text().split())
    for what, detector in (("auroc", "conditional"), ("auroc", "activations"), ("benign", "conditional")):
        value, low, high = found[what]["tiny-llama"][detector]
        assert f"{value:.3f} [{low:.3f}, {high:.3f}]" in readme
    assert len(found["datasets"]) == 9
    assert re.search(r"!\[[^]]+\]\(docs/overview.png\)", readme)
