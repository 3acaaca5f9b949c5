"""What the `test` stage found, as tidy tables: scores, AUROC and its companions, comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from madkit.detection.supervised_probe import PROBE
from madkit.errors import DataError
from madkit.statistics.aggregation import CALIBRATED, aggregate
from madkit.statistics.auroc_interval import auroc
from madkit.statistics.comparison import compare_all
from madkit.statistics.interval import Interval
from madkit.statistics.low_fpr_statistics import low_fpr

SUBSETS = ("all", "agree", "disagree")
RESULT_KEYS = ["feature", "score", "site", "layer", "aggregation"]
#: The false positive rate of the statistics for rare alarms.
LOW = 0.01


@dataclass(frozen=True)
class Site:
    """Scores of all prompts at one site, of all processes."""

    names: list[str]
    """The scores."""
    rows: NDArray[np.int64]
    """(n,) the test prompts, ascending."""
    values: NDArray[np.float64]
    """(n, scores)."""
    held_out: NDArray[np.int64]
    """(m,) the calibration prompts, ascending; none where no aggregation needs them."""
    calibration: NDArray[np.float64]
    """(m, scores); NaN for the ceiling."""


def long_table(
    sites: dict[tuple[str, str], Site], aggregations: list[str], layers: dict[str, int | None]
) -> pd.DataFrame:
    """One line per test prompt, detector, and site or aggregate: the columns of `RESULT_KEYS`, row and value."""
    parts = []
    for (feature, site), found in sites.items():
        for index, name in enumerate(found.names):
            parts.append(_part(found.rows, feature, name, site, layers[site], "", found.values[:, index]))
    for way in aggregations:
        for feature, own in _by_feature(sites).items():
            for index, name in enumerate(own[0].names):
                if name == PROBE and way in CALIBRATED:
                    continue
                values = np.stack([site.values[:, index] for site in own], axis=1)
                held_out = np.stack([site.calibration[:, index] for site in own], axis=1) if way in CALIBRATED else None
                try:
                    combined = aggregate(way, values, held_out)
                except DataError as error:
                    rank_zero_warn(f"{feature}/{name} is not aggregated by {way}: {error}")
                    continue
                parts.append(_part(own[0].rows, feature, name, "aggregate", None, way, combined))
    return pd.concat(parts, ignore_index=True)


def calibration_table(sites: dict[tuple[str, str], Site]) -> pd.DataFrame:
    """One line per calibration prompt, detector and site: row, feature, score, site, value."""
    parts = [
        _part(found.held_out, feature, name, site, None, "", found.calibration[:, index])
        for (feature, site), found in sites.items()
        for index, name in enumerate(found.names)
        if name != PROBE
    ]
    return pd.concat(parts, ignore_index=True)[["row", "feature", "score", "site", "value"]]


def results(
    table: pd.DataFrame, prompts: pd.DataFrame, settings: dict[tuple[str, str], tuple[str, str]]
) -> pd.DataFrame:
    """AUROC and its companions, each with a 95% interval, of every detector, site or aggregate, and subset.

    A subset in which only one kind of prompt occurs has no AUROC and no row; if that is so for all prompts it
    is an error.

    Raises:
        DataError: if all test prompts are normal, or all are anomalous.
    """
    if prompts["anomalous"].nunique() < 2:
        kind = "anomalous" if bool(prompts["anomalous"].iloc[0]) else "normal"
        raise DataError(
            f"all {len(prompts)} test prompts are {kind}; AUROC needs both: make more prompts with `madkit predict`"
        )
    subsets = contested(prompts)
    lines = []
    for found, group in table.groupby(RESULT_KEYS, sort=False, dropna=False):
        key: Any = found
        scores = group.set_index("row")["value"]
        setting, untrusted = settings[key[0], key[1]]
        for name, (rows, labels) in subsets.items():
            values = scores.loc[rows].to_numpy()
            rare = low_fpr(values, labels, LOW)
            lines.append(
                {
                    **dict(zip(RESULT_KEYS, key, strict=True)),
                    "setting": setting,
                    "untrusted": untrusted,
                    "subset": name,
                    **_columns("auroc", auroc(values, labels), prefix=""),
                    **_columns("partial_auroc", rare.partial_auroc, prefix="partial_auroc_"),
                    **_columns("tpr", rare.tpr, prefix="tpr_"),
                    **_columns("average_precision", rare.average_precision, prefix="average_precision_"),
                    "n_normal": int((~labels).sum()),
                    "n_anomalous": int(labels.sum()),
                }
            )
    return pd.DataFrame(lines).astype({"layer": "Int64"})


def comparisons(table: pd.DataFrame, prompts: pd.DataFrame) -> pd.DataFrame:
    """Paired DeLong tests between all detectors of one aggregation and subset, adjusted by Holm within each.

    Returns:
        aggregation, subset, a, b (each "feature/score"), difference (AUROC of a minus AUROC of b), low, high,
        p_value, p_holm.
    """
    parts = []
    subsets = contested(prompts)
    whole = table[(table["site"] == "aggregate") & (table["score"] != PROBE)]
    for aggregation, group in whole.groupby("aggregation", sort=False):
        detector = group["feature"] + "/" + group["score"]
        scores = group.assign(detector=detector).pivot(index="row", columns="detector", values="value")
        scores = scores[detector.drop_duplicates().tolist()]
        for name, (rows, labels) in subsets.items():
            some = scores.loc[rows]
            found = compare_all({str(detector): some[detector].to_numpy() for detector in some}, labels)
            parts.append(found.assign(aggregation=aggregation, subset=name))
    columns = ["aggregation", "subset", "a", "b", "difference", "low", "high", "p_value", "p_holm"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def contested(prompts: pd.DataFrame) -> dict[str, tuple[pd.Index, NDArray[np.bool_]]]:
    """Row numbers and labels of all prompts, and of those on which truth and quirk agree or disagree.

    A subset without prompts of both kinds is left out: it has no AUROC.
    """
    agree = (prompts["alice_label"].astype(bool) == prompts["bob_label"].astype(bool)).to_numpy()
    members = {"all": np.ones(len(prompts), dtype=bool), "agree": agree, "disagree": ~agree}
    rows, labels = prompts["row"].to_numpy(), prompts["anomalous"].to_numpy(dtype=bool)
    both = {name: labels[members[name]] for name in SUBSETS}
    return {name: (pd.Index(rows[members[name]]), own) for name, own in both.items() if own.any() and not own.all()}


def _columns(name: str, interval: Interval, prefix: str) -> dict[str, float]:
    return {name: interval.value, f"{prefix}low": interval.low, f"{prefix}high": interval.high}


def _by_feature(sites: dict[tuple[str, str], Site]) -> dict[str, list[Site]]:
    found: dict[str, list[Site]] = {}
    for (feature, _), site in sites.items():
        found.setdefault(feature, []).append(site)
    return found


def _part(
    rows: NDArray[np.int64],
    feature: str,
    score: str,
    site: str,
    layer: int | None,
    aggregation: str,
    values: NDArray[np.float64],
) -> pd.DataFrame:
    names = {"feature": feature, "score": score, "site": site}
    layers = pd.array([pd.NA if layer is None else layer] * len(rows), dtype="Int64")
    return pd.DataFrame({"row": rows, **names, "layer": layers, "aggregation": aggregation, "value": values})
