"""The folder of a monitor: ``monitor.json``, safetensors, and its fitted scores as `SavedModule` saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import madkit
from madkit.derived import DerivedFeature, DerivedSite
from madkit.errors import ConfigError, StoreError
from madkit.features import Feature
from madkit.monitoring.generation_options import plain_options
from madkit.monitoring.model_source import ModelSource
from madkit.monitoring.monitor_state import MonitorState
from madkit.monitoring.site_detectors import SiteDetector, SiteDetectors
from madkit.runs.atomic import write_atomically, write_json
from madkit.runs.fingerprints import digest
from madkit.runs.plain_files import read_json
from madkit.scores import Score
from madkit.store.tensor_file import TensorFile
from madkit.store.variant import Variant

FORMAT = 2
FILE, NUMBERS = "monitor.json", "monitor.safetensors"
#: What of a state stands in the file as it is.
_PLAIN = ("model", "tokenizer", "control", "base", "n_fit", "new_tokens", "why", "max_length", "batch_size")
_WAY_OUT = "fit the monitor again, or copy it again from where it was made"


def write_state(folder: Path, state: MonitorState) -> None:
    """Write what a monitor has learned to a folder, all of it or nothing.

    Raises:
        StoreError: something else is there, or it cannot be written.
    """
    require_free(folder)
    write_atomically(folder, lambda partial: _write(partial, state))


def _write(folder: Path, state: MonitorState) -> None:
    folder.mkdir()
    for each in state.detectors.sites:
        each.score.save(folder / "scores" / each.site.name)
        if each.made is not None:
            each.made.save(folder / "derived" / each.site.name)
    for variant, tensors in state.learned.items():
        if tensors:
            TensorFile.save(folder / "learned" / f"{_slug(variant)}.safetensors", tensors)
    numbers = {"scale": state.detectors.scale, "calibration": state.calibration, "lengths": state.lengths}
    if state.new_tokens:
        numbers["responses"] = state.responses
    for name in ("stream", "stream_responses"):
        if getattr(state, name) is not None:
            numbers[name] = getattr(state, name)
    TensorFile.save(folder / NUMBERS, {name: torch.from_numpy(x.copy()) for name, x in numbers.items()})
    content = {
        "format": FORMAT,
        "madkit": madkit.__version__,
        "source": None if state.source is None else state.source.plain(),
        "generation": plain_options(state.generation),
        "features": [
            {"class": _path(type(feature)), "options": feature.config, "adapter": variant.adapter}
            for variant, feature in state.features.items()
        ],
        "sites": [
            {
                "name": each.site.name,
                "layer": each.site.layer,
                "sources": [[v.feature, v.adapter, site] for v, site in each.site.sources],
                "derived": each.made is not None,
            }
            for each in state.detectors.sites
        ],
        "widths": [[v.feature, v.adapter, widths] for v, widths in state.detectors.widths.items() if widths],
        "aggregation": state.detectors.aggregation,
        **{key: getattr(state, key) for key in _PLAIN},
    }
    try:
        write_json(folder / FILE, {**content, "checksum": digest(json.loads(json.dumps(content)))})
    except TypeError as error:
        raise ConfigError(f"a feature has an option that JSON cannot hold ({error}): use plain values") from error


def read_state(folder: Path, trust_remote_code: bool = False) -> MonitorState:
    """Read what `write_state` wrote; no code is imported by what the files say.

    Args:
        folder: the monitor's.
        trust_remote_code: run code that comes with the model, if the files say so too, when it is loaded.

    Raises:
        StoreError: there is none, or it is damaged, of another format, or names an unknown feature or score.
    """
    if not (folder / FILE).is_file():
        raise StoreError(f"folder={str(folder)!r} holds no monitor ({FILE}): make one with `madkit watch fit`")
    said = read_json(folder / FILE, _WAY_OUT)
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        found = said.get("format") if isinstance(said, dict) else None
        raise StoreError(f"monitor {str(folder)!r} has format {found!r}, and this madkit reads {FORMAT}: {_WAY_OUT}")
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
    return MonitorState(
        detectors=SiteDetectors(sites, said["aggregation"], widths, numbers.read("scale").numpy()),
        features=features,
        learned=learned,
        calibration=numbers.read("calibration").numpy(),
        lengths=numbers.read("lengths").numpy(),
        responses=numbers.read("responses").numpy() if "responses" in numbers.shapes else np.empty(0),
        generation=plain_options(said["generation"]),
        stream=_optional(numbers, "stream"),
        stream_responses=_optional(numbers, "stream_responses"),
        source=None if said["source"] is None else ModelSource.read(said["source"], trust_remote_code),
        **{key: said[key] for key in _PLAIN},
    )


def _optional(numbers: TensorFile, name: str) -> NDArray[np.float64] | None:
    return numbers.read(name).numpy() if name in numbers.shapes else None


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
