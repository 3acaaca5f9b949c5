"""The stores that a run's next stage reads: the last complete ones, and only if they belong together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from madkit.errors import StoreError
from madkit.runs import fingerprints
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant


def matching_stores(
    run: Path, variants: Sequence[Variant], parts: Sequence[str] = ("base", "adapter", "prompts")
) -> dict[Variant, FeatureStore]:
    """Open the current stores of some features.

    Args:
        run: the run folder.
        variants: features, each with the adapter on or off.
        parts: in what their identities must be equal.

    Raises:
        StoreError: one is missing, incomplete, was made by another adapter than the run's, or differs from the first in
            one of the parts.
    """
    stores = {variant: FeatureStore.current(variant.folder(run)) for variant in variants}
    adapter = run / "adapter"
    expected = fingerprints.fingerprint(str(adapter)) if adapter.exists() else None
    first = next(iter(stores.values()))
    for store in stores.values():
        if expected is not None and store.identity["adapter"] != expected:
            raise StoreError(
                f"store {str(store.folder)!r} was made by another adapter ({store.identity['adapter']}) than "
                f"{str(adapter)!r} ({expected}); run `madkit predict` again"
            )
        for part in parts:
            if store.identity[part] != first.identity[part]:
                raise StoreError(
                    f"stores {str(first.folder)!r} and {str(store.folder)!r} differ in {part}; "
                    "run `madkit predict` again with all features in one recipe"
                )
    return stores
