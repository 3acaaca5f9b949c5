"""Which detector may be called the best: better than every other one by a paired test."""

from itertools import combinations

import numpy as np
import pandas as pd

from madkit.figures.results.results import Results, grouped
from madkit.statistics.comparison import Comparison, holm
from madkit.statistics.nested_seeds import nested_mean_comparison

LEVEL = 0.05


def significantly_best(results: Results, rows: pd.DataFrame, subset: str) -> set[tuple[str, str, str]]:
    """Of each model and setting the detector that is better than all others, if one is.

    Two detectors are compared on the mean of their differences over the datasets that both have (and, before that, over
    the seeds of each). p-values are adjusted by Holm for all pairs of a model and setting. A detector that cannot be
    compared with one of the others, or has no other, is not called the best.

    Args:
        results: with the paired tests of each dataset.
        rows: of aggregated detectors of one subset, without controls.
        subset: its name.

    Returns:
        Triples of model, setting and ``feature/score``.
    """
    tests = results.over_seeds(lambda part: part.comparisons)
    tests = tests[(tests["subset"] == subset) & ~tests["control"]]
    best = set()
    for (model, setting), part in grouped(rows[rows["setting"] != "ceiling"], "model", "setting"):
        names = list(dict.fromkeys(part["feature"] + "/" + part["score"]))
        comparisons = _mean_comparisons(tests[tests["model"] == model], names)
        pairs = list(combinations(sorted(names), 2))
        if len(names) < 2 or any(pair not in comparisons for pair in pairs):
            continue
        adjusted = dict(zip(pairs, holm([comparisons[pair].p_value for pair in pairs]), strict=True))
        for name in names:
            better = [
                comparisons[pair].difference * (1 if pair[0] == name else -1) > 0 and adjusted[pair] < LEVEL
                for pair in pairs
                if name in pair
            ]
            if all(better):
                best.add((model, setting, name))
    return best


def _mean_comparisons(tests: pd.DataFrame, names: list[str]) -> dict[tuple[str, str], Comparison]:
    """The mean comparison of each pair of detectors, named in alphabetical order."""
    by_pair: dict[tuple[str, str], dict[str, list[Comparison]]] = {}
    between_names = tests[tests["a"].isin(names) & tests["b"].isin(names)]
    columns = between_names[["dataset", "a", "b", "difference", "low", "high", "p_value"]]
    for dataset, a, b, difference, low, high, p_value in columns.itertuples(index=False):
        if not np.isfinite(difference):
            continue
        test = Comparison(difference, low, high, p_value)
        runs = by_pair.setdefault((min(a, b), max(a, b)), {}).setdefault(dataset, [])
        runs.append(test if a < b else test.turned)
    return {pair: nested_mean_comparison(list(datasets.values())) for pair, datasets in by_pair.items()}
