"""How a monitor is fitted: trusted prompts are shared out, read, and learned from."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from madkit.detection.detector import Detector
from madkit.features import Feature
from madkit.monitoring.default_detector import default_detector, require_fitting
from madkit.monitoring.generation_options import require_answer, require_options
from madkit.monitoring.held_out import hold_out
from madkit.monitoring.model_source import ModelSource
from madkit.monitoring.monitor_state import MonitorState
from madkit.monitoring.prediction import WatchedExtractor, predict
from madkit.monitoring.prompt_data import PromptData
from madkit.monitoring.prompt_source import Prompt
from madkit.monitoring.prompt_tokens import prompt_limit, tokenize
from madkit.monitoring.responses import response_scores
from madkit.monitoring.site_detectors import SiteDetectors, fit_sites
from madkit.monitoring.watched_model import WatchedModel
from madkit.store.variant import BASE_MODEL, Variant


def fit_state(
    watched: WatchedModel,
    source: ModelSource | None,
    prompts: Sequence[Prompt],
    *,
    features: list[Feature],
    detector: Detector | None,
    aggregation: str,
    calibration: int | float | None,
    max_length: int | None,
    batch_size: int,
    new_tokens: int,
    generation: dict[str, Any] | None,
    seed: int,
    progress: bool,
) -> MonitorState:
    """Fit a detector on some of the trusted prompts and score the others; see `Monitor.fit`.

    What the model makes of the prompts is kept in a temporary folder meanwhile, so memory holds one site at a time.

    Raises:
        ConfigError: an argument does not fit.
        DataError: there are too few prompts, or a value is NaN or infinite.
    """
    options = generation or {}
    require_options(watched.lm, new_tokens, options)
    limit = prompt_limit(watched.tokenizer, watched.lm, max_length, new_tokens)
    tokens = tokenize(watched.tokenizer, prompts, limit)
    parts = hold_out(tokens, calibration, seed)
    why = "as it was named"
    if detector is None:
        detector, why = default_detector(watched, len(parts.fit))
    require_fitting(detector, features, watched)
    if new_tokens:
        require_answer(watched, tokens, new_tokens, options)
    controls = [v.feature for v in detector.reads if not v.adapter]
    # The monitor's own: a feature remembers the model that it has met, and the list may be used for another one.
    read = [copy.deepcopy(f) for f in features if Variant(f.name) in detector.reads or f.name in controls]
    base = watched.base_fingerprint() if any(BASE_MODEL in f.needs for f in read) else "unknown"
    with tempfile.TemporaryDirectory(prefix="madkit-") as folder:
        extractor = WatchedExtractor(watched, read, controls, base)
        data = PromptData(tokens.select(parts.order), parts.splits, batch_size)
        predict(extractor, data, watched, Path(folder), progress=progress)
        sites, held_out = fit_sites(detector, extractor.stores, watched.device)
    scale, calibration_scores = np.split(held_out, [len(parts.scale)])
    widths = {variant: store.widths for variant, store in extractor.stores.items()}
    state = MonitorState(
        detectors=SiteDetectors(sites, aggregation, widths, scale),
        features=extractor.features,
        learned=extractor.learned,
        calibration=calibration_scores,
        lengths=tokens.lengths[parts.calibration],
        n_fit=len(parts.fit),
        why=why,
        base=base,
        max_length=limit,
        batch_size=batch_size,
        source=source,
        model=watched.fingerprint(),
        tokenizer=watched.tokenizer_fingerprint(),
        control=watched.control_fingerprint() if controls else None,
    )
    if not new_tokens:
        return state
    asked = PromptData(tokens.select(parts.calibration), batch_size=batch_size)
    responses = response_scores(state, watched, asked, new_tokens, options, seed)
    return replace(state, new_tokens=new_tokens, responses=np.sort(responses), generation=options)
