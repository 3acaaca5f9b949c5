"""Which detectors of a recipe can be made of what a run has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from madkit.detection.detector import Detector
from madkit.errors import StoreError
from madkit.statistics.aggregation import CALIBRATED
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant


def available(
    detectors: Sequence[Detector], aggregations: Sequence[str], untrusted: str, run: Path
) -> tuple[list[Detector], list[str], list[str]]:
    """Leave out what reads features or splits that a run does not have.

    Args:
        detectors: those of a recipe.
        aggregations: those of a recipe.
        untrusted: the split that offline scores learn from.
        run: the run folder.

    Returns:
        The detectors and aggregations that are left, and what is left out, each with its reason.

    Raises:
        StoreError: none is left, or a store is damaged.
    """
    reads = {variant for detector in detectors for variant in detector.reads}
    stores = {v: FeatureStore.current(v.folder(run)) for v in reads if (v.folder(run) / "current.json").exists()}
    splits = {split for split in ("calibration", untrusted) if any(store.count(split) for store in stores.values())}
    kept, left_out = [], []
    for detector in detectors:
        reasons = [f"no {variant}" for variant in detector.reads if variant not in stores]
        if detector.background and "calibration" not in splits:
            reasons.append("no calibration prompts")
        if detector.score.offline and untrusted not in splits:
            reasons.append(f"no {untrusted} prompts")
        if reasons:
            left_out.append(f"{Variant(*detector.key[0])}/{detector.key[1]} ({', '.join(dict.fromkeys(reasons))})")
        else:
            kept.append(detector)
    if not kept:
        raise StoreError(f"{str(run)!r} has what no detector of the recipe reads: {'; '.join(left_out)}")
    calibrated = [] if "calibration" in splits else [name for name in aggregations if name in CALIBRATED]
    left_out += [f"aggregation {name} (no calibration prompts)" for name in calibrated]
    return kept, [name for name in aggregations if name not in calibrated], left_out
