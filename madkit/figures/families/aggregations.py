"""How scores at several layers become one: every way side by side, and the best single layer honestly chosen."""

from collections.abc import Iterator

import pandas as pd

from madkit.figures.naming import detector_name, with_control, with_setting
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped
from madkit.figures.tables.averages import METHOD, Average, average
from madkit.figures.tables.document import Document, with_interval

ELSEWHERE = "site chosen elsewhere"
_EXPLANATIONS = {
    "mean": "mean of the raw scores at all sites [as published]",
    "max": "their maximum",
    "zscore": "mean of each site's z-score among held-out trusted prompts",
    "rank": "mean of each site's rank among them",
    "fisher": "Fisher's combination of these ranks",
    "ledoit_wolf": "shrunk Mahalanobis distance of the vector of z-scores from those of held-out trusted prompts",
    "cauchy": "Cauchy combination of the ranks",
    "higher_criticism": "higher criticism of the ranks: some sites are far out",
    ELSEWHERE: "the one site with the highest mean AUROC over the model's *other* datasets",
}


@artist("comparison", after="critical_difference")
def aggregations(results: Results) -> Iterator[Sheet]:
    """`table_aggregation.md` and `.csv`: AUROC of all prompts, averaged over datasets, for each way to aggregate."""
    table = results.over_seeds(lambda part: part.detection)
    table = table[table["subset"] == "all"]
    lines: list[dict[str, object]] = []
    cells: dict[str, list[list[str]]] = {}
    present = set(table["aggregation"]) - {""}
    ways = [*(way for way in _EXPLANATIONS if way in present), *sorted(present - set(_EXPLANATIONS)), ELSEWHERE]
    names = ("control", "model", "feature", "score", "setting")
    for (control, model, feature, score, setting), part in grouped(table, *names):
        averages: dict[str, Average | None] = {way: average(part[part["aggregation"] == way]) for way in ways[:-1]}
        averages[ELSEWHERE] = average(chosen_elsewhere(part[part["site"] != "aggregate"]))
        adapter = control == "False"
        name = with_setting(with_control(detector_name(feature, score), not adapter), setting)
        cells.setdefault(model, []).append([name, *(with_interval(averages[way]) for way in ways)])
        for way, value in averages.items():
            if value is not None:
                keys = {"model": model, "feature": feature, "adapter": adapter, "score": score, "setting": setting}
                lines.append({**keys, "aggregation": way, **value._asdict()})
    if not lines:
        return
    yield Sheet("table_aggregation.csv", pd.DataFrame(lines).to_csv(index=False, lineterminator="\n"))
    document = Document(
        "Ways to aggregate over layers: AUROC of all test prompts, averaged over datasets",
        "Each number: average [95% interval].",
        {model: (["detector", *ways], rows) for model, rows in cells.items()},
        [*(f"*{way}*: {_EXPLANATIONS[way]}." for way in ways if way in _EXPLANATIONS), f"Intervals: {METHOD}"],
    )
    yield Sheet("table_aggregation.md", document)


def chosen_elsewhere(sites: pd.DataFrame) -> pd.DataFrame:
    """For each dataset the row of the site that is best on average over all other datasets.

    To report the layer that is best on the same prompts would be to choose the luckiest of many numbers.

    Args:
        sites: rows of one detector, one per dataset, site and seed, with `auroc`.

    Returns:
        One row per dataset and seed; none where there is only one dataset. The first of equally good sites counts.

    Example:
        >>> rows = [("a", "low", 0.9), ("a", "high", 0.6), ("b", "low", 0.5), ("b", "high", 0.8)]
        >>> table = pd.DataFrame(rows, columns=["dataset", "site", "auroc"])
        >>> chosen_elsewhere(table)[["dataset", "site", "auroc"]].values.tolist()
        [['a', 'high', 0.6], ['b', 'low', 0.5]]
    """
    # Of a dataset's seeds the mean.
    wide = sites.pivot_table(index="dataset", columns="site", values="auroc", dropna=False)[
        list(dict.fromkeys(sites["site"]))
    ]
    rows = []
    for dataset in wide.index if len(wide) > 1 else ():
        # A site that some dataset lacks cannot be compared.
        others = wide.drop(index=dataset).mean(skipna=False)[wide.loc[dataset].notna()].dropna()
        if len(others):
            rows.append(sites[(sites["dataset"] == dataset) & (sites["site"] == others.idxmax())])
    return pd.concat(rows) if rows else sites.iloc[:0]
