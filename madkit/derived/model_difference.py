"""What features have in common that compare the tuned model with its base."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from madkit.derived.derived_feature import DerivedFeature, DerivedSite
from madkit.errors import StoreError
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant


class ModelDifference(DerivedFeature):
    """A feature made of a stored one with the adapter off and with it on, in this order, at each of its sites.

    Args:
        feature: the stored feature, which has to be among the ``controls`` of `madkit predict` too.
    """

    needs = ("base model",)

    @override
    def variants(self) -> list[Variant]:
        return [Variant(self.feature, adapter=False), Variant(self.feature)]

    @override
    def sites(self, stored: Mapping[Variant, FeatureStore]) -> list[DerivedSite]:
        base, tuned = self.variants()
        if missing := set(stored[tuned].sites) ^ set(stored[base].sites):
            raise StoreError(
                f"features {str(tuned)!r} and {str(base)!r} differ in their sites ({', '.join(sorted(missing)[:3])}): "
                "run `madkit predict` again with both in one recipe"
            )
        layers = stored[tuned].layers
        return [DerivedSite(site, layers[site], ((base, site), (tuned, site))) for site in stored[tuned].sites]
