"""The background ratio: how much more unusual a prompt is for the tuned model than for its base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from madkit.detection.detector import Detector
from madkit.detection.site_scores import SiteKey, SiteScores
from madkit.detection.supervised_probe import PROBE
from madkit.errors import DataError, StoreError

#: Scores of test and of calibration prompts.
_Column = tuple[NDArray[np.float64], NDArray[np.float64]]


def fitted_detectors(detectors: Sequence[Detector]) -> list[Detector]:
    """What has to be fitted for some detectors: a ratio takes its score with the adapter on and with it off."""
    parts = [part for detector in detectors for part in detector.parts]
    return list({part.key: part for part in parts}.values())


def listed_scores(sites: Mapping[SiteKey, SiteScores], detectors: Sequence[Detector]) -> dict[SiteKey, SiteScores]:
    """The scores of the detectors at each of their sites, made of those of what was fitted.

    Args:
        sites: scores of `fitted_detectors`.
        detectors: those that a recipe lists.

    Raises:
        StoreError: a ratio has a site that the feature does not have with the adapter off.
        DataError: all calibration prompts have one score, by which nothing can be measured.
    """
    listed = {}
    for (variant, site), scores in sites.items():
        columns: dict[str, _Column] = {}
        for detector in detectors:
            if detector.variant == variant:
                parts = [_column(sites, part, site) for part in detector.parts]
                columns[detector.key[1]] = _difference(parts, detector, site) if detector.background else parts[0]
        if columns and PROBE in scores.names:
            index = scores.names.index(PROBE)
            columns[PROBE] = scores.values[:, index], scores.calibration[:, index]
        if columns:
            values, calibration = (np.stack(each, axis=1) for each in zip(*columns.values(), strict=True))
            listed[variant, site] = SiteScores(list(columns), scores.rows, values, scores.held_out, calibration)
    return listed


def _column(sites: Mapping[SiteKey, SiteScores], part: Detector, site: str) -> _Column:
    """The scores of a part at a site."""
    if (part.variant, site) not in sites:
        raise StoreError(f"feature {str(part.variant)!r} has no site {site!r}, which a background ratio needs")
    scores = sites[part.variant, site]
    index = scores.names.index(part.key[1])
    return scores.values[:, index], scores.calibration[:, index]


def _difference(parts: Sequence[_Column], detector: Detector, site: str) -> _Column:
    """Z-scores of the first part minus those of the second."""
    zscores = []
    for values, calibration in parts:
        # Of equal numbers the spread may be more than 0 by rounding.
        spread = calibration.std(ddof=1) if len(calibration) > 1 and np.ptp(calibration) > 0 else 0.0
        if not spread > 0:
            raise DataError(
                f"{detector.variant}/{detector.key[1]} at {site}: its {len(calibration)} calibration prompts have one "
                "score, by which no other can be measured: choose another score"
            )
        zscores.append([(x - calibration.mean()) / spread for x in (values, calibration)])
    (test, held_out), (test_base, held_out_base) = zscores
    return test - test_base, held_out - held_out_base
