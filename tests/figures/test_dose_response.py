"""Doses of one training: read as what they are, drawn against quirkiness, and where a level is reached."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated import write_run

from madkit.figures.drawing import style
from madkit.figures.families.dose_response import dose_response
from madkit.figures.results.loading import load_results

STEPS = (32, 48, 72)
QUIRKINESS = (-0.5, 1.0, 3.0)
DETECTORS = [("activations", "mahalanobis", "online", 1.0, True), ("activations", "lof", "online", 0.0, True)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and three doses of its training; Mahalanobis sees the quirk at the last one, and LOF never."""
    root = tmp_path_factory.mktemp("runs")
    write_run(root, "m", "addition", layers=2, n=40)
    for index, (step, value) in enumerate(zip(STEPS, QUIRKINESS, strict=True)):
        run = write_run(root / "elsewhere", "m", "addition", layers=2, n=200, detectors=DETECTORS)
        results = pd.read_parquet(run / "detection" / "results.parquet")
        sees = results["score"] == "mahalanobis"
        for name in ("auroc", "tpr"):
            results[name] = np.where(sees, (0.5, 0.8, 1.0)[index], 0.5 if name == "auroc" else 0.01)
        for prefix, name in (("", "auroc"), ("tpr_", "tpr")):
            results[f"{prefix}low"], results[f"{prefix}high"] = results[name] - 0.02, results[name] + 0.02
        results.to_parquet(run / "detection" / "results.parquet")
        path = run / "detection" / "summary.json"
        quirkiness = {"value": value, "low": value - 0.1, "high": value + 0.1}
        path.write_text(json.dumps({**json.loads(path.read_text()), "quirkiness": quirkiness}))
        place = root / "m" / "doses" / f"{step:06d}"
        place.mkdir(parents=True)
        shutil.move(run, place / "addition")
    return root


def test_a_dose_is_no_run(runs: Path) -> None:
    found = load_results([runs])
    assert set(found.run_folders) == {("m", "addition")} and list(found.doses) == list(STEPS)
    assert found.doses[48].quirkiness["value"].tolist() == [1.0]
    assert runs / "m" / "doses" / "000048" / "addition" in found.folders_of("m")


def test_figure_and_table(runs: Path) -> None:
    with style.applied():
        sheets = {sheet.name: sheet.body for sheet in dose_response(load_results([runs / "m" / "doses"]))}
    assert list(sheets) == ["dose_response_m", "table_doses.csv", "table_doses.md"]
    panels = sheets["dose_response_m"].axes
    assert len(panels) == 2 and panels[0].get_title() == "addition\n3 doses, n = 100 + 100"
    drawn = {tuple(line.get_ydata()) for line in panels[0].lines if len(line.get_ydata()) == 3}
    assert drawn == {(0.5, 0.8, 1.0), (0.5, 0.5, 0.5)}
    assert all(tuple(line.get_xdata()) == QUIRKINESS for line in panels[1].lines if line.get_marker() == "o")
    text = sheets["table_doses.md"].markdown()
    lines = [line for line in text.splitlines() if line.startswith("| activations")]
    assert lines[0].startswith("| activations mahalanobis | 2.00 [1.") and lines[1] == "| activations lof | never |"
    assert "| activations mahalanobis | from the first" in lines[2] and lines[3] == "| activations lof | never |"
    assert "steps 32 to 72, quirkiness -0.50 to 3.00 nats, n = 100 normal and 100 anomalous" in text


def test_without_doses_nothing_is_drawn(runs: Path) -> None:
    assert not list(dose_response(load_results([runs / "m" / "addition"])))
