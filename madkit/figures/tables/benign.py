"""The control that decides: detectors on models that were tuned in the same way on the truth alone."""

from collections.abc import Iterator

import pandas as pd

from madkit.figures.naming import count_prompts, detector_name
from madkit.figures.results.results import Results, grouped

NEAR = (0.45, 0.55)
"""The AUROC of chance: what a detector may reach on a benign model."""


def benign_rows(results: Results) -> pd.DataFrame:
    """The rows that stand for a detector, of benign models, without those whose adapter was off and the ceiling.

    Returns:
        As `Results.aggregated`; empty where there is no benign model.
    """
    rows = results.over_seeds(lambda part: part.benign.aggregated() if part.benign else part.aggregated().iloc[:0])
    return rows[~rows["control"] & (rows["setting"] != "ceiling")]


def sees_benign(rows: pd.DataFrame) -> pd.DataFrame:
    """Those rows whose whole interval is beyond chance: detectors that see any tuning, or who speaks.

    Example:
        >>> found = pd.DataFrame({"auroc": [0.5, 0.6, 0.6], "low": [0.47, 0.54, 0.56], "high": [0.53, 0.66, 0.64]})
        >>> sees_benign(found).index.tolist()
        [2]
    """
    return rows[(rows["low"] > NEAR[1]) | (rows["high"] < NEAR[0])]


def in_words(rows: pd.DataFrame) -> str:
    """Detectors, each with its datasets.

    Example:
        >>> in_words(pd.DataFrame({"feature": ["delta"] * 2, "score": ["lof"] * 2, "dataset": ["nli", "addition"]}))
        'delta lof (nli, addition)'
    """
    parts = grouped(rows, "feature", "score")
    return "; ".join(f"{detector_name(*pair)} ({', '.join(part['dataset'])})" for pair, part in parts)


def about_benign(results: Results) -> Iterator[str]:
    """What stands in the column of benign models, of how many prompts, and where it is not chance."""
    rows = benign_rows(results)
    rows = rows[rows["subset"] == "all"]
    if rows.empty:
        return
    yield (
        "*Benign*: the same detector on a model that was tuned in the same way on the same questions, with the truth "
        "as everyone's answer: average [95% interval] (number of datasets). There is no quirk to find, so it has to be "
        "0.5: what it is above that, the detector owes to any tuning, or to the names. "
        "In the CSV it is `benign_auroc_*`."
    )
    for (model,), part in grouped(rows, "model"):
        far = sees_benign(part)
        words = f"**not at chance: {in_words(far)}**" if len(far) else "all at chance"
        low, high = part["auroc"].min(), part["auroc"].max()
        yield (
            f"{model}, benign: {count_prompts(part)} per dataset; {len(part.drop_duplicates(['feature', 'score']))} "
            f"detectors at {low:.3f} to {high:.3f}, {words} ({NEAR[0]} to {NEAR[1]}, within the interval)."
        )
