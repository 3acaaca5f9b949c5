"""What is usual while the model answers: it answers prompts, and is scored meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from madkit.monitoring.generation_options import answer, answering
from madkit.monitoring.live_scores import LiveScores
from madkit.monitoring.monitor_state import MonitorState
from madkit.monitoring.prompt_data import PromptData
from madkit.monitoring.watched_model import WatchedModel

#: The score of a response without a token.
_LOWEST = float(np.finfo(np.float64).min)


def response_scores(
    state: MonitorState, watched: WatchedModel, data: PromptData, new_tokens: int, generation: dict[str, Any], seed: int
) -> NDArray[np.float64]:
    """The largest score (n,) of the tokens of each response to n prompts.

    Args:
        state: what was fitted.
        watched: the model.
        data: the prompts.
        new_tokens: how many tokens a response has at most.
        generation: further options of ``generate``, which have been tried.
        seed: of what is drawn.
    """
    state = replace(state, new_tokens=0, responses=np.empty(0))
    found = np.full(len(data.prompts), _LOWEST)
    with answering(watched, seed):
        for batch in data.predict_dataloader():
            rows = batch.pop("row").numpy()
            with LiveScores(state, watched, 1.0) as live:
                answer(watched, batch, data.prompts.tokens.pad_id, new_tokens, generation)
            table = live.scores
            largest = table[table["step"] > 0].groupby("sequence")["score"].max()
            found[rows[largest.index.to_numpy(dtype=int)]] = largest.to_numpy()
    return found
