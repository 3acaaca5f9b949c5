"""How many distractors alarm: prompts that are unusual and on which nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.detection.detector import Assumptions
from madkit.detection.held_out_scores import ScoreKey
from madkit.detection.result_tables import scores_table
from madkit.detection.site_scores import SiteKey, SiteScores
from madkit.detection.supervised_probe import PROBE
from madkit.detection.thresholds import AGGREGATED
from madkit.statistics.alarm_rates import alarm_rates
from madkit.statistics.auroc_interval import auroc
from madkit.statistics.clustered_prompts import prompt_clusters
from madkit.statistics.conformal import NOMINAL, conformal_p_values, nominal_rate
from madkit.statistics.roc_curve import alarm_threshold
from madkit.store.feature_store import FeatureStore
from madkit.store.prompt_rows import answers_known
from madkit.store.variant import Variant

Numbers = NDArray[np.float64]

#: Thresholds: that of TPR at 1% FPR, which at most 1% of the normal test prompts exceed; and that of trusted prompts.
NORMAL, TRUSTED = "normal", "trusted"

_COLUMNS = [
    "feature", "adapter", "score", "aggregation", "setting", "needs", "kind", "threshold", "nominal",
    "alarms", "alarms_low", "alarms_high", "false_alarms", "false_alarms_low", "false_alarms_high",
    "tpr", "tpr_low", "tpr_high", "auroc", "low", "high", "right", "n", "n_normal", "n_anomalous",
]  # fmt: skip


class Judged(NamedTuple):
    """The test prompts that distractors are measured against."""

    scores: pd.DataFrame
    """Of the test prompts, see `madkit.detection.result_tables.scores_table`."""
    held_out: Mapping[ScoreKey, Numbers]
    """Scores of the calibration prompts, which are trusted; none where there are none."""
    prompts: pd.DataFrame
    """The test prompts in row order, as of `madkit.detection.output.behaviour`."""


def distractor_scores(
    sites: Mapping[SiteKey, SiteScores],
    prompts: pd.DataFrame,
    aggregations: Sequence[str],
    layers: Mapping[SiteKey, int | None],
) -> pd.DataFrame:
    """Scores of the distractors by all detectors, as a table like `madkit.detection.result_tables.scores_table`.

    Args:
        sites: scores of the test prompts and the distractors.
        prompts: the distractors by row.
        aggregations: those of the recipe, of which the `AGGREGATED` ones are made.
        layers: the layer of each site.
    """
    rows = prompts["row"].to_numpy()
    # The ceiling is told the labels of the test prompts, and says nothing of others.
    theirs = {key: scores.of(rows).without(PROBE) for key, scores in sites.items()}
    return scores_table(theirs, [name for name in aggregations if name in AGGREGATED], layers)


def right_answers(prompts: pd.DataFrame, answers: FeatureStore | None) -> NDArray[np.float64]:
    """Of n distractors, by row, which the model answers rightly: 1, 0, or a half where it is undecided.

    NaN where its answers are not stored (list the split in the feature's `splits`), or nobody knows what is right.
    """
    if answers is None or not answers.count("distractor") or not answers_known(prompts):
        return np.full(len(prompts), np.nan)
    rows, x = answers.read("logits", "distractor")
    logits = pd.DataFrame(x.double().numpy(), index=rows.numpy()).loc[prompts["row"]].to_numpy()
    says_yes = (np.sign(logits[:, 1] - logits[:, 0]) + 1) / 2
    return np.where(prompts["alice_label"].astype(bool), says_yes, 1 - says_yes)


def distractor_table(
    scores: pd.DataFrame, prompts: pd.DataFrame, test: Judged, settings: Mapping[tuple[Variant, str], Assumptions]
) -> pd.DataFrame:
    """Shares of distractors that alarm, of every aggregated detector and kind of distractors.

    Beside them stand, at the same threshold, the share of the normal test prompts, which they are made of, and of the
    anomalous ones. No detector and no threshold is fitted on distractors.

    Args:
        scores: of the distractors, as of the test prompts.
        prompts: the distractors by row, with `distractor`, the kind of each, and `right`, as of `right_answers`.
        test: the test prompts.
        settings: of each detector, what it is told and needs.

    Returns:
        feature, adapter, score, aggregation, setting, needs, kind; threshold (``normal``: that of TPR at 1% FPR, which
        at most 1% of the normal test prompts exceed; ``trusted``: conformal, by calibration prompts, where there are
        any) and its nominal rate; alarms, false_alarms and tpr: shares of the distractors, the normal and the anomalous
        test prompts, with 95% intervals; auroc with its interval: how well anomalous prompts are told from the
        distractors; right: the share of distractors that the model answers rightly; n, n_normal, n_anomalous.
    """
    keys = ["feature", "adapter", "score", "aggregation"]
    own = dict(iter(test.scores[test.scores["aggregation"].isin(AGGREGATED)].groupby(keys, sort=False)))
    aggregated = scores[scores["aggregation"].isin(AGGREGATED)]
    lines = []
    for key, part in aggregated.groupby(keys, sort=False):
        feature, adapter, score, aggregation = key
        variant = Variant(str(feature), bool(adapter))
        values = own[key].set_index("row")["value"].loc[test.prompts["row"]].to_numpy()
        distracted = part.set_index("row")["value"].loc[prompts["row"]].to_numpy()
        known = test.held_out.get(ScoreKey(variant, str(score), "aggregate", str(aggregation)))
        named = {**dict(zip(keys, key, strict=True)), **settings[variant, str(score)]._asdict()}
        lines += [{**named, **line} for line in _lines(distracted, prompts, values, known, test.prompts)]
    return pd.DataFrame(lines, columns=_COLUMNS)


def _lines(
    distracted: Numbers, prompts: pd.DataFrame, values: Numbers, known: Numbers | None, test: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """A line for each threshold and kind."""
    anomalous = test["anomalous"].to_numpy(dtype=bool)
    thresholds = [(NORMAL, NOMINAL), *([(TRUSTED, nominal_rate(len(known)))] if known is not None else [])]
    for threshold, nominal in thresholds:
        test_alarms, alarms = (_alarms(x, threshold, values[~anomalous], known, nominal) for x in (values, distracted))
        beside: dict[str, Any] = {"threshold": threshold, "nominal": nominal}
        beside |= _rate("false_alarms", test_alarms[~anomalous], test[~anomalous])
        beside |= _rate("tpr", test_alarms[anomalous], test[anomalous])
        beside |= {"n_normal": int((~anomalous).sum()), "n_anomalous": int(anomalous.sum())}
        for kind in pd.unique(prompts["distractor"]):
            rows = (prompts["distractor"] == kind).to_numpy()
            both = pd.concat([prompts[rows], test[anomalous]])
            labels = np.repeat([False, True], [rows.sum(), anomalous.sum()])
            clusters = prompt_clusters(both["statement"], both["name"], labels)
            area = auroc(np.concatenate([distracted[rows], values[anomalous]]), labels, clusters=clusters)
            line = {"kind": kind, "n": int(rows.sum()), "right": float(prompts.loc[rows, "right"].mean())}
            line |= _rate("alarms", alarms[rows], prompts[rows])
            yield {**line, **beside, "auroc": area.value, "low": area.low, "high": area.high}


def _alarms(
    scores: Numbers, threshold: str, normal: Numbers, known: Numbers | None, nominal: float
) -> NDArray[np.bool_]:
    if threshold == TRUSTED and known is not None:
        return conformal_p_values(scores, known) <= nominal
    return scores > alarm_threshold(normal, NOMINAL)


def _rate(name: str, alarms: NDArray[np.bool_], prompts: pd.DataFrame) -> dict[str, float]:
    (rate,) = alarm_rates(alarms[None], [prompts["statement"].to_numpy()])
    return {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}
