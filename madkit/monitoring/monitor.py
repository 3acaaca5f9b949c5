"""Monitor: fitted on trusted prompts, it says of new ones how unusual they are for the model, and when to look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray

from madkit.data.prompts.tokens import TokenizedPrompts
from madkit.detection.detector import Detector
from madkit.errors import StoreError
from madkit.features import Activations, Feature
from madkit.monitoring.drift import Drift, find_drift
from madkit.monitoring.fitting import fit_state
from madkit.monitoring.held_out import different
from madkit.monitoring.live_scores import LiveScores
from madkit.monitoring.model_source import watched_model
from madkit.monitoring.monitor_folder import read_state, write_state
from madkit.monitoring.monitor_pipeline import MonitorPipeline
from madkit.monitoring.monitor_state import MonitorState
from madkit.monitoring.prediction import BatchScores, predict
from madkit.monitoring.prompt_data import PromptData
from madkit.monitoring.prompt_source import read_prompts
from madkit.monitoring.prompt_tokens import tokenize
from madkit.monitoring.responses import stream_responses
from madkit.monitoring.same_model import require_same
from madkit.monitoring.watched_model import WatchedModel
from madkit.statistics import ConformalMartingale, StreamNull
from madkit.statistics.conformal import require_rate


class Monitor:
    """A detector that was fitted on trusted prompts of one model, and what it made of others that were held out.

    Made by `fit` or `load`. `score` gives each new prompt a conformal p-value: among prompts that are like the trusted
    ones, at most a share `fpr` alarms. It promises nothing of prompts that are unlike them, which may be harmless:
    ``docs/monitor.md`` says what that means.

    Args:
        state: what was fitted.
        watched: the model; None to load it by its name when it is first needed.

    Attributes:
        progress: show a bar while prompts are read.

    Example:
        >>> trusted = [f"{i} + {j} = {i + j}" for i in range(9) for j in range(9)]
        >>> monitor = Monitor.fit("bases/tiny-llama", None, trusted)
        >>> monitor.score(["1 + 1 = 2", "Paris is a city"], fpr=0.05)["alarm"].tolist()
        [False, True]
    """

    def __init__(self, state: MonitorState, watched: WatchedModel | None = None) -> None:
        self.state = state
        self.progress = False
        self._watched = watched
        self._control: Any = None
        if watched is not None:
            require_same(self.state, watched)

    @classmethod
    def fit(
        cls,
        model: Any,
        tokenizer: Any,
        trusted_prompts: Any,
        *,
        adapter: str | None = None,
        reference: Any = None,
        features: list[Feature] | None = None,
        detector: Detector | None = None,
        aggregation: str = "zscore",
        calibration: int | float | None = None,
        max_length: int | None = None,
        batch_size: int = 16,
        new_tokens: int = 0,
        generation: dict[str, Any] | None = None,
        seed: int = 0,
        progress: bool = False,
        **loading: Any,
    ) -> Monitor:
        """Fit a monitor.

        Args:
            model: a transformers or PEFT model in memory; or a hub name, a folder or a GGUF file.
            tokenizer: the model's; None to load it with a model that is named.
            trusted_prompts: texts or chats, or where they are; see `madkit.monitoring.prompt_source.read_prompts`.
            adapter: of a model that is named: folder or hub name of a PEFT adapter on it.
            reference: the model that a merged or fully tuned one was made of; in memory, or by name.
            features: what is read; None for activations of every third layer.
            detector: what is made of it; None for the first choice of ``docs/detectors.md``: studentised `Conditional`
                where a base model is known, else activations, with `Mahalanobis`.
            aggregation: how scores at all sites become one; see `madkit.statistics.aggregate`.
            calibration: how many of the prompts, or which share, are held out for p-values; see
                `madkit.monitoring.held_out.hold_out`.
            max_length: longer prompts lose tokens on the left; None for the model's context, less `new_tokens` where
                positions are looked up in a table.
            batch_size: prompts in one forward pass.
            new_tokens: how many tokens of a response `attached` is to promise for; the model answers the held-out
                prompts with as many, to see what is usual.
            generation: how it answers, as ``model.generate`` takes it, such as ``{"do_sample": True}``; one response to
                each prompt.
            seed: which prompts are held out, and what is drawn for their answers.
            progress: show a bar while prompts are read, now and whenever some are scored.
            loading: of a model that is named: ``dtype``, ``device_map``, ``revision`` and what else
                `madkit.monitoring.model_source.ModelSource` has.

        Raises:
            ConfigError: an argument does not fit, or the model cannot be loaded or read.
            DataError: the prompts are malformed or too few.
        """
        prompts = read_prompts(trusted_prompts, "trusted_prompts")
        watched, source = watched_model(model, tokenizer, adapter=adapter, reference=reference, **loading)
        state = fit_state(
            watched,
            source,
            prompts,
            features=features if features is not None else [Activations()],
            detector=detector,
            aggregation=aggregation,
            calibration=calibration,
            max_length=max_length,
            batch_size=batch_size,
            new_tokens=new_tokens,
            generation=generation,
            seed=seed,
            progress=progress,
        )
        monitor = cls(state, watched)
        monitor.progress = progress
        rank_zero_info(monitor.description)
        return monitor

    @property
    def description(self) -> str:
        """What it looks at and why, and what it can promise."""
        return self.state.description()

    def __repr__(self) -> str:
        return f"Monitor({', '.join(self.state.detectors.names)}; {len(self.state.calibration)} calibration prompts)"

    @property
    def watched(self) -> WatchedModel:
        """The model, loaded if it has to be.

        Raises:
            ConfigError: it cannot be loaded.
            StoreError: it is not the one that the monitor was fitted on, or needs code of its own that is not trusted.
        """
        if self._watched is None:
            if self.state.source is None:
                raise StoreError(
                    "this monitor was fitted on a model in memory: give it to Monitor.load(folder, model, tokenizer)"
                )
            watched = self.state.source.open()
            require_same(self.state, watched)
            self._watched = watched
        return self._watched

    def score(self, prompts: Any, fpr: float = 0.01, *, fdr: float | None = None) -> pd.DataFrame:
        """Score prompts.

        Args:
            prompts: as for `fit`.
            fpr: the share of prompts like the trusted ones that may alarm.
            fdr: in place of `fpr`, the share of alarms that may be false, over all prompts of this call
                (Benjamini-Hochberg).

        Returns:
            A row for each prompt, in their order: ``score`` (higher = more anomalous), ``p_value``, ``alarm``,
            ``sites`` (of an alarm, which sites would have raised it alone) and a column of scores for each site.

        Raises:
            ConfigError: `fpr` is out of range or below what the calibration prompts can promise.
            DataError: a prompt is malformed, or a value is NaN or infinite.
            StoreError: the model is not the one that the monitor was fitted on.
        """
        rate = require_rate(fpr if fdr is None else fdr, len(self.state.calibration))
        tokens = self.tokens(read_prompts(prompts))
        return self.state.table(self.site_scores(tokens), rate, select=fdr is not None)

    def attached(self, model: Any = None, fpr: float = 0.01) -> LiveScores:
        """A context in which a model is scored while it is used: each prompt's last token, then every token it writes.

        Args:
            model: the model in memory, the one that the monitor was fitted on; None for the monitor's own
                (``monitor.watched.model``).
            fpr: the share of prompts, and of responses, like the trusted ones that may alarm.

        Raises:
            ConfigError: `fpr` is out of range or below what the calibration prompts can promise.
            StoreError: the model is not the one that the monitor was fitted on, or what it is compared with is not at
                hand.
        """
        require_rate(fpr, len(self.state.calibration))
        own = self._watched
        if model is None or (own is not None and model is own.model):
            watched = self.watched
        else:
            watched = WatchedModel(model, None, self._control_beside(model))
        require_same(self.state, watched)
        if not self.state.new_tokens:
            rank_zero_warn(
                "this monitor was fitted for no responses, so tokens that follow a prompt have scores and no p-values: "
                "`Monitor.fit(..., new_tokens=64)` gives them"
            )
        return LiveScores(self.state, watched, fpr)

    def _control_beside(self, model: Any) -> Any:
        """What a model in use is compared with, if that is a model of its own; loaded by its name if it has to be."""
        if self._watched is not None:
            return self._watched.control
        if self._control is None and self.state.control is not None and self.state.source is not None:
            self._control = self.state.source.open_control(getattr(model, "device", None))
        return self._control

    def wager(self, seed: int = 0) -> ConformalMartingale:
        """A wager against "the stream is like the held-out trusted prompts", whose alarm holds for all time.

        Give it the scores of prompts in the order in which they come: ``monitor.wager().update(table["score"])``. It is
        for prompts, each of which is a draw of its own; tokens of one response are not.

        Args:
            seed: of the draws that break ties.
        """
        return ConformalMartingale(self.state.usual, seed)

    def recalibrate(self, prompts: Any, *, responses: bool = True) -> Monitor:
        """A monitor that asks of an alarm that it be unusual in what comes in now, too.

        For prompts that are harder than the trusted ones, or otherwise unlike them; see
        `madkit.statistics.recalibrated_p_values` for what it takes for granted. A monitor that was fitted for responses
        (``new_tokens``) lets the model answer these prompts, and asks the same of the alarms of responses.

        Args:
            prompts: unlabelled prompts of now, as for `fit`, most of which are normal.
            responses: let the model answer them; False where prompts alone are to be scored.

        Raises:
            ConfigError: the model does not answer with the options that the monitor was fitted with.
            DataError: there are too few of them, or a prompt is malformed.
        """
        tokens = self.tokens(read_prompts(prompts))
        stream = self.state.detectors.total(self.site_scores(tokens))
        StreamNull.of(stream)
        answered = stream_responses(self.state, self.watched, tokens) if responses and self.state.new_tokens else None
        monitor = Monitor(replace(self.state, stream=stream, stream_responses=answered))
        monitor._watched, monitor.progress = self._watched, self.progress
        return monitor

    def as_pipeline(self, fpr: float | None = None) -> MonitorPipeline:
        """The monitor as a function from texts to (scores, metadata), which MOOD Bench takes.

        Args:
            fpr: the share of prompts like the trusted ones that may alarm; None for scores and p-values alone.

        Raises:
            ConfigError: `fpr` is out of range or below what the calibration prompts can promise.
        """
        return MonitorPipeline(self, None if fpr is None else require_rate(fpr, len(self.state.calibration)))

    def check(self, prompts: Any, rate: float = 0.01) -> Drift:
        """Whether prompts have drifted away from the trusted ones; no labels are needed.

        A two-sample test between the different ones of these and the held-out trusted prompts, by their scores at each
        site and together, and by their lengths; see `madkit.statistics.two_sample_test`.

        Args:
            prompts: as for `fit`, some twenty or more.
            rate: the probability with which prompts like the trusted ones are said to have drifted.

        Raises:
            ConfigError: `rate` is out of range.
            DataError: a prompt is malformed, or a value is NaN or infinite.
            StoreError: the model is not the one that the monitor was fitted on.
        """
        tokens = self.tokens(read_prompts(prompts))
        tokens = tokens.select(different(tokens))
        return find_drift(self.state, self.site_scores(tokens), tokens.lengths, rate)

    def tokens(self, prompts: list[Any]) -> TokenizedPrompts:
        """Checked prompts as the model reads them."""
        return tokenize(self.watched.tokenizer, prompts, self.state.max_length)

    def site_scores(self, tokens: TokenizedPrompts) -> NDArray[np.float64]:
        """Scores (n, sites) of prompts, in their order."""
        require_same(self.state, self.watched)
        self.state.prepare(self.watched)
        data = PromptData(tokens, batch_size=self.state.batch_size)
        parts = predict(BatchScores(self.watched, self.state.score_batch), data, self.watched, progress=self.progress)
        values = np.empty((len(tokens), len(self.state.detectors.sites)))
        for rows, scores in parts:
            values[rows.cpu().numpy()] = scores.cpu().numpy()
        return values

    def save(self, folder: str | Path) -> None:
        """Write the monitor to a folder, replacing the one that is there; the model is not part of it."""
        write_state(Path(folder), self.state)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        model: Any = None,
        tokenizer: Any = None,
        *,
        reference: Any = None,
        trust_remote_code: bool = False,
    ) -> Monitor:
        """Read what `save` wrote.

        Args:
            folder: the monitor's.
            model: the model in memory; None to load the one that was named, when it is first needed.
            tokenizer: its tokenizer.
            reference: as for `fit`, for a model in memory: the one that the monitor was fitted with, if it was.
            trust_remote_code: run code that comes with a model that is named. A monitor that was fitted so does not
                load its model without it, as its folder may be of somebody else.

        Raises:
            StoreError: there is no monitor, it is damaged, or it was fitted on another model or with another base.
        """
        state = read_state(Path(folder), trust_remote_code)
        code: dict[str, Any] = (
            {"trust_remote_code": True} if trust_remote_code and isinstance(model, str | Path) else {}
        )
        watched = None if model is None else watched_model(model, tokenizer, reference=reference, **code)[0]
        return cls(state, watched)
