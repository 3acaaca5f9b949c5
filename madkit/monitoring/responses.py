"""What is usual while the model answers: it answers prompts, and is scored meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from madkit.data.prompts.tokens import TokenizedPrompts
from madkit.errors import DataError
from madkit.monitoring.generation_options import answer, answering, require_answer, require_options
from madkit.monitoring.live_scores import LiveScores
from madkit.monitoring.monitor_state import MonitorState
from madkit.monitoring.prompt_data import PromptData
from madkit.monitoring.watched_model import WatchedModel
from madkit.statistics import StreamNull

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


def stream_responses(
    state: MonitorState, watched: WatchedModel, tokens: TokenizedPrompts
) -> NDArray[np.float64] | None:
    """The largest scores of the tokens of responses to prompts of now, as far as they say what is usual.

    A response that ends before a token is scored never alarms, and plays no part. Where nothing can be said, that is a
    warning: an alarm is then one among the responses to held-out prompts alone.

    Args:
        state: what was fitted, for responses.
        watched: the model.
        tokens: the prompts.

    Returns:
        (r,) float64, or None where they say nothing.

    Raises:
        ConfigError: the model does not answer with the options that it was fitted with.
    """
    if state.generation is None:
        reason = "its folder holds no such `generation` as it was fitted with: recalibrate before it is saved"
    else:
        require_options(watched.lm, state.new_tokens, state.generation)
        require_answer(watched, tokens, state.new_tokens, state.generation)
        data = PromptData(tokens, batch_size=state.batch_size)
        found = response_scores(state, watched, data, state.new_tokens, state.generation, 0)
        found = np.sort(found[found > _LOWEST])
        try:
            StreamNull.of(found)
            return found
        except DataError as error:
            reason = f"of {len(tokens)} responses to these prompts {len(found)} have a score, and their {error}"
    rank_zero_warn(f"recalibrate: alarms of responses stay as they were, because {reason}")
    return None
