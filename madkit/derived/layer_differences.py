"""What each layer, or group of layers, adds to the residual stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor
from typing_extensions import override

from madkit.derived.derived_feature import DerivedFeature, DerivedSite
from madkit.errors import DataError, StoreError
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant


class LayerDifferences(DerivedFeature):
    """The vector at a site minus that at the site before it; a site is called by the later of the two.

    Source: the features of layer-wise consistency detectors, arXiv 2604.24542.

    Args:
        feature: a stored feature whose sites are layers, with vectors of one length.
        adapter: whether the adapter is on.

    Example:
        >>> import torch
        >>> LayerDifferences()([torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 1.0]])])
        tensor([[2., 0.]], dtype=torch.float64)
    """

    def __init__(self, feature: str = "activations", adapter: bool = True) -> None:
        super().__init__(feature)
        self.adapter = adapter

    @override
    def variants(self) -> list[Variant]:
        return [Variant(self.feature, self.adapter)]

    @override
    def sites(self, stored: Mapping[Variant, FeatureStore]) -> list[DerivedSite]:
        (variant,) = self.variants()
        names, layers = stored[variant].sites, stored[variant].layers
        if len(names) < 2:
            raise StoreError(f"feature {str(variant)!r} has one site, {names}: layer differences need two or more")
        return [
            DerivedSite(after, layers[after], ((variant, before), (variant, after)))
            for before, after in pairwise(names)
        ]

    @override
    def vectors(self, sources: Sequence[Tensor], trusted: bool) -> Tensor:
        before, after = sources
        if before.shape != after.shape:
            raise DataError(
                f"feature={self.feature!r} has vectors of {before.shape[1]} and {after.shape[1]} numbers at "
                "neighbouring sites: take layer differences of the residual stream"
            )
        return after - before
