"""Which detector may be called the best: better than every other one by a paired test."""

from itertools import combinations

import numpy as np
import pandas as pd

from madkit.figures.results.results import Results, grouped
from madkit.statistics.comparison import Comparison, holm
from madkit.statistics.dataset_means import mean_comparison

LEVEL = 0.05


def leaders(results: Results, rows: pd.DataFrame, subset: str) -> set[tuple[str, str, str]]:
    """Of each model and setting the detector that beats all others, if one does.

    Two detectors are compared on the mean of their differences over the datasets that both have. p-values are
    adjusted by Holm for all pairs of a model and setting. A detector that cannot be compared with one of the
    others, or has no other, is not called the best.

    Args:
        results: with the paired tests of each dataset.
        rows: of whole detectors of one subset, without controls.
        subset: its name.

    Returns:
        Triples of model, setting and ``feature/score``.
    """
    tests = results.comparisons
    tests = tests[(tests["aggregation"] == "mean") & (tests["subset"] == subset)]
    found = set()
    for (model, setting), part in grouped(rows[rows["setting"] != "ceiling"], "model", "setting"):
        names = list(dict.fromkeys(part["feature"] + "/" + part["score"]))
        pairs = _pairs(tests[tests["model"] == model], names)
        wanted = list(combinations(sorted(names), 2))
        if len(names) < 2 or any(pair not in pairs for pair in wanted):
            continue
        adjusted = dict(zip(wanted, holm([pairs[pair].p_value for pair in wanted]), strict=True))
        for name in names:
            better = [
                pairs[pair].difference * (1 if pair[0] == name else -1) > 0 and adjusted[pair] < LEVEL
                for pair in wanted
                if name in pair
            ]
            if all(better):
                found.add((model, setting, name))
    return found


def _pairs(tests: pd.DataFrame, names: list[str]) -> dict[tuple[str, str], Comparison]:
    """The mean comparison of each pair of detectors, named in alphabetical order."""
    found: dict[tuple[str, str], list[Comparison]] = {}
    inside = tests[tests["a"].isin(names) & tests["b"].isin(names)]
    columns = inside[["a", "b", "difference", "low", "high", "p_value"]]
    for a, b, difference, low, high, p_value in columns.itertuples(index=False):
        if not np.isfinite(difference):
            continue
        one = Comparison(difference, low, high, p_value)
        turned = Comparison(-difference, -high, -low, p_value)
        found.setdefault((min(a, b), max(a, b)), []).append(one if a < b else turned)
    return {pair: mean_comparison(ones) for pair, ones in found.items()}
