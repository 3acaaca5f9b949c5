"""The control that knows nothing but the answer: how far prompts can be told apart by what the model says."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.detection.detector import Assumptions
from madkit.store.prompt_rows import answers_known
from madkit.store.variant import Variant

#: The feature and the setting that results name. It is no detector: which sign is anomalous, only labels say.
OWN_ANSWER = Variant("own_answer")
SETTING = "own answer"
#: Its scores: the model's log odds of Yes against No, and the answer that is right for the character.
LOG_ODDS, LABEL = "log_odds", "label"


def own_answer_scores(prompts: pd.DataFrame) -> pd.DataFrame:
    """What a detector would go by that sees the answer alone, as rows of `madkit.detection.result_tables.scores_table`.

    Args:
        prompts: the test prompts: row, anomalous, where it is known what is right to answer alice_label and bob_label,
            and where answers are stored log_odds.

    Returns:
        The score ``label``, 1 where the right answer for the character is Yes, and ``log_odds``, where they are known.
    """
    parts = []
    if has_log_odds(prompts):
        parts.append((LOG_ODDS, prompts["log_odds"].to_numpy(float)))
    if answers_known(prompts):
        parts.append((LABEL, _labels(prompts).astype(float)))
    if not parts:
        return pd.DataFrame()
    layer = pd.array([pd.NA] * len(prompts), dtype="Int64")
    tables = [
        pd.DataFrame({"row": prompts["row"].to_numpy(), "score": score, "value": values, "layer": layer})
        for score, values in parts
    ]
    return pd.concat(tables, ignore_index=True).assign(
        feature=OWN_ANSWER.feature, adapter=OWN_ANSWER.adapter, site="answer", aggregation=""
    )


def answers_of(prompts: pd.DataFrame) -> tuple[pd.Series, str]:
    """What was answered to each prompt, by row number, and where that is from.

    Args:
        prompts: as of `own_answer_scores`.

    Returns:
        1 for Yes, -1 for No and 0 where the model is undecided, from the sign of its ``log_odds``; where these are not
        stored, what is right for the character, from the ``label``; where nothing is known, nothing, from ``""``.
    """
    if has_log_odds(prompts):
        return pd.Series(np.sign(prompts["log_odds"].to_numpy(float)), index=prompts["row"].to_numpy()), LOG_ODDS
    if not answers_known(prompts):
        return pd.Series(dtype=float), ""
    return pd.Series(np.where(_labels(prompts), 1.0, -1.0), index=prompts["row"].to_numpy()), LABEL


def has_log_odds(prompts: pd.DataFrame) -> bool:
    """Whether the answers of all prompts are known."""
    return "log_odds" in prompts and bool(np.isfinite(prompts["log_odds"].to_numpy(float)).all())


def settings_of(scores: Iterable[str] = (LOG_ODDS, LABEL)) -> dict[tuple[Variant, str], Assumptions]:
    """What each of its scores is told, as `madkit.detection.result_tables.results_table` takes it."""
    return {(OWN_ANSWER, score): Assumptions(SETTING, "", "labels") for score in scores}


def _labels(prompts: pd.DataFrame) -> NDArray[np.bool_]:
    bob = prompts["anomalous"].to_numpy(dtype=bool)
    return np.where(bob, prompts["bob_label"].to_numpy(dtype=bool), prompts["alice_label"].to_numpy(dtype=bool))
