"""What may explain scores and is known of prompts without labels: their length, how unusual the base finds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.detection.site_scores import SiteKey, SiteScores, by_feature
from madkit.detection.supervised_probe import PROBE
from madkit.errors import DataError
from madkit.statistics.aggregation import aggregate, aggregate_held_out
from madkit.store.variant import BASE_MODEL

Numbers = NDArray[np.float64]


class Covariates(NamedTuple):
    """What is known of prompts besides their scores, without labels."""

    held_out: Numbers
    """(m, k) of the calibration prompts."""
    test: Numbers
    """(n, k) of the test prompts."""
    needs: frozenset[str]
    """What they need."""


def covariates(sites: Mapping[SiteKey, SiteScores], test: pd.Series, held_out: pd.Series) -> Covariates:
    """How long prompts are, and how unusual they are for the base model by each of the controls that a recipe lists.

    Args:
        sites: scores of all detectors; those with the adapter off are the controls.
        test: (n,) texts of the test prompts, in row order.
        held_out: (m,) those of the calibration prompts.
    """
    columns: list[tuple[Numbers, Numbers]] = [(_lengths(held_out), _lengths(test))]
    for variant, of_sites in by_feature(sites).items():
        for index, name in enumerate(of_sites[0].names if not variant.adapter else ()):
            if name == PROBE:
                continue
            values, calibration = (
                np.stack([getattr(scores, part)[:, index] for scores in of_sites], axis=1)
                for part in ("values", "calibration")
            )
            try:
                columns.append((aggregate_held_out("zscore", calibration), aggregate("zscore", values, calibration)))
            except DataError:  # all calibration prompts have one score
                continue
    needs = frozenset({BASE_MODEL} if len(columns) > 1 else ())
    first, second = (np.stack(each, axis=1) for each in zip(*columns, strict=True))
    return Covariates(first, second, needs)


def _lengths(texts: pd.Series) -> Numbers:
    return np.array([len(text) for text in texts.fillna("")], dtype=np.float64)
