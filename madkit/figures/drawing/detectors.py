"""Which detectors a crowded page shows, and in what order."""

from collections.abc import Iterable

import pandas as pd

from madkit.figures.naming import detector_name
from madkit.figures.published.names import position
from madkit.figures.published.numbers import is_published

MOST_LINES = 3
"""Lines in one panel."""

Detector = tuple[str, str]
"""A feature and a score."""


def ordered_detectors(detectors: Iterable[Detector]) -> list[Detector]:
    """Pairs of feature and score in the order of the study's tables; others last, by name.

    Example:
        >>> ordered_detectors([("sae", "knn"), ("activations", "lof"), ("activations", "mahalanobis")])
        [('activations', 'mahalanobis'), ('activations', 'lof'), ('sae', 'knn')]
    """
    return sorted(set(detectors), key=lambda pair: (position("feature", pair[0]), position("score", pair[1])))


def main_detectors(rows: pd.DataFrame) -> list[Detector]:
    """The detectors that a page with one row of panels per feature shows.

    Of a feature these are the scores that the studies published for it, or where they published none the first
    ones in order; never more than three. Controls are not among them: they go behind the detectors they control.

    Args:
        rows: results of one setting, with feature, control, score and setting.
    """
    chosen: list[Detector] = []
    for detectors in _by_feature(rows).values():
        setting = str(rows["setting"].iloc[0])
        published = [pair for pair in detectors if is_published(detector_name(*pair), setting)]
        chosen += (published or detectors)[:MOST_LINES]
    return chosen


def further_detectors(rows: pd.DataFrame) -> list[list[Detector]]:
    """The detectors that `main_detectors` leaves out, in groups of at most three a feature."""
    chosen = set(main_detectors(rows))
    groups: list[list[Detector]] = []
    for detectors in _by_feature(rows).values():
        rest = [pair for pair in detectors if pair not in chosen]
        for index in range(0, len(rest), MOST_LINES):
            page = index // MOST_LINES
            groups += [[]] if page == len(groups) else []
            groups[page] += rest[index : index + MOST_LINES]
    return groups


def main_and_further(rows: pd.DataFrame) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """Triples of feature, score and setting that a page shows, and those left to the report, without controls."""
    settings = [part for _, part in rows[rows["setting"] != "ceiling"].groupby("setting", sort=False)]
    settings.sort(key=lambda part: str(part["setting"].iloc[0]) != "online")
    main = [(*pair, str(part["setting"].iloc[0])) for part in settings for pair in main_detectors(part)]
    triples = [
        (*pair, str(part["setting"].iloc[0]))
        for part in settings
        for detectors in _by_feature(part).values()
        for pair in detectors
    ]
    return main, [triple for triple in triples if triple not in main]


def _by_feature(rows: pd.DataFrame) -> dict[str, list[Detector]]:
    detectors = rows[~rows["control"]]
    by_feature: dict[str, list[Detector]] = {}
    for pair in ordered_detectors(zip(detectors["feature"], detectors["score"], strict=True)):
        by_feature.setdefault(pair[0], []).append(pair)
    return by_feature
