"""The page of the two studies: its tables hold our numbers from run folders and the published ones beside them."""

import importlib.util
from pathlib import Path

import pandas as pd
from fabricated import write_run

from madkit.figures.results.loading import load_results

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "docs" / "published.py"
spec = importlib.util.spec_from_file_location("docs_published", PATH)
published = importlib.util.module_from_spec(spec)
spec.loader.exec_module(published)


def test_rows_have_ours_and_the_published_number(tmp_path):
    runs = [write_run(tmp_path, "some-mistral", dataset, layers=1) for dataset in ("addition", "nli")]
    pairs = {"method": ["random direction"], "measure": ["p_misaligned"], "at": ["mean"], "accuracy": [0.75]}
    (runs[0] / "poser").mkdir()
    pd.DataFrame(pairs).assign(low=0.5, high=0.875).to_parquet(runs[0] / "poser" / "results.parquet")
    page = published.PAGE.read_text()
    text = published.filled(page, load_results([tmp_path]))
    results = pd.concat(pd.read_parquet(run / "detection" / "results.parquet") for run in runs)
    lof = results.query("score == 'lof' and adapter and aggregation == 'mean' and subset == 'all'").set_index("dataset")
    line = next(line for line in text.splitlines() if line.startswith("| activations lof |"))
    assert f" {lof['auroc'].mean():.3f} [" in line and "| 0.846 (9) | 0.756 (2) |" in line
    assert f"| nli | {lof['auroc']['nli']:.3f} (0.513) |" not in text  # Mahalanobis comes first
    assert f" | {lof['auroc']['nli']:.3f} (0.513) |" in text
    assert "| random direction | P(misaligned answer) | random activation noise: 0.98 | 0.75 [0.50, 0.88] |" in text
    # What people wrote stays.
    assert text.split("### What differs")[1].split("<!--")[0] == page.split("### What differs")[1].split("<!--")[0]
