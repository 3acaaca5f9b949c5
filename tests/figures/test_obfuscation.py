"""Models that hide: read as what they are, and each detector beside the plain model and those that hide from others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated import write_run

from madkit.figures.drawing import style
from madkit.figures.families.obfuscation import obfuscation
from madkit.figures.results.loading import load_results

DETECTORS = [("activations", score, "online", 1.0, True) for score in ("mahalanobis", "lof")]
AUROC = {"plain": (0.95, 0.92), "mahalanobis": (0.51, 0.91), "probe": (0.7, 0.55)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and two that hide: Mahalanobis and LOF have known AUROCs on each."""
    root = tmp_path_factory.mktemp("runs")
    for variant, values in AUROC.items():
        run = write_run(root / "elsewhere", "m", "addition", layers=2, n=40, detectors=DETECTORS)
        results = pd.read_parquet(run / "detection" / "results.parquet")
        results["auroc"] = np.where(results["score"] == "mahalanobis", *values)
        results["low"], results["high"], results["tpr"] = results["auroc"] - 0.02, results["auroc"] + 0.02, 0.25
        results.to_parquet(run / "detection" / "results.parquet")
        path = run / "detection" / "summary.json"
        quirkiness = {"value": 2.5, "low": 2.0, "high": 3.0}
        path.write_text(json.dumps({**json.loads(path.read_text()), "quirkiness": quirkiness}))
        place = root / "m" if variant == "plain" else root / "m" / "obfuscated" / variant
        place.mkdir(parents=True, exist_ok=True)
        shutil.move(run, place / "addition")
    return root


def test_a_model_that_hides_is_no_run(runs: Path) -> None:
    found = load_results([runs])
    assert set(found.run_folders) == {("m", "addition")} and list(found.obfuscated) == ["mahalanobis", "probe"]
    assert runs / "m" / "obfuscated" / "probe" / "addition" in found.folders_of("m")


def test_figure_and_table(runs: Path) -> None:
    with style.applied():
        sheets = {sheet.name: sheet.body for sheet in obfuscation(load_results([runs]))}
    assert list(sheets) == ["obfuscated_m", "table_obfuscated.csv", "table_obfuscated.md"]
    (panel,) = sheets["obfuscated_m"].axes
    heads = [tick.get_text() for tick in panel.get_xticklabels()]
    assert heads == [f"{name}\n2.5 nats" for name in AUROC]
    shown = {text.get_text() for text in panel.texts}
    assert {f"{value:.3f}" for values in AUROC.values() for value in values} <= shown
    text = sheets["table_obfuscated.md"].markdown()
    assert "| activations mahalanobis | 0.950 [0.930, 0.970], 0.25 | **0.510 [0.490, 0.530], 0.25** | 0.700" in text
    assert "| *quirkiness (nats)* | 2.50 [2.00, 3.00] |" in text
    assert "below AUROC 0.6 on each: activations mahalanobis (0.51); above 0.9 on each: activations lof (0.91)." in text
    assert "below AUROC 0.6 on each: activations lof (0.55); above 0.9 on each: none." in text


def test_without_such_models_nothing_is_drawn(runs: Path) -> None:
    assert not list(obfuscation(load_results([runs / "m" / "addition"])))
