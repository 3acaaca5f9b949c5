"""What is usual while the model answers: it answers held-out trusted prompts, and is scored meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from madkit.errors import ConfigError
from madkit.monitoring.live_scores import LiveScores
from madkit.monitoring.monitor_state import MonitorState
from madkit.monitoring.prompt_data import PromptData
from madkit.monitoring.watched_model import WatchedModel

#: The score of a response without a token.
_LOWEST = float(np.finfo(np.float64).min)


@torch.no_grad()
def with_responses(
    state: MonitorState, watched: WatchedModel, data: PromptData, new_tokens: int, generation: dict[str, Any], seed: int
) -> MonitorState:
    """A state that knows the largest score of the tokens of each response to held-out prompts.

    Args:
        state: what was fitted.
        watched: the model.
        data: the held-out prompts.
        new_tokens: how many tokens a response has at most.
        generation: further options of ``generate``.
        seed: of what is drawn.

    Raises:
        ConfigError: `new_tokens` is below 0, or the options do not fit.
    """
    if new_tokens < 0:
        raise ConfigError(f"new_tokens={new_tokens} must be at least 0")
    if beams := generation.get("num_beams", 1) - 1:
        raise ConfigError(f"generation: num_beams={beams + 1} writes several responses at once: leave it out")
    state = replace(state, new_tokens=0, responses=np.empty(0))
    devices = [watched.device] if watched.device.type == "cuda" else []
    found = np.full(len(data.prompts), _LOWEST)
    with torch.random.fork_rng(devices=devices), watched.evaluating():
        torch.manual_seed(seed)
        for batch in data.predict_dataloader():
            rows = batch.pop("row").numpy()
            inputs = {key: batch[key].to(watched.device) for key in ("input_ids", "attention_mask")}
            with LiveScores(state, watched, 1.0) as live:
                # One more, because the last token that is written is not read.
                watched.model.generate(
                    **inputs, max_new_tokens=new_tokens + 1, pad_token_id=data.prompts.tokens.pad_id, **generation
                )
            table = live.scores
            largest = table[table["step"] > 0].groupby("sequence")["score"].max()
            found[rows[largest.index.to_numpy(dtype=int)]] = largest.to_numpy()
    return replace(state, new_tokens=new_tokens, responses=np.sort(found))
