"""What goes in: quirky datasets, names, templates, tokens, and the data modules that serve them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from madkit.data.corpus import CorpusData
    from madkit.data.quirky import QuirkyData

__all__ = ["CorpusData", "QuirkyData"]

# Loaded when asked for: Lightning and torch take seconds to import, names and tasks need neither.
_LAZY = {"CorpusData": "madkit.data.corpus", "QuirkyData": "madkit.data.quirky"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
