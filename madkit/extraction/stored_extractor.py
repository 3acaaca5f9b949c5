"""Flows and sparse autoencoders applied to stored activations, without the language model they were read from."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase as Tokenizer

from madkit.encoders.encoder_site import hookpoint_of, site_name
from madkit.errors import ConfigError
from madkit.extraction.store_writer import StoreWriter
from madkit.extraction.stored_data import StoredShards
from madkit.features.activations import entering_layer
from madkit.features.encoded import EncoderFeature
from madkit.features.feature import Feature, Reading
from madkit.lm import loading
from madkit.lm.hooks import Hookpoint, layer_names
from madkit.runs.atomic import write_json
from madkit.runs.folder import provenance, root_of
from madkit.store.feature_store import FeatureStore


class StoredExtractor(StoreWriter):
    """What flows and sparse autoencoders make of a run's stored activations, into the stores that `Extractor` writes.

    Activations are stored as the LM computed them, so this gives the same vectors in a store of the same key; of the
    base model, only configuration and tokenizer are loaded. The activations must hold what the encoders read:
    what leaves a layer is what enters the next.

    Args:
        base: hub name or folder of the base model.
        features: `Flow` and `SAE`; all others need the LM itself.
        trust_remote_code: run code that comes with the model.

    Raises:
        ConfigError: another feature is listed, or none.
    """

    #: The resolved recipe, beside that of the stage which made the activations.
    recipe = "predict-stored"

    def __init__(self, base: str, features: list[Feature], trust_remote_code: bool = False) -> None:
        super().__init__(features)
        self.base = base
        self.trust_remote_code = trust_remote_code
        others = [type(feature).__name__ for feature in features if not isinstance(feature, EncoderFeature)]
        if others or not features:
            raise ConfigError(
                f"model.features={others}: Flow and SAE, and only they, are made from stored activations; "
                "read other features from the LM, with model=Extractor as in predict.yaml"
            )

    @property
    def sources(self) -> list[str]:
        """The features whose stores are read."""
        return list(dict.fromkeys(source_of(feature) for feature in self.features))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The base model's tokenizer."""
        return loading.load_tokenizer(self.base, trust_remote_code=self.trust_remote_code)

    def setup(self, stage: str) -> None:
        """Open the stores and find the tensor that each encoder reads."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, StoredShards):
            raise ConfigError(f"data={type(data).__name__}: model=StoredExtractor reads data=StoredShards")
        lm = loading.skeleton(self.base, trust_remote_code=self.trust_remote_code)
        self.skeleton = [lm]  # in a list, lest its weightless modules be moved to the device with this one
        self.open_stores(lm, data.model)
        self.tensors = {f.name: _tensors(self.points[f.name], data.stores[source_of(f)], lm) for f in self.features}
        data.sites = {
            name: sorted({s for f in self.features if source_of(f) == name for s in self.tensors[f.name].values()})
            for name in data.stores
        }

    def read(self, features: Sequence[Feature], batch: dict[str, Any]) -> None:
        """Apply the encoders to a batch of stored vectors."""
        for feature in features:
            stored = batch["x"][source_of(feature)]
            values = {point: stored[site] for point, site in self.tensors[feature.name].items()}
            self.collect(feature, batch["row"], feature(Reading(self.skeleton[0], values, batch)))

    def sign(self, made: dict[str, str]) -> None:
        """Add these features to ``predict.json``, where the stage that read the LM has written one.

        Its time stays as it was: what else that stage should have made has not become newer.
        """
        path = root_of(self.trainer) / "predict.json"
        if not path.exists():
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        sources = {name: store.folder.name for name, store in data.stores.items()}
        whole = json.loads(path.read_text())
        whole["features"] |= made
        origin = {"made_from": sources, "made_by": provenance()}
        whole["stored"] = whole.get("stored", {}) | dict.fromkeys(made, origin)
        stamp = path.stat()
        write_json(path, whole)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def source_of(feature: Feature) -> str:
    """The feature whose store holds what an encoder reads."""
    return "activations" if feature.adapter else "base_activations"


def _tensors(points: Sequence[Hookpoint], store: FeatureStore, lm: nn.Module) -> dict[Hookpoint, str]:
    """The site of a store that holds each tensor.

    Raises:
        ConfigError: it holds none of them.
    """
    names = layer_names(lm)
    held = {entering_layer(hookpoint_of(site), names): site for site in store.sites}
    found = {}
    for point in points:
        layer = entering_layer(point, names)
        if layer is None or layer not in held:
            what, way = "no layer's input or output", "read it from the LM, with predict-encoders.yaml"
            if layer is not None:
                what = f"what enters layer {layer}" if layer < len(names) else "what leaves the last layer"
                options = "first and step" if layer < len(names) else "final=true"
                way = f"choose {options} of Activations in predict.yaml so that it is stored, and run `madkit predict`"
            raise ConfigError(
                f"an encoder reads {site_name(point)!r}, {what}, which store {str(store.folder)!r} does not hold (it "
                f"has {', '.join(store.sites)}): {way}, or choose other encoders by `sites`"
            )
        found[point] = held[layer]
    return found
