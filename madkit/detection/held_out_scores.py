"""Scores of held-out trusted prompts, by detector and site or aggregate: what thresholds are set on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from madkit.detection.site_scores import SiteKey, SiteScores, by_feature
from madkit.detection.subsets import Subset
from madkit.detection.supervised_probe import PROBE
from madkit.errors import DataError
from madkit.statistics.aggregation import aggregate_held_out
from madkit.statistics.alarm_rates import alarm_rates
from madkit.statistics.conformal import conformal_p_values, nominal_rate
from madkit.store.variant import Variant

_COLUMNS = ("false_alarms", "false_alarms_low", "false_alarms_high", "nominal")


class ScoreKey(NamedTuple):
    """A detector, at a site or aggregated."""

    variant: Variant
    score: str
    site: str
    aggregation: str


def held_out_scores(
    sites: Mapping[SiteKey, SiteScores], aggregations: Sequence[str]
) -> dict[ScoreKey, NDArray[np.float64]]:
    """Scores (m,) of the calibration prompts, which no detector has learned from, in row order.

    Those of an aggregation are measured against the other calibration prompts where new prompts are measured against
    all of them. What has no scores of calibration prompts, or cannot be aggregated, is left out.
    """
    found = {}
    for (variant, site), scores in sites.items():
        for name, column in zip(scores.names, scores.calibration.T, strict=True):
            if name != PROBE and len(column):
                found[ScoreKey(variant, name, site, "")] = column
    for variant, of_sites in by_feature(sites).items():
        for index, name in enumerate(of_sites[0].names):
            if name == PROBE or not len(of_sites[0].held_out):
                continue
            table = np.stack([scores.calibration[:, index] for scores in of_sites], axis=1)
            for method in aggregations:
                try:
                    found[ScoreKey(variant, name, "aggregate", method)] = aggregate_held_out(method, table)
                except DataError:
                    continue  # results have no such aggregate either, and a warning says so
    return found


def alarm_columns(
    values: NDArray[np.float64], held_out: Sequence[NDArray[np.float64] | None], subset: Subset
) -> list[dict[str, Any]]:
    """How often thresholds that are set on held-out trusted prompts alarm on the normal prompts of a subset.

    A prompt alarms where its conformal p-value is at most 0.01, or, with fewer calibration prompts than that
    needs, at most the smallest rate that they can promise.

    Args:
        values: (s, n) scores of the prompts of the subset.
        held_out: of each score those of the calibration prompts; None where there are none.
        subset: which of the prompts are normal, and which belong together.

    Returns:
        Of each score false_alarms with its interval false_alarms_low, false_alarms_high, and nominal, the rate that
        was promised; NaN where there are no calibration prompts.
    """
    normal = ~subset.labels
    nominal = [np.nan if known is None else nominal_rate(len(known)) for known in held_out]
    alarms = np.zeros((len(values), int(normal.sum())), dtype=bool)
    for row, scores, known, rate in zip(alarms, values[:, normal], held_out, nominal, strict=True):
        if known is not None:
            row[:] = conformal_p_values(scores, known) <= rate
    rates = alarm_rates(alarms, [codes[normal] for codes in subset.clusters])
    return [
        dict(zip(_COLUMNS, (np.nan,) * len(_COLUMNS) if known is None else (*share, rate), strict=True))
        for share, known, rate in zip(rates, held_out, nominal, strict=True)
    ]
