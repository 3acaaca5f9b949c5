"""Benign controls: read as what they are, in Table 1 beside the detectors that they control."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from fabricated import DETECTORS, draw_only, sheets_of, write_run

from madkit.errors import StoreError
from madkit.figures import draw
from madkit.figures.results.loading import load_results

BLIND = [(*detector[:3], 0.0, detector[4]) for detector in DETECTORS]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A quirky run of two datasets, and a benign control of the first, on which LOF is not at chance."""
    root = tmp_path / "runs"
    for dataset in ("addition", "nli"):
        write_run(root, "m", dataset, layers=2, n=200)
    benign(root, "addition", [("activations", "mahalanobis", "online", 0.0, True), *DETECTORS[1:2]])
    return root


def benign(root: Path, dataset: str, detectors: list) -> Path:
    run = write_run(root.parent / "elsewhere", "m", dataset, layers=2, n=200, detectors=detectors)
    place = root / "m" / "benign" / dataset
    shutil.copytree(run, place)
    return place


def test_a_control_is_no_dataset(runs: Path) -> None:
    found = load_results([runs])
    assert found.datasets == ["addition", "nli"] and found.models == ["m"]
    assert set(found.run_folders) == {("m", "addition"), ("m", "nli")}
    assert found.benign is not None and set(found.benign.run_folders) == {("m", "addition")}
    assert runs / "m" / "benign" / "addition" in found.folders_of("m")


def test_the_table_shows_it_and_the_report_warns(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_only(monkeypatch, "forest", "table1")
    draw([runs], tmp_path / "out", formats=("png",))
    table = pd.read_csv(tmp_path / "out" / "table1.csv").set_index("score")
    path = runs / "m" / "benign" / "addition" / "detection" / "results.parquet"
    source = pd.read_parquet(path).query("aggregation == 'mean' and feature == 'activations'")
    for score in ("mahalanobis", "lof"):
        for subset in ("all", "agree", "disagree"):
            row = source.query("score == @score and subset == @subset").iloc[0]
            assert table.loc[score, f"benign_auroc_{subset}"] == pytest.approx(row["auroc"])
            assert table.loc[score, f"benign_n_datasets_{subset}"] == 1
    assert table["auroc_all"].notna().all() and (table.loc[["mahalanobis", "lof"], "n_datasets_all"] == 2).all()
    text = (tmp_path / "out" / "table1.md").read_text()
    assert "not at chance: activations lof (addition)" in text and "mahalanobis (addition)" not in text
    report = (tmp_path / "out" / "report.html").read_text()
    assert "find other things than the quirk: activations lof (addition)" in report
    sources = json.loads((tmp_path / "out" / "sources.json").read_text())["files"]["table1.md"]
    assert (runs / "m" / "benign" / "addition").as_posix() in sources


def test_controls_at_chance_bring_no_warning(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "m", "addition", layers=2, n=200)
    benign(tmp_path / "runs", "addition", BLIND)
    text = sheets_of([tmp_path / "runs"], ["table1"])["table1.md"].markdown()
    assert "all at chance" in text and "not at chance" not in text


def test_a_quirky_model_is_no_benign_control(runs: Path) -> None:
    path = runs / "m" / "benign" / "addition" / "detection" / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps({**summary, "identity": {"prompts": {"quirk": "bob"}}}))
    with pytest.raises(StoreError, match=r"holds a model with quirk='bob'; tune it with `--data.quirk none`"):
        load_results([runs])


def test_a_control_that_was_only_tuned_is_left_out(runs: Path) -> None:
    shutil.rmtree(runs / "m" / "benign" / "addition" / "detection")
    found = load_results([runs])
    assert found.benign is None and found.models == ["m"] and set(found.history["dataset"]) == {"addition", "nli"}
