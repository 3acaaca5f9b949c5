"""Heads: models trained on a base LM's activations, a normalising flow or a sparse autoencoder per site."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from madkit.heads.data import ActivationData
    from madkit.heads.density import LaplaceFlow
    from madkit.heads.flow import FlowHead
    from madkit.heads.sae import SAEHead
    from madkit.heads.stored import StoredActivations

__all__ = ["ActivationData", "FlowHead", "LaplaceFlow", "SAEHead", "StoredActivations"]

# Loaded when asked for: Lightning and sparsify take seconds to import, and a feature may need only one of them.
_LAZY = {
    "ActivationData": "madkit.heads.data",
    "FlowHead": "madkit.heads.flow",
    "LaplaceFlow": "madkit.heads.density",
    "SAEHead": "madkit.heads.sae",
    "StoredActivations": "madkit.heads.stored",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
