"""Whether a model is the one that a monitor was fitted on, and what it is compared with, too."""

from __future__ import annotations

from madkit.errors import StoreError
from madkit.monitoring.monitor_state import MonitorState
from madkit.monitoring.watched_model import WatchedModel

_WAY_OUT = "other weights, number format, adapter or template; use that one, or fit a monitor anew"


def require_same(state: MonitorState, watched: WatchedModel) -> None:
    """Refuse another model, tokenizer or base than those that a monitor was fitted on: scores would mean nothing.

    Args:
        state: of the monitor.
        watched: the model; its tokenizer may be missing, where tokens are at hand.

    Raises:
        StoreError: one of them is another, or the base is missing.
    """
    compared = [("model", state.model, watched.fingerprint())]
    if watched.tokenizer is not None:
        compared.append(("tokenizer", state.tokenizer, watched.tokenizer_fingerprint()))
    for what, fitted, now in compared:
        if fitted != now:
            raise StoreError(
                f"this monitor was fitted on another {what} (fingerprint {fitted}) than this one ({now}): {_WAY_OUT}"
            )
    if state.compares:
        _require_same_base(state, watched)


def _require_same_base(state: MonitorState, watched: WatchedModel) -> None:
    control = watched.control_fingerprint()
    if control is None and state.control is not None:
        raise StoreError(
            "this monitor compares with a base model, which is not there: give it as `reference` to "
            "Monitor.load(folder, model, tokenizer, reference=...)"
        )
    if control is not None and state.control is None:
        raise StoreError(
            "this monitor compares with the model whose adapter is switched off, and not with another: leave "
            "`reference` out"
        )
    if control != state.control:
        raise StoreError(
            f"this monitor compares with another base model (fingerprint {state.control}) than this `reference` "
            f"({control}): {_WAY_OUT}"
        )
    if control is None and not watched.has_adapter:
        raise StoreError(
            "this monitor compares with the model whose adapter is switched off, and this one's cannot be: give the "
            "PEFT model"
        )
