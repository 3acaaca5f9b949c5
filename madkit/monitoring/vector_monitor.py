"""VectorMonitor: a monitor of vectors that another program has read from a model."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.detection.detector import Detector
from madkit.errors import ConfigError, DataError, StoreError
from madkit.monitoring.default_detector import first_choice, require_unlabelled
from madkit.monitoring.held_out import numbered, share_out
from madkit.monitoring.monitor_folder import read_state, write_state
from madkit.monitoring.monitor_state import MonitorState
from madkit.monitoring.site_detectors import SiteDetectors, fit_sites
from madkit.statistics.conformal import require_rate
from madkit.store.feature_store import FeatureStore
from madkit.store.imported import checked_vectors, import_vectors
from madkit.store.variant import Variant

#: What the vectors are called, so that detectors can name them.
FEATURE = "activations"
#: What stands for the model's fingerprint, which is not known here.
_MODEL = "vectors"
_TUNED, _BASE = Variant(FEATURE), Variant(FEATURE, adapter=False)


class VectorMonitor:
    """What `Monitor` is for prompts and a model, for vectors that are there already.

    It makes the same promise: of prompts like the trusted ones at most a share `fpr` alarms. Whether new vectors are of
    the same model, it cannot know.

    Made by `fit` or `load`.

    Args:
        state: what was fitted.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> monitor = VectorMonitor.fit({"layer.4": rng.normal(size=(300, 8))})
        >>> monitor.score({"layer.4": rng.normal([[0.0], [9.0]], 1, size=(2, 8))}, fpr=0.05)["alarm"].tolist()
        [False, True]
    """

    def __init__(self, state: MonitorState) -> None:
        self.state = state

    @classmethod
    def fit(
        cls,
        vectors: Any,
        base: Any = None,
        *,
        detector: Detector | None = None,
        aggregation: str = "zscore",
        calibration: int | float | None = None,
        seed: int = 0,
    ) -> VectorMonitor:
        """Fit a monitor.

        Args:
            vectors: of n trusted prompts: by site (n, d) arrays, tensors or frames; or one of them alone. A site may be
                called by its number.
            base: of the same prompts and sites, from the model that the watched one was made of.
            detector: a score of the feature ``activations``; None for the first choice of ``docs/detectors.md``, as in
                `Monitor.fit`.
            aggregation: how scores at all sites become one; see `madkit.statistics.aggregate`.
            calibration: how many of the prompts, or which share, are held out for p-values; None for a third.
            seed: which ones.

        Raises:
            ConfigError: the detector needs what is not there.
            DataError: vectors have other shapes, NaN or infinite values, or are too few; or a site is called like a
                column of `score`'s table.
        """
        read = _by_variant(vectors, base)
        parts = share_out(_equal_rows(read), calibration, seed)
        why = "as it was named"
        if detector is None:
            width = max(x.shape[1] for x in read[_TUNED].values())
            detector, why = first_choice(width, len(parts.fit), None if base is None else "those of the base are given")
        require_unlabelled(detector)
        if missing := [str(variant) for variant in detector.reads if variant not in read]:
            raise ConfigError(f"detector reads {', '.join(missing)} and vectors are {FEATURE}: give `base`, or another")
        with tempfile.TemporaryDirectory(prefix="madkit-") as folder:
            stores: dict[Variant, FeatureStore] = {}
            for variant, sites in read.items():
                chosen = {site: x[torch.from_numpy(parts.order)] for site, x in sites.items()}
                rows = pd.DataFrame({"split": parts.splits})
                stores[variant] = import_vectors(chosen, rows, folder, variant.feature, variant.adapter)
            fitted, held_out = fit_sites(detector, stores, torch.device("cpu"))
        scale, calibration_scores = np.split(held_out, [len(parts.scale)])
        return cls(
            MonitorState(
                detectors=SiteDetectors(fitted, aggregation, {}, scale),
                features={},
                learned={},
                calibration=calibration_scores,
                lengths=np.zeros(len(parts.calibration), dtype=np.int64),
                n_fit=len(parts.fit),
                why=why,
                base=_MODEL,
                max_length=0,
                batch_size=1,
                source=None,
                model=_MODEL,
                tokenizer=_MODEL,
            )
        )

    @property
    def description(self) -> str:
        """What it looks at and why, and what it can promise."""
        return self.state.description()

    def __repr__(self) -> str:
        return (
            f"VectorMonitor({', '.join(self.state.detectors.names)}; {len(self.state.calibration)} calibration prompts)"
        )

    def score(self, vectors: Any, base: Any = None, fpr: float = 0.01, *, fdr: float | None = None) -> pd.DataFrame:
        """Score the vectors of new prompts.

        Args:
            vectors: as for `fit`, of the same sites.
            base: as for `fit`, where it was given there.
            fpr: the share of prompts like the trusted ones that may alarm.
            fdr: in place of `fpr`, the share of alarms that may be false (Benjamini-Hochberg).

        Returns:
            As `Monitor.score`.

        Raises:
            ConfigError: `fpr` is out of range or below what the calibration prompts can promise.
            DataError: a site is missing, or vectors have other shapes, NaN or infinite values.
        """
        rate = require_rate(fpr if fdr is None else fdr, len(self.state.calibration))
        read = _by_variant(vectors, base)
        wanted = {source for each in self.state.detectors.sites for source in each.site.sources}
        if missing := sorted(
            {name if v.adapter else f"{name} of base" for v, name in wanted if name not in read.get(v, {})}
        ):
            raise DataError(f"vectors lack {', '.join(missing)}, which this monitor was fitted on: give them")
        with torch.no_grad():
            site_scores = self.state.detectors.site_scores(read).numpy()
        return self.state.table(site_scores, rate, select=fdr is not None)

    def save(self, folder: str | Path) -> None:
        """Write the monitor to a folder, replacing the one that is there."""
        write_state(Path(folder), self.state)

    @classmethod
    def load(cls, folder: str | Path) -> VectorMonitor:
        """Read what `save` wrote.

        Raises:
            StoreError: there is none, it is damaged, or it is a monitor of a model.
        """
        state = read_state(Path(folder))
        if state.features or state.model != _MODEL:
            raise StoreError(f"folder={str(folder)!r} holds a monitor of a model: read it by madkit.Monitor.load")
        return cls(state)


def _by_variant(vectors: Any, base: Any) -> dict[Variant, dict[str, Tensor]]:
    """The checked vectors of the model, and of its base where they are given."""
    named = {_TUNED: vectors} if base is None else {_TUNED: vectors, _BASE: base}
    read = {v: checked_vectors(x if isinstance(x, Mapping) else {"vectors": x}) for v, x in named.items()}
    if base is not None and (read[_TUNED].keys() != read[_BASE].keys()):
        raise DataError(f"base has the sites {', '.join(read[_BASE])}: give {', '.join(read[_TUNED])}")
    if len(counts := {len(x) for sites in read.values() for x in sites.values()}) > 1:
        raise DataError(f"vectors are of {sorted(counts)} prompts: give each prompt one at each site")
    return read


def _equal_rows(read: Mapping[Variant, Mapping[str, Tensor]]) -> NDArray[np.int64]:
    """A number (n,) for each prompt, the same for those that are equal at every site."""
    sites = [x.double().contiguous().numpy() for sites in read.values() for x in sites.values()]
    rows = zip(*sites, strict=True)
    return numbered(hashlib.blake2b(b"".join(x.tobytes() for x in row), digest_size=16).digest() for row in rows)
