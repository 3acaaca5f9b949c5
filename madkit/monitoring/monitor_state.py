"""MonitorState: all that a monitor has learned, in memory and in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import madkit
from madkit.derived import DerivedFeature, DerivedSite
from madkit.errors import ConfigError, StoreError
from madkit.extraction.forward_pass import read_features
from madkit.extraction.trusted_statistics import require_finite
from madkit.features import Feature
from madkit.lm.hooks import Hookpoint
from madkit.monitoring.model_source import ModelSource
from madkit.monitoring.site_detectors import SiteDetector, SiteDetectors
from madkit.monitoring.watched_model import WatchedModel
from madkit.runs.atomic import write_atomically, write_json
from madkit.runs.fingerprints import digest
from madkit.runs.plain_files import read_json
from madkit.scores import Score
from madkit.statistics import realised_rate, smallest_rate
from madkit.store.tensor_file import TensorFile
from madkit.store.variant import Variant

FORMAT = 1
FILE, NUMBERS = "monitor.json", "monitor.safetensors"
_WAY_OUT = "fit the monitor again, or copy it again from where it was made"


@dataclass
class MonitorState:
    """What was fitted, and which model it is for."""

    detectors: SiteDetectors
    """The fitted scores."""
    features: dict[Variant, Feature]
    """What they read."""
    learned: dict[Variant, dict[str, Tensor]]
    """What the features have learned of trusted prompts."""
    calibration: NDArray[np.float64]
    """Scores (m, sites) of the held-out prompts that p-values are taken among."""
    lengths: NDArray[np.int64]
    """Their numbers of tokens (m,)."""
    n_fit: int
    """How many prompts the scores were fitted on."""
    why: str
    """Why this detector, in words."""
    base: str
    """The fingerprint of the base's files, where a feature has to know."""
    max_length: int
    """Longer prompts lose tokens on the left."""
    batch_size: int
    """Prompts in one forward pass."""
    source: ModelSource | None
    """The model by its name; None where it was in memory."""
    model: str
    """The fingerprint of its weights."""
    tokenizer: str
    """The fingerprint of its tokenizer."""
    _hookpoints: dict[str, list[Hookpoint]] = field(default_factory=dict)
    _ready: WatchedModel | None = None

    def description(self) -> str:
        """What it looks at and why, and what it can promise."""
        m = len(self.calibration)
        least = smallest_rate(m)
        return "\n".join(
            [
                f"Watched: {self.why}.",
                f"Sites: {', '.join(self.detectors.names)} (together: {self.detectors.aggregation}).",
                f"Fitted on {self.n_fit} trusted prompts; {len(self.detectors.scale)} measure the sites; p-values are "
                f"among {m} others.",
                f"The smallest false-alarm rate that it can promise is {least:.3g}, on average over monitors that are "
                f"made so; nine in ten of them have at most {realised_rate(least, m):.2g}.",
            ]
        )

    def prepare(self, watched: WatchedModel) -> None:
        """Make ready for a model, which is the one that it was fitted on."""
        if self._ready is watched:
            return
        for feature in self.features.values():
            feature.prepare(watched.lm, self.base, Path("monitor"))
        self._hookpoints = {v.feature: feature.hookpoints(watched.lm) for v, feature in self.features.items()}
        self.learned = {
            v: {name: x.to(watched.device) for name, x in self.learned.get(v, {}).items()} for v in self.features
        }
        self.detectors.to(watched.device)
        self._ready = watched

    def score_batch(self, watched: WatchedModel, batch: dict[str, Any]) -> Tensor:
        """Scores (b, sites) of a batch of prompts.

        Raises:
            DataError: a vector is NaN or infinite.
        """
        vectors: dict[Variant, Mapping[str, Tensor]] = {}
        for adapter in (True, False):
            group = {v: feature for v, feature in self.features.items() if v.adapter is adapter}
            if not group:
                continue
            for variant, found in read_features(
                watched.model, watched.control, group, self._hookpoints, self.learned, batch
            ):
                for site, x in found.items():
                    require_finite(variant, site, x, batch["row"])
                vectors[variant] = found
        return self.detectors.site_scores(vectors)

    def save(self, folder: Path) -> None:
        """Write it to a folder, all of it or nothing.

        Raises:
            StoreError: something else is there, or it cannot be written.
        """
        require_free(folder)
        write_atomically(folder, self._write)

    def _write(self, folder: Path) -> None:
        folder.mkdir()
        for each in self.detectors.sites:
            each.score.save(folder / "scores" / each.site.name)
            if each.made is not None:
                each.made.save(folder / "derived" / each.site.name)
        for variant, tensors in self.learned.items():
            if tensors:
                TensorFile.save(folder / "learned" / f"{_slug(variant)}.safetensors", tensors)
        numbers = {"scale": self.detectors.scale, "calibration": self.calibration, "lengths": self.lengths}
        TensorFile.save(folder / NUMBERS, {name: torch.from_numpy(x.copy()) for name, x in numbers.items()})
        content = {
            "format": FORMAT,
            "madkit": madkit.__version__,
            "model": self.model,
            "tokenizer": self.tokenizer,
            "source": None if self.source is None else self.source.plain(),
            "base": self.base,
            "features": [
                {"class": _path(type(feature)), "options": feature.config, "adapter": variant.adapter}
                for variant, feature in self.features.items()
            ],
            "sites": [
                {
                    "name": each.site.name,
                    "layer": each.site.layer,
                    "sources": [[v.feature, v.adapter, site] for v, site in each.site.sources],
                    "derived": each.made is not None,
                }
                for each in self.detectors.sites
            ],
            "widths": [[v.feature, v.adapter, widths] for v, widths in self.detectors.widths.items() if widths],
            "aggregation": self.detectors.aggregation,
            "n_fit": self.n_fit,
            "why": self.why,
            "max_length": self.max_length,
            "batch_size": self.batch_size,
        }
        try:
            write_json(folder / FILE, {**content, "checksum": digest(json.loads(json.dumps(content)))})
        except TypeError as error:
            raise ConfigError(f"a feature has an option that JSON cannot hold ({error}): use plain values") from error

    @classmethod
    def load(cls, folder: Path) -> MonitorState:
        """Read what `save` wrote; no code is imported by what the files say.

        Raises:
            StoreError: there is none, or it is damaged, of another format, or names an unknown feature or score.
        """
        if not (folder / FILE).is_file():
            raise StoreError(f"folder={str(folder)!r} holds no monitor ({FILE}): make one with `madkit watch fit`")
        said = read_json(folder / FILE, _WAY_OUT)
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            found = said.get("format") if isinstance(said, dict) else None
            raise StoreError(
                f"monitor {str(folder)!r} has format {found!r}, and this madkit reads {FORMAT}: {_WAY_OUT}"
            )
        if said.pop("checksum", None) != digest(said):
            raise StoreError(f"{str(folder / FILE)!r} was damaged or changed: {_WAY_OUT}")
        features: dict[Variant, Feature] = {}
        for each in said["features"]:
            feature = _feature_class(each["class"], folder)(**each["options"])
            features[Variant(feature.name, each["adapter"])] = feature
        numbers = TensorFile(folder / NUMBERS)
        sites = []
        for each in said["sites"]:
            sources = tuple((Variant(name, adapter), site) for name, adapter, site in each["sources"])
            made = DerivedFeature.load(folder / "derived" / each["name"]) if each["derived"] else None
            score = Score.load(folder / "scores" / each["name"])
            sites.append(SiteDetector(DerivedSite(each["name"], each["layer"], sources), score, made))
        widths = {Variant(name, adapter): found for name, adapter, found in said["widths"]}
        learned = {}
        for variant in features:
            file = folder / "learned" / f"{_slug(variant)}.safetensors"
            found = TensorFile(file) if file.is_file() else None
            learned[variant] = {} if found is None else {name: found.read(name) for name in found.shapes}
        return cls(
            detectors=SiteDetectors(sites, said["aggregation"], widths, numbers.read("scale").numpy()),
            features=features,
            learned=learned,
            calibration=numbers.read("calibration").numpy(),
            lengths=numbers.read("lengths").numpy(),
            source=None if said["source"] is None else ModelSource(**said["source"]),
            **{key: said[key] for key in ("n_fit", "why", "base", "max_length", "batch_size", "model", "tokenizer")},
        )


def require_free(folder: Path) -> None:
    """Refuse to replace a folder that holds something else than a monitor.

    Raises:
        StoreError: it does.
    """
    if folder.exists() and not (folder / FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"folder={str(folder)!r} is there and holds no monitor: name a new folder")


def _slug(variant: Variant) -> str:
    return variant.feature if variant.adapter else f"{variant.feature}.control"


def _path(cls: type) -> str:
    """The bare name of a class of madkit's, ``module.Class`` of anybody else's."""
    return cls.__qualname__ if cls.__module__.startswith("madkit.") else f"{cls.__module__}.{cls.__qualname__}"


def _feature_class(path: str, folder: Path) -> type[Feature]:
    """The class of a feature, among those that have been imported."""
    classes: list[Any] = [Feature]
    for cls in classes:
        classes += cls.__subclasses__()
    found = next((cls for cls in classes if _path(cls) == path), None)
    if found is None:
        raise StoreError(f"monitor {str(folder)!r} reads the unknown feature {path!r}: import its module, then load")
    return found
