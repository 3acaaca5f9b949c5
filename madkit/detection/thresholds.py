"""Ways to set a threshold where new prompts are harder than the trusted ones, each judged on the test prompts.

A stream of unlabelled prompts is made of test prompts: the normal ones, and of the anomalous ones as many as make a
small share. Test prompts are cut in two by their statements, and those of each half are judged by thresholds that know
the stream of the other half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.detection.covariates import Covariates
from madkit.detection.detector import Assumptions, in_order
from madkit.detection.held_out_scores import ScoreKey
from madkit.detection.subsets import Subset
from madkit.detection.supervised_probe import PROBE
from madkit.errors import DataError
from madkit.statistics.alarm_rates import alarm_rates
from madkit.statistics.conformal import NOMINAL, conformal_p_values, nominal_rate
from madkit.statistics.nuisance_regression import NuisanceRegression
from madkit.statistics.stream_null import LEAST_STREAM, StreamNull, recalibrated_p_values
from madkit.statistics.weighted_conformal import density_ratio, weighted_conformal_p_values
from madkit.store.variant import Variant

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]

#: The share of anomalous prompts in a stream.
SHARE = 0.05

#: Ways to aggregate whose results have a spread that a stream can show; ranks all tie far out.
AGGREGATED = ("mean", "zscore")

#: The way that nobody has.
LABELS = "labels"

_STREAM = "untrusted prompts"
_SEED = 0
_COLUMNS = [
    "feature", "adapter", "score", "aggregation", "method", "setting", "needs", "share", "nominal",
    "false_alarms", "false_alarms_low", "false_alarms_high", "tpr", "tpr_low", "tpr_high", "n_calibration", "n_stream",
]  # fmt: skip


class _Scores(NamedTuple):
    """The scores of a detector, as they are and without what covariates explain."""

    test: Numbers
    held_out: Numbers
    residual: Numbers
    residual_held_out: Numbers


class _Stream(NamedTuple):
    """A stream, and the prompts that are judged by thresholds which know it."""

    rows: Rows
    judged: Rows
    weights: Numbers
    """Of the judged prompts."""
    held_out_weights: Numbers


def threshold_table(
    scores: pd.DataFrame,
    held_out: Mapping[ScoreKey, Numbers],
    assumptions: Mapping[tuple[Variant, str], Assumptions],
    subset: Subset,
    known: Covariates,
    shares: Sequence[float] = (SHARE,),
) -> pd.DataFrame:
    """False alarms and TPR of every aggregated detector at a nominal 1%, by each way to set the threshold.

    - trusted: conformal, on held-out trusted prompts.
    - nuisance: the same of what covariates leave of the scores.
    - weighted: conformal, weighted by how much more frequent prompts with such covariates are in the stream.
    - stream: by the median and the upper quartile of the stream (`StreamNull`).
    - recalibrated: both trusted and stream have to alarm (`recalibrated_p_values`).
    - nuisance_recalibrated: the same of what covariates leave.
    - labels: the 99% quantile of the normal test prompts themselves, which nobody knows; for comparison.

    Args:
        scores: of the test prompts, see `madkit.detection.result_tables.scores_table`.
        held_out: of the calibration prompts, see `madkit.detection.held_out_scores`.
        assumptions: of each detector, what it is told and needs.
        subset: all test prompts, in row order.
        known: what is known of the prompts besides.
        shares: of anomalous prompts in the stream.

    Returns:
        feature, adapter, score, aggregation, method, setting, needs, share (missing where there is no stream), nominal,
        false_alarms and tpr with their intervals (`madkit.statistics.alarm_rates`), n_calibration, n_stream (a half).
    """
    streams = {share: _streams(subset, known, share) for share in shares}
    aggregated = scores[scores["aggregation"].isin(AGGREGATED) & (scores["score"] != PROBE) & scores["adapter"]]
    lines = []
    for key, part in aggregated.groupby(["feature", "score", "aggregation"], sort=False):
        feature, score, method = map(str, key)
        variant = Variant(feature)
        calibration = held_out.get(ScoreKey(variant, score, "aggregate", method))
        if calibration is None or len(calibration) <= known.held_out.shape[1] + 1:
            continue
        values = part.set_index("row")["value"].loc[subset.rows].to_numpy()
        nuisance = NuisanceRegression.fit(known.held_out, calibration)
        own = _Scores(values, calibration, nuisance.residuals(known.test, values), nuisance.held_out)
        names = {"feature": feature, "adapter": True, "score": score, "aggregation": method}
        for line in _lines(own, streams, subset, known, assumptions[variant, score]):
            lines.append({**names, **line})
    return pd.DataFrame(lines, columns=_COLUMNS)


def _streams(subset: Subset, known: Covariates, share: float) -> list[_Stream]:
    """Of each half of the test prompts a stream that the other half is judged by; none where one is too short."""
    codes, rng = subset.clusters[0], np.random.default_rng(_SEED)
    statements = int(codes.max()) + 1
    first = (rng.permutation(statements) < statements // 2)[codes]
    streams = []
    for half in (first, ~first):
        normal, anomalous = (np.flatnonzero(half & (subset.labels == kind)) for kind in (False, True))
        count = min(round(len(normal) * share / (1 - share)), len(anomalous))
        rows = np.concatenate([normal, rng.choice(anomalous, count, replace=False)])
        if len(rows) < LEAST_STREAM:
            return []
        judged = np.flatnonzero(~half)
        held_out_weights, weights = density_ratio(known.held_out, known.test[rows], known.test[judged])
        streams.append(_Stream(rows, judged, weights, held_out_weights))
    return streams


def _lines(
    own: _Scores, streams: Mapping[float, Sequence[_Stream]], subset: Subset, known: Covariates, told: Assumptions
) -> list[dict[str, Any]]:
    """One line of the table per way and share."""
    m = len(own.held_out)
    nominal = nominal_rate(m)
    lines, alarms = [], []
    for way, share, found in _alarms(own, streams, subset.labels, nominal):
        needs = {*told.needs.split(", "), *({_STREAM} if way in _OFFLINE else ())}
        needs |= {LABELS} if way == LABELS else known.needs if way in _WITH_COVARIATES else set()
        setting = LABELS if way == LABELS else "offline" if _STREAM in needs else told.setting
        n = min(len(stream.rows) for stream in streams[share]) if way in _OFFLINE else 0
        line = {"method": way, "setting": setting, "needs": in_order(needs), "share": share, "nominal": nominal}
        lines.append({**line, "n_calibration": m, "n_stream": n})
        alarms.append(found)
    for name, kind in (("false_alarms", False), ("tpr", True)):
        rows = subset.labels == kind
        rates = alarm_rates(np.stack(alarms)[:, rows], [codes[rows] for codes in subset.clusters])
        for line, interval in zip(lines, rates, strict=True):
            line |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return lines


def _alarms(
    own: _Scores, streams: Mapping[float, Sequence[_Stream]], labels: NDArray[np.bool_], nominal: float
) -> Iterator[tuple[str, float, NDArray[np.bool_]]]:
    """Each way, the share of anomalous prompts in its stream, and which test prompts (n,) alarm."""
    yield "trusted", np.nan, conformal_p_values(own.test, own.held_out) <= nominal
    yield "nuisance", np.nan, conformal_p_values(own.residual, own.residual_held_out) <= nominal
    yield LABELS, np.nan, own.test > np.quantile(own.test[~labels], 1 - NOMINAL, method="higher")
    for share, halves in streams.items():
        for way, p_values in _OFFLINE.items() if halves else ():
            alarms = np.zeros(len(own.test), dtype=bool)
            try:
                for stream in halves:
                    alarms[stream.judged] = p_values(own, stream) <= nominal
            except DataError:  # a score with so many ties that a stream of it has no spread
                continue
            yield way, share, alarms


def _weighted(own: _Scores, stream: _Stream) -> Numbers:
    return weighted_conformal_p_values(own.test[stream.judged], own.held_out, stream.weights, stream.held_out_weights)


def _stream(own: _Scores, stream: _Stream) -> Numbers:
    return StreamNull.of(own.test[stream.rows]).p_values(own.test[stream.judged])


def _recalibrated(own: _Scores, stream: _Stream) -> Numbers:
    return recalibrated_p_values(own.test[stream.judged], own.held_out, own.test[stream.rows])


def _nuisance_recalibrated(own: _Scores, stream: _Stream) -> Numbers:
    x = own.residual
    return recalibrated_p_values(x[stream.judged], own.residual_held_out, x[stream.rows])


_OFFLINE: dict[str, Callable[[_Scores, _Stream], Numbers]] = {
    "weighted": _weighted,
    "stream": _stream,
    "recalibrated": _recalibrated,
    "nuisance_recalibrated": _nuisance_recalibrated,
}
_WITH_COVARIATES = ("nuisance", "weighted", "nuisance_recalibrated")
