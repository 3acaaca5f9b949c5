"""The results of the `test` stage as tidy tables: scores, AUROC and its companions, comparisons.

In all of them a detector is a feature, whether the adapter was on (False is the control), and a score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from madkit.detection.detector import Assumptions
from madkit.detection.held_out_scores import ScoreKey, alarm_columns
from madkit.detection.own_answer import SETTING as OWN_SETTING
from madkit.detection.own_answer import answers_of
from madkit.detection.site_scores import SiteKey, SiteScores, by_feature
from madkit.detection.subsets import Subset, contested
from madkit.detection.supervised_probe import PROBE
from madkit.detection.within_answers import within_answers
from madkit.errors import DataError
from madkit.statistics.aggregation import CALIBRATED, aggregate
from madkit.statistics.auroc_interval import auroc_all
from madkit.statistics.comparison import compare_all
from madkit.statistics.interval import Interval
from madkit.statistics.low_fpr_statistics import low_fpr_all
from madkit.store.variant import Variant

RESULT_KEYS = ["feature", "adapter", "score", "site", "layer", "aggregation"]
#: The false positive rate of the statistics for rare alarms.
LOW = 0.01

#: Scores of prompts that are judged at once: 32 MiB.
BLOCK = 2**22


def scores_table(
    sites: Mapping[SiteKey, SiteScores], aggregations: list[str], layers: Mapping[SiteKey, int | None]
) -> pd.DataFrame:
    """One row per test prompt, detector, and site or aggregate: the columns of `RESULT_KEYS`, row and value."""
    parts = []
    for key, scores in sites.items():
        variant, site = key
        for index, name in enumerate(scores.names):
            parts.append(_part(scores.rows, variant, name, site, layers[key], "", scores.values[:, index]))
    for method in aggregations:
        for variant, scores_of_sites in by_feature(sites).items():
            for index, name in enumerate(scores_of_sites[0].names):
                if name == PROBE and method in CALIBRATED:
                    continue
                values = np.stack([scores.values[:, index] for scores in scores_of_sites], axis=1)
                held_out = None
                if method in CALIBRATED:
                    held_out = np.stack([scores.calibration[:, index] for scores in scores_of_sites], axis=1)
                try:
                    combined = aggregate(method, values, held_out)
                except DataError as error:
                    rank_zero_warn(f"{variant}/{name} is not aggregated by {method}: {error}")
                    continue
                parts.append(_part(scores_of_sites[0].rows, variant, name, "aggregate", None, method, combined))
    return _joined(parts)


def calibration_table(sites: Mapping[SiteKey, SiteScores]) -> pd.DataFrame:
    """One row per calibration prompt, detector and site: row, feature, adapter, score, site, value."""
    parts = [
        _part(scores.held_out, variant, name, site, None, "", scores.calibration[:, index])
        for (variant, site), scores in sites.items()
        for index, name in enumerate(scores.names)
        if name != PROBE
    ]
    return _joined(parts)[["row", "feature", "adapter", "score", "site", "value"]]


def results_table(
    scores: pd.DataFrame,
    prompts: pd.DataFrame,
    settings: Mapping[tuple[Variant, str], Assumptions],
    held_out: Mapping[ScoreKey, NDArray[np.float64]] | None = None,
) -> pd.DataFrame:
    """AUROC and its companions, each with a 95% interval, of every detector, site or aggregate, and subset.

    Intervals know which prompts share a statement or a speaker; see `madkit.detection.subsets.contested`. A subset in
    which only one kind of prompt occurs has no AUROC and no row; if that is so for all prompts it
    is an error. Beside AUROC stands that within answers (`madkit.detection.within_answers`). The control that knows
    the answer alone (`madkit.detection.own_answer`) has no direction of its own: of Yes and No, what is more anomalous
    is chosen by the labels, so that its AUROC is at least 0.5; its `sign` is -1 where that is No.

    Args:
        scores: see `scores_table`.
        prompts: the test prompts, with log_odds where they are known.
        settings: of each detector, what it is told and needs.
        held_out: scores of calibration prompts, as `madkit.detection.held_out_scores` has them; `alarm_columns` says
            what results tell of a threshold that is set on them. None: nothing.

    Raises:
        DataError: all test prompts are normal, or all are anomalous.
    """
    if prompts["anomalous"].nunique() < 2:
        kind = "anomalous" if bool(prompts["anomalous"].iloc[0]) else "normal"
        raise DataError(
            f"all {len(prompts)} test prompts are {kind}; AUROC needs both: make more prompts with `madkit predict`"
        )
    subsets = contested(prompts)
    answers, answers_from = answers_of(prompts)
    keys, values = _by_detector(scores, prompts["row"].to_numpy())
    named = [ScoreKey(Variant(key[0], bool(key[1])), key[2], key[3], key[5]) for key in keys]
    calibration = [(held_out or {}).get(key) for key in named]
    lines: list[dict[str, dict[str, Any]]] = [{} for _ in keys]
    for name, subset in subsets.items():
        members = np.flatnonzero(np.isin(prompts["row"].to_numpy(), subset.rows))
        counts = subset.counts
        step = max(1, BLOCK // len(members))
        for first in range(0, len(keys), step):
            chunk = slice(first, first + step)
            told = [settings[Variant(key[0], bool(key[1])), key[2]] for key in keys[chunk]]
            own = [assumptions.setting == OWN_SETTING for assumptions in told]
            part = values[chunk][:, members]
            judged = _judged(part, own, subset, answers, answers_from)
            alarms = alarm_columns(part, calibration[chunk], subset)
            for line, key, assumptions, columns, more in zip(
                lines[chunk], keys[chunk], told, judged, alarms, strict=True
            ):
                keyed = dict(zip(RESULT_KEYS, key, strict=True))
                line[name] = {**keyed, **assumptions._asdict(), "subset": name, **columns, **more, **counts}
    table = pd.DataFrame([line[name] for line in lines for name in subsets])
    return table.astype({"adapter": bool, "layer": "Int64"})


def _by_detector(scores: pd.DataFrame, rows: NDArray[np.int64]) -> tuple[list[Any], NDArray[np.float64]]:
    """The `RESULT_KEYS` of each detector and site or aggregate, and its scores (s, n) of prompts `rows` (n,)."""
    keys, values = [], []
    for key, group in scores.groupby(RESULT_KEYS, sort=False, dropna=False):
        own, column = group["row"].to_numpy(), group["value"].to_numpy()
        if not np.array_equal(own, rows):
            wanted: Any = rows
            column = pd.Series(column, index=own).loc[wanted].to_numpy()
        keys.append(key)
        values.append(column)
    return keys, np.stack(values)


def _judged(
    values: NDArray[np.float64], own: list[bool], subset: Subset, answers: pd.Series, answers_from: str
) -> list[dict[str, Any]]:
    """Columns of the results of scores (s, n); the sign of `own` answers may be turned."""
    areas = auroc_all(values, subset.labels, clusters=subset.clusters)
    signs = np.array([-1 if free and area.value < 0.5 else 1 for free, area in zip(own, areas, strict=True)])
    if (turned := np.flatnonzero(signs < 0)).size:
        values = values * signs[:, None]
        for i, area in zip(turned, auroc_all(values[turned], subset.labels, clusters=subset.clusters), strict=True):
            areas[i] = area
    rare = low_fpr_all(values, subset.labels, LOW, clusters=subset.clusters)
    within = within_answers(values, subset, answers, answers_from)
    return [
        {
            **_columns("auroc", area, prefix=""),
            "sign": int(sign),
            **columns,
            **_columns("partial_auroc", found.partial_auroc, prefix="partial_auroc_"),
            **_columns("tpr", found.tpr, prefix="tpr_"),
            **_columns("average_precision", found.average_precision, prefix="average_precision_"),
        }
        for area, sign, columns, found in zip(areas, signs, within, rare, strict=True)
    ]


def comparisons_table(scores: pd.DataFrame, prompts: pd.DataFrame) -> pd.DataFrame:
    """Paired tests between all detectors of one aggregation and subset, adjusted by Holm within each.

    They are those of DeLong, with prompts of a statement and of a speaker as clusters (Obuchowski 1997).

    Returns:
        aggregation, subset, a, adapter_a, b, adapter_b (a and b are "feature/score"), difference (AUROC of a minus
        AUROC of b), low, high, p_value, p_holm.
    """
    columns = [
        "aggregation", "subset", "a", "adapter_a", "b", "adapter_b", "difference", "low", "high", "p_value", "p_holm",
    ]  # fmt: skip
    parts = []
    subsets = contested(prompts)
    aggregated = scores[(scores["site"] == "aggregate") & (scores["score"] != PROBE)]
    for aggregation, group in aggregated.groupby("aggregation", sort=False):
        named_by = group[["feature", "adapter", "score"]].drop_duplicates()
        detectors = list(named_by.itertuples(index=False, name=None))
        named = {f"{Variant(f, adapter)}/{score}": (f"{f}/{score}", bool(adapter)) for f, adapter, score in detectors}
        wide = group.pivot(index="row", columns=["feature", "adapter", "score"], values="value")
        for name, subset in subsets.items():
            values = [wide.loc[subset.rows, detector].to_numpy() for detector in detectors]
            pairs = compare_all(dict(zip(named, values, strict=True)), subset.labels, clusters=subset.clusters)
            for side in ("a", "b"):
                pairs[f"adapter_{side}"] = [named[detector][1] for detector in pairs[side]]
                pairs[side] = [named[detector][0] for detector in pairs[side]]
            parts.append(pairs.assign(aggregation=aggregation, subset=name))
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def layer_column(layer: int | None, n: int) -> Any:
    """A layer's number n times, missing where there is none."""
    return pd.array([pd.NA if layer is None else layer] * n, dtype="Int64")


def _columns(name: str, interval: Interval, prefix: str) -> dict[str, float]:
    return {name: interval.value, f"{prefix}low": interval.low, f"{prefix}high": interval.high}


class _Part(NamedTuple):
    """The scores of a detector at a site, or aggregated."""

    rows: NDArray[np.int64]
    values: NDArray[np.float64]
    keys: tuple[Any, ...]
    """Its `RESULT_KEYS`."""


def _part(
    rows: NDArray[np.int64],
    variant: Variant,
    score: str,
    site: str,
    layer: int | None,
    aggregation: str,
    values: NDArray[np.float64],
) -> _Part:
    return _Part(rows, values, (variant.feature, variant.adapter, score, site, layer, aggregation))


def _joined(parts: Sequence[_Part]) -> pd.DataFrame:
    """All of them, one under the other; a table for each would take longer than to score."""
    named = pd.DataFrame([part.keys for part in parts], columns=RESULT_KEYS)
    named["layer"] = pd.array([pd.NA if part.keys[4] is None else part.keys[4] for part in parts], dtype="Int64")
    table = named.take(np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])).reset_index(drop=True)
    table.insert(0, "row", np.concatenate([part.rows for part in parts]))
    return table.assign(value=np.concatenate([part.values for part in parts]))
