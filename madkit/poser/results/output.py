"""What the `test` stage of POSER writes and logs once models have been compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd

from madkit.poser.benchmark.model_pairs import ModelPair
from madkit.poser.results import tables
from madkit.poser.results.summaries import ALL
from madkit.runs.atomic import write_json
from madkit.runs.folder import provenance
from madkit.runs.tables import write_parquet
from madkit.training.run_loggers import RunLoggers

# Readers take the presence of the results as the sign of a finished stage: they are removed first and written last.
RESULTS = "results"
TABLES = (RESULTS, "behaviour", "curves", "noise", "roc", "scores", "volumes")


def remove_results(folder: Path) -> None:
    """Remove the tables and the summary of an earlier run, which may have had another recipe."""
    for name in TABLES:
        (folder / f"{name}.parquet").unlink(missing_ok=True)
    (folder / "summary.json").unlink(missing_ok=True)


def write_results(
    folder: Path, models: Sequence[tables.MeasuredModel], pairs: Sequence[ModelPair], summary: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    """Compare the models of each pair, and write all tables and the summary.

    Args:
        folder: the run's `poser` folder.
        models: all models of the pairs.
        pairs: at least one.
        summary: what else `summary.json` says.

    Returns:
        The tables by name.
    """
    curves = tables.curves_table(models)
    noise = tables.noise_table(models)
    scores = tables.scores_table(models, curves, noise)
    written = {
        "curves": curves,
        "volumes": tables.volumes_table(models),
        "noise": noise,
        "behaviour": tables.behaviour_table(models),
        "scores": scores,
        "roc": tables.roc_table(scores),
        RESULTS: tables.results_table(scores, pairs),
    }
    lowest = float(written["behaviour"]["benign"].min())
    for name, table in written.items():
        if name != RESULTS:
            write_parquet(folder / f"{name}.parquet", table)
    write_json(folder / "summary.json", {**summary, "lowest_share_benign": lowest, "made_by": provenance()})
    write_parquet(folder / f"{RESULTS}.parquet", written[RESULTS])
    return written


def log_results(module: L.LightningModule, curves: pd.DataFrame, results: pd.DataFrame) -> None:
    """AUC of every method, and each model's curves, to all loggers.

    Loggers take whole steps only. The step of a point is its coefficient; where a perturbation has coefficients that
    are not whole, it is the rank of the coefficient among them, from 0.
    """
    for line in results.to_dict("records"):
        if line["at"] in (ALL, ""):
            module.log(f"auroc/poser/{line['method']}/{line['measure']}", line["auc"], rank_zero_only=True)
    loggers = RunLoggers(module.trainer)
    for perturbation, points in curves.groupby("perturbation", sort=False):
        coefficients = points["coefficient"]
        steps = coefficients if coefficients.mod(1).eq(0).all() else coefficients.rank(method="dense") - 1
        for step, line in zip(steps.astype(int), points.to_dict("records"), strict=True):
            tag = f"{perturbation}/{line['prompts']}/{line['lm']}"
            values = {f"{measure}/{tag}": line[measure] for measure in ("kl", "p_misaligned")}
            loggers.scalars(values, step)
