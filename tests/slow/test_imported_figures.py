"""A run that was imported, without labels of answers, is drawn and reported like any other."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from madkit.cli.command import main
from madkit.figures.packing import unpacked
from madkit.store.imported import import_vectors


def test_figures_are_drawn_of_activations_made_elsewhere(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"split": np.repeat(["trusted", "calibration", "test"], [80, 30, 60])})
    rows["anomalous"] = (rows["split"] == "test") & (np.arange(170) % 2 == 1)
    base = {f"blocks.{k}.hook_resid_post": rng.normal(size=(170, 6)) for k in (2, 5)}
    moved = rows["anomalous"].to_numpy()[:, None]
    tuned = {site: x + moved + 0.1 * rng.normal(size=x.shape) for site, x in base.items()}
    run = tmp_path / "runs" / "own" / "stacks"
    import_vectors(tuned, rows, run)
    import_vectors(base, rows, run, adapter=False)
    stage = ["--run", str(run.parent), "--data.dataset", "stacks", "--trainer.logger", "false"]
    assert main(["test", "--config", "recipes/test.yaml", "--model.unavailable", "skip", *stage]) == 0
    assert main(["figures", str(run), "--out", str(tmp_path / "out"), "--formats", "png", "--jobs", "1"]) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "table1.md").is_file()
    packed = re.findall(r'<script type="text/plain" data-of="(dataset[^"]*)">([^<]*)</script>', page)
    (shown,) = [unpacked(text) for _, text in packed]
    assert shown.count("unknown") > 5
