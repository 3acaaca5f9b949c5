"""Flows and sparse autoencoders applied to stored activations, without the language model they were read from."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase as Tokenizer
from typing_extensions import override

from madkit.encoders.encoder_site import hookpoint_of, site_name
from madkit.errors import ConfigError, StoreError
from madkit.extraction.store_writer import MARKER, StoreWriter
from madkit.extraction.stored_data import StoredShards
from madkit.features.activations import entering_layer
from madkit.features.encoder_feature import EncoderFeature
from madkit.features.feature import Feature
from madkit.features.trace import Trace
from madkit.lm import loading
from madkit.lm.hooks import Hookpoint
from madkit.lm.text_decoder import layer_names
from madkit.runs.atomic import write_json
from madkit.runs.folder import provenance, root_of
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant
from madkit.training.lightning_internals import datamodule_of


class StoredExtractor(StoreWriter):
    """What flows and sparse autoencoders make of a run's stored activations, into the stores that `Extractor` writes.

    Activations are stored as the LM computed them, so this gives the same vectors in a store of the same key; of the
    base model, only configuration and tokenizer are loaded. The activations must hold the tensors that the encoders
    read: what leaves a layer is what enters the next.

    Args:
        base: hub name or folder of the base model.
        features: `Flow` and `SAE`; all others need the LM itself.
        controls: names of those to make of the activations with the adapter off, too.
        trust_remote_code: run code that comes with the model.

    Raises:
        ConfigError: another feature is listed, or none.
    """

    #: The resolved recipe, beside that of the stage which made the activations.
    recipe = "predict-stored"

    def __init__(
        self,
        base: str,
        features: list[Feature],
        controls: list[str] | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(features, controls)
        self.base = base
        self.trust_remote_code = trust_remote_code
        others = [type(feature).__name__ for feature in features if not isinstance(feature, EncoderFeature)]
        if others or not features:
            raise ConfigError(
                f"model.features={others}: Flow and SAE, and only they, are made from stored activations; "
                "read other features from the LM, with model=Extractor as in predict.yaml"
            )

    @property
    def data(self) -> StoredShards:
        """The stored activations."""
        data: StoredShards = datamodule_of(self, StoredShards)
        return data

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The base model's tokenizer."""
        return loading.load_tokenizer(self.base, trust_remote_code=self.trust_remote_code)

    def setup(self, stage: str) -> None:
        """Open the stores and look up the site that holds the tensor of each encoder."""
        self.data.open(list(dict.fromkeys(_source(variant) for variant in self.features)), self.tokenizer)
        lm = loading.skeleton(self.base, trust_remote_code=self.trust_remote_code)
        self.skeleton = [lm]  # in a list, so that its weightless modules are not moved to the device with this one
        self.open_stores(lm, self.data.identity)
        self.stored_sites = {
            variant: stored_sites(self.hookpoints[variant.feature], self.data.stores[_source(variant)], lm)
            for variant in self.features
        }
        for source in self.data.stores:
            sites = [self.stored_sites[variant].values() for variant in self.features if _source(variant) == source]
            self.data.sites[source] = sorted({site for group in sites for site in group})

    @override
    def compute(self, variants: Sequence[Variant], batch: dict[str, Any]) -> None:
        for variant in variants:
            stored = batch["x"][_source(variant)]
            activations = {hookpoint: stored[site] for hookpoint, site in self.stored_sites[variant].items()}
            vectors = self.features[variant](Trace(self.skeleton[0], activations, batch))
            self.collect(variant, batch["row"], vectors)

    @override
    def sign(self, keys: dict[str, str]) -> None:
        """Add these features to ``predict.json``, where the stage that read the LM has written one.

        Its time stays as it was: what else that stage should have made has not become newer.
        """
        path = root_of(self.trainer) / MARKER
        if not path.exists():
            return
        sources = {str(variant): store.folder.name for variant, store in self.data.stores.items()}
        origin = {"made_from": sources, "made_by": provenance()}
        try:
            content = json.loads(path.read_text())
            content["features"] |= keys
            content["stored"] = content.get("stored", {}) | dict.fromkeys(keys, origin)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(f"{str(path)!r} is damaged; run `madkit predict` with predict.yaml again") from None
        stamp = path.stat()
        write_json(path, content)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def _source(variant: Variant) -> Variant:
    """The activations that an encoder's feature is made from."""
    return Variant("activations", variant.adapter)


def stored_sites(hookpoints: Sequence[Hookpoint], store: FeatureStore, lm: nn.Module) -> dict[Hookpoint, str]:
    """The site of a store that holds each tensor.

    Raises:
        ConfigError: the store does not hold one of them.
    """
    names = layer_names(lm)
    site_of_layer = {entering_layer(hookpoint_of(site), names): site for site in store.sites}
    sites = {}
    for hookpoint in hookpoints:
        layer = entering_layer(hookpoint, names)
        if layer is None or layer not in site_of_layer:
            what, way = "no layer's input or output", "read it from the LM, with predict-encoders.yaml"
            if layer is not None:
                what = f"what enters layer {layer}" if layer < len(names) else "what leaves the last layer"
                options = "first and step" if layer < len(names) else "final=true"
                way = f"choose {options} of Activations in predict.yaml so that it is stored, and run `madkit predict`"
            raise ConfigError(
                f"an encoder reads {site_name(hookpoint)!r}, {what}, which store {str(store.folder)!r} does not hold "
                f"(it has {', '.join(store.sites)}): {way}, or choose other encoders by `subfolders`"
            )
        sites[hookpoint] = site_of_layer[layer]
    return sites
