"""Language models: loading, training, and reading what passes through them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from madkit.lm.muon import Muon
    from madkit.lm.pretraining import BaseLM
    from madkit.lm.tuning import QuirkyLM

__all__ = ["BaseLM", "Muon", "QuirkyLM"]

# Loaded when asked for, because reading a fingerprint should not wait for Lightning.
_LAZY = {"BaseLM": "madkit.lm.pretraining", "Muon": "madkit.lm.muon", "QuirkyLM": "madkit.lm.tuning"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
