"""A page per detector: what it is, how it does on each model and dataset, and at which sites."""

from typing import Any

import pandas as pd

from madkit.figures.drawing.detectors import ordered_detectors
from madkit.figures.html.score_notes import score_notes
from madkit.figures.naming import detector_name, further_needs, setting_order, with_setting
from madkit.figures.published.numbers import nearest_model, published_auroc
from madkit.figures.results.results import OWN_ANSWER, Results, grouped, ordered_datasets
from madkit.figures.results.selection import first_panels
from madkit.figures.tables.benign import benign_rows

_SUBSETS = ("all", "agree", "disagree")
_NUMBERS = {
    **{f"AUROC, {subset}": (subset, ("auroc", "low", "high")) for subset in _SUBSETS},
    "within answers, all": ("all", ("auroc_within", "auroc_within_low", "auroc_within_high")),
    "TPR at 1% FPR, all": ("all", ("tpr", "tpr_low", "tpr_high")),
    "false alarms, all": ("all", ("false_alarms", "false_alarms_low", "false_alarms_high")),
}
"""By the head of a column: the subset of the prompts, and where the number and its interval stand."""

_COLUMNS = (
    *("model", "dataset", "feature", "score", "setting", "needs", "control", "subset"),
    *dict.fromkeys(name for _, names in _NUMBERS.values() for name in names),
)

Table = tuple[list[str], list[list[str]]]
"""The head and the rows."""


def detector_pages(results: Results) -> list[dict[str, Any]]:
    """Of each detector its names, notes, and by model a table of datasets and one of sites."""
    results = first_panels(results)
    whole = results.aggregated()
    whole = whole[[name for name in _COLUMNS if name in whole]]
    benign = dict(grouped(benign_rows(results).query("subset == 'all'"), "feature", "score", "model"))
    sites = results.detection[(results.detection["site"] != "aggregate") & (results.detection["subset"] == "all")]
    of_sites = dict(grouped(sites[~sites["control"]], "feature", "score", "model"))
    by_detector = dict(grouped(whole[whole["setting"] != OWN_ANSWER], "feature", "score"))
    pages = []
    for feature, score in ordered_detectors((f, s) for f, s in by_detector):
        rows = by_detector[feature, score]
        models = []
        for (model,), part in grouped(rows, "model"):
            key = feature, score, model
            controls, own = part[part["control"]], part[~part["control"]]
            if own.empty:
                continue
            table = _datasets(own, controls, benign.get(key, own.iloc[:0]), detector_name(feature, score))
            models.append({"name": model, "table": table, "sites": _sites(of_sites.get(key, own.iloc[:0]))})
        if models:
            settings = sorted(set(rows["setting"]), key=setting_order)
            pages.append(
                {
                    "name": with_setting(detector_name(feature, score), settings[0]),
                    "in_tables": detector_name(feature, score),
                    "names": f"{feature}/{score}",
                    "setting": ", ".join(settings),
                    "needs": further_needs(", ".join(sorted(set(rows.loc[~rows["control"], "needs"])))),
                    "notes": score_notes(score),
                    "models": models,
                }
            )
    return pages


def _datasets(own: pd.DataFrame, controls: pd.DataFrame, benign: pd.DataFrame, name: str) -> Table:
    """A row per dataset and setting, then the published averages."""
    others = {"control, all": controls[controls["subset"] == "all"], "benign, all": benign}
    cells = []
    for (setting, dataset), rows in _in_order(own):
        by_subset = {str(row["subset"]): row for row in rows.to_dict("records")}
        numbers = [_interval(by_subset.get(subset), names) for subset, names in _NUMBERS.values()]
        for table in others.values():
            same = table[(table["dataset"] == dataset) & (table["setting"] == setting)].to_dict("records")
            numbers.append(_interval(same[0] if same else None, ("auroc", "low", "high")))
        cells.append([dataset, setting, *numbers])
    nearest = nearest_model(str(own["model"].iloc[0]))
    for setting in sorted(set(own["setting"]), key=setting_order):
        published = [published_auroc(nearest, name, setting, subset) for subset in _SUBSETS]
        if any(published):
            averages = ["-" if number is None else f"{number.value:.3f}" for number in published]
            cells.append([f"published {nearest}, average", setting, *averages, *["-"] * (len(_NUMBERS) - 1)])
    return ["dataset", "setting", *_NUMBERS, *others], cells


def _sites(rows: pd.DataFrame) -> Table | None:
    """AUROC at each site, a row per dataset; None where there is a single site."""
    names = list(dict.fromkeys(rows.sort_values(["layer", "site"])["site"]))
    if len(names) < 2:
        return None
    cells = []
    for (setting, dataset), part in _in_order(rows):
        found = {str(row["site"]): row for row in part.to_dict("records")}
        cells.append([dataset, setting, *(_interval(found.get(site), ("auroc", "low", "high")) for site in names)])
    return ["dataset", "setting", *names], cells


def _in_order(rows: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of each setting and dataset, in the order of the study."""
    order = {name: index for index, name in enumerate(ordered_datasets(rows["dataset"]))}
    parts = [((setting, dataset), part) for (setting, dataset), part in grouped(rows, "setting", "dataset")]
    return sorted(parts, key=lambda pair: (setting_order(pair[0][0]), order[pair[0][1]]))


def _interval(row: dict[Any, Any] | None, names: tuple[str, str, str]) -> str:
    value, low, high = (row.get(name) if row else None for name in names)
    return "-" if pd.isna(value) else f"{value:.3f} [{low:.3f}, {high:.3f}]"
