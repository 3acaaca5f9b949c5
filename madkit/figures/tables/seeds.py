"""Runs that differ in their seed alone: how much of the spread between runs is theirs."""

from collections.abc import Iterator
from math import sqrt

import pandas as pd

from madkit.figures.results.results import OWN_ANSWER, Results, grouped
from madkit.figures.tables.averages import average, runs_by_dataset
from madkit.statistics.nested_seeds import variance_components


def seed_spread(results: Results) -> pd.DataFrame:
    """Of each model and detector (all test prompts, mean over sites), what its AUROC varies by.

    Returns:
        model, feature, score, setting, auroc, low, high, n_datasets, n_runs; standard deviations `between_datasets`,
        `between_seeds` and `sampling`; and `seed_share`, of the variance of one run. Empty where there is one seed.
    """
    lines: list[dict[str, object]] = []
    rows = results.over_seeds(Results.aggregated) if results.seeds else results.aggregated().iloc[:0]
    rows = rows[(rows["subset"] == "all") & ~rows["control"] & ~rows["setting"].isin(["ceiling", OWN_ANSWER])]
    rows = rows.dropna(subset=["auroc"])
    for (model, feature, score, setting), part in grouped(rows, "model", "feature", "score", "setting"):
        value, runs = average(part), runs_by_dataset(part)
        if value is None or len(part) == len(runs):
            continue
        parts = variance_components(runs)
        lines.append(
            {
                **{"model": model, "feature": feature, "score": score, "setting": setting},
                **{"auroc": value.value, "low": value.low, "high": value.high},
                **{"n_datasets": value.n_datasets, "n_runs": len(part)},
                **{"between_datasets": sqrt(parts.datasets), "between_seeds": sqrt(parts.seeds)},
                **{"sampling": sqrt(parts.sampling), "seed_share": parts.seed_share},
            }
        )
    return pd.DataFrame(lines)


def about_seeds(results: Results) -> Iterator[str]:
    """How seeds stand in averages, and how much of the spread is theirs; nothing where there is one seed."""
    table = seed_spread(results)
    every = results.over_seeds(Results.aggregated)
    for (model,), part in grouped(table, "model") if len(table) else ():
        seeds = sorted(set(every.loc[every["model"] == model, "seed"]))
        shares = part["seed_share"].dropna()
        spread = f"a median of {shares.median():.0%} ({shares.min():.0%} to {shares.max():.0%})" if len(shares) else "?"
        yield (
            f"*Seeds* of {model}: {', '.join(map(str, seeds))}. Of the variance of one run's AUROC, {spread} over "
            f"detectors is between seeds of a dataset, which is a standard deviation of "
            f"{part['between_seeds'].median():.3f}; the rest is between datasets, and of prompts: `table_seeds.md`. "
            "A dataset's number is its mean over seeds, and intervals and tests speak of other seeds too. "
            "What is drawn of single runs is of the first seed."
        )
