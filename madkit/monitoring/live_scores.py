"""LiveScores: scores of a model in use: of each prompt's last token, then of every token that follows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.monitoring.live_passes import LivePass, LivePasses
from madkit.monitoring.monitor_state import MonitorState
from madkit.monitoring.watched_model import WatchedModel


class LiveScores:
    """A context in which a model that generates is scored, made by `Monitor.attached`.

    A prompt's p-value is that of `Monitor.score`. That of a token is about the response so far: the largest score of
    its tokens, among the largest scores of the responses to held-out trusted prompts; so that at most a share `fpr` of
    responses to prompts like the trusted ones ever alarms, up to as many tokens as the monitor was fitted for
    (``new_tokens``). After `Monitor.recalibrate` it is one among the responses to the stream, too. Tokens after these,
    and all of a monitor that was fitted for none, have scores but no p-value.

    The last token of a response is scored when the model reads it, which `generate` does not do. Nor is one that ends a
    response, or what fills up those that have ended.

    Args:
        state: what was fitted.
        watched: the model.
        fpr: the share of prompts, and of responses, like the trusted ones that may alarm.
    """

    def __init__(self, state: MonitorState, watched: WatchedModel, fpr: float) -> None:
        self._state, self._watched, self._fpr = state, watched, fpr
        state.prepare(watched)
        self._calibration = np.sort(state.usual)
        self._passes = LivePasses(watched, state.hookpoints(), self._seen)
        self._ends = _end_tokens(watched.lm)
        self._columns: list[dict[str, NDArray[Any]]] = []
        self._first = self._step = 0
        self._running = np.empty(0, dtype=bool)
        self._highest = np.empty(0)
        self._alarmed = np.empty(0, dtype=bool)

    def __enter__(self) -> LiveScores:
        self._as_it_was = self._watched.unchanged()
        self._as_it_was.__enter__()
        self._passes.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._passes.__exit__(*error)
        self._as_it_was.__exit__(*error)

    @property
    def scores(self) -> pd.DataFrame:
        """A row for each token that was scored, in the order in which they came.

        ``sequence``, ``step`` (0 for the prompt), ``token``, ``score``, ``p_value``, ``alarm``, a column for each site.
        """
        names = ["sequence", "step", "token", "score", "p_value", "alarm", *self._state.detectors.names]
        if not self._columns:
            return pd.DataFrame({name: [] for name in names})
        return pd.DataFrame({name: np.concatenate([part[name] for part in self._columns]) for name in names})

    @property
    def alarms(self) -> pd.DataFrame:
        """The rows of `scores` that alarm."""
        table = self.scores
        return table[table["alarm"].astype(bool)]

    def stop(self, input_ids: Tensor, scores: Any = None, **_: Any) -> Tensor:
        """Which sequences (B,) have alarmed: a stopping criterion of ``generate``."""
        return torch.from_numpy(self._alarmed.copy()).to(input_ids.device)

    def _seen(self, one: LivePass) -> None:
        tokens = one.tokens.cpu().numpy()
        if one.begins or len(tokens) != len(self._running):
            self._first += len(self._running)
            self._step, self._running = 0, np.ones(len(tokens), dtype=bool)
            self._highest, self._alarmed = np.full(len(tokens), -np.inf), np.zeros(len(tokens), dtype=bool)
        else:
            self._step += 1
            self._running &= ~np.isin(tokens, self._ends)
        rows = np.flatnonzero(self._running)
        if not len(rows):
            return
        site_scores = self._state.score_activations(self._watched, one.activations).cpu().numpy()[rows]
        totals = self._state.detectors.total(site_scores)
        p_values = self._p_values(totals, rows)
        alarms = p_values <= self._fpr
        self._alarmed[rows] |= alarms
        self._columns.append(
            {
                "sequence": self._first + rows,
                "step": np.full(len(rows), self._step),
                "token": tokens[rows],
                "score": totals,
                "p_value": p_values,
                "alarm": alarms,
                **dict(zip(self._state.detectors.names, site_scores.T, strict=True)),
            }
        )

    def _p_values(self, totals: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        if self._step == 0:
            return self._state.p_values(totals)
        self._highest[rows] = np.maximum(self._highest[rows], totals)
        if self._step > self._state.new_tokens:
            return np.full(len(rows), np.nan)
        return self._state.response_p_values(self._highest[rows])


def _end_tokens(lm: Any) -> list[int]:
    """The tokens that end a response."""
    config = getattr(lm, "generation_config", None) or lm.config
    ends = config.eos_token_id if config.eos_token_id is not None else []
    return [int(end) for end in (ends if isinstance(ends, list | tuple) else [ends])]
