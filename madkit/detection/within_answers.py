"""AUROC within answers: of a normal and an anomalous prompt that were answered alike, which one is more anomalous?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.detection.own_answer import LOG_ODDS, SETTING
from madkit.detection.subsets import Subset
from madkit.detection.supervised_probe import SETTING as CEILING
from madkit.statistics.stratification import stratified_auroc_all

_NAMED = 3  # detectors in a warning


def within_answers(
    values: NDArray[np.float64], subset: Subset, answers: pd.Series, answers_from: str
) -> list[dict[str, float | int | str]]:
    """AUROC over pairs of prompts with the same answer, and how it differs from that over all pairs.

    An answer that only one kind of prompt gets takes part in no pair. Where that holds of all answers, there is nothing
    to compare: the numbers are NaN and the share of pairs is 0.

    Args:
        values: (s, n) scores of the prompts of the subset, in its order.
        subset: which of them are anomalous, and which belong together.
        answers: of each row number, what was answered.
        answers_from: where the answers are from, for the table; empty where they are not known.

    Returns:
        Of each of the s scores auroc_within and its interval auroc_within_low, auroc_within_high; within_difference
        (from auroc), its interval and within_p_value; within_share of the pairs that it rests on; n_answers compared
        and n_answers_left_out, those of one kind of prompt only; answers_from.
    """
    given = answers.loc[subset.rows].to_numpy() if answers_from else np.zeros(0)
    kinds = [set(given[subset.labels == kind]) if answers_from else set() for kind in (False, True)]
    counts = {"n_answers": len(kinds[0] & kinds[1]), "n_answers_left_out": len(kinds[0] ^ kinds[1])}
    names = [f"{name}{end}" for name in ("auroc_within", "within_difference") for end in ("", "_low", "_high")]
    names.append("within_p_value")
    numbers = [([np.nan] * len(names), 0.0)] * len(values)
    if counts["n_answers"]:
        found = stratified_auroc_all(values, subset.labels, given, clusters=subset.clusters)
        numbers = [([*each.within, *each.difference], each.share) for each in found]
    return [
        {
            **dict(zip(names, columns, strict=True)),
            "within_share": share,
            **counts,
            "answers_from": answers_from,
        }
        for columns, share in numbers
    ]


def differing(results: pd.DataFrame) -> pd.Series:
    """Of each row of the results, whether the interval of the difference leaves out zero; False where there is none."""
    found: pd.Series = (results["within_difference_low"] > 0) | (results["within_difference_high"] < 0)
    return found


def answer_warning(results: pd.DataFrame) -> str | None:
    """What to tell a user of detectors whose AUROC within answers is another one; None if there are none.

    Args:
        results: see `madkit.detection.result_tables.results_table`.
    """
    rows = results[(results["subset"] == "all") & results["adapter"]]
    own = rows[rows["setting"] == SETTING]
    if own.empty:  # nothing is known of answers, as `answers_missing` says
        return None
    rows = rows[~rows["setting"].isin([SETTING, CEILING])]
    if (rows["site"] == "aggregate").any():
        rows = rows[rows["site"] == "aggregate"]
    rows = rows.drop_duplicates(["feature", "score"])
    if rows["within_share"].eq(0).any():
        return (
            "no normal prompt was answered like an anomalous one, so that what detectors find cannot be told from the "
            "answer: choose a dataset, or test prompts, to which both characters say Yes and No"
        )
    found = rows[differing(rows)]
    if found.empty:
        return None
    found = found.reindex(found["within_difference"].abs().sort_values(ascending=False).index)
    named = ", ".join(
        f"{line.feature}/{line.score} {line.auroc:.3f} and {line.auroc_within:.3f}"
        for line in found.head(_NAMED).itertuples()
    )
    alone = own[own["score"] == (LOG_ODDS if LOG_ODDS in set(own["score"]) else own["score"].iloc[0])].iloc[0]
    return (
        f"AUROC within answers differs by more than chance for {len(found)} of {len(rows)} detectors ({named}; "
        f"{found['within_share'].iloc[0]:.0%} of the pairs): their scores depend on the answer, which alone has "
        f"AUROC {alone['auroc']:.3f}. Of detectors that do not 1 in 20 differs as much. Report auroc_within"
    )


def answers_missing(results: pd.DataFrame) -> str | None:
    """What to tell a user whose run stored no answers of the model."""
    own: Any = results.loc[results["setting"] == SETTING, "score"]
    if LOG_ODDS in set(own):
        return None
    if own.empty:
        return (
            "it is not known what was answered, so that results have no own answer and no AUROC within answers, and "
            "detectors may see no more than the answer: store the logits of the answers as the feature `answers`"
        )
    return (
        "the model's answers are not stored, so that own answer and AUROC within answers go by the labels alone: list "
        "the feature Answers in the recipe of `madkit predict`"
    )
