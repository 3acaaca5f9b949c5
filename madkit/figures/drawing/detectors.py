"""Which detectors a crowded page shows, in what order, and how each is drawn."""

from collections.abc import Iterable
from typing import NamedTuple

import matplotlib.colors
import pandas as pd

from madkit.figures.naming import CONTROL, detector_name
from madkit.figures.results.published import is_published

FEATURES = ("activations", "attribution", "probe", "flow", "sae", "local_volume", "answers")
SCORES = ("mahalanobis", "lof", "laplace_nll", "novel_latents", "diagonal_mahalanobis", "quantum_entropy")
MOST = 3  # lines in one panel

Detector = tuple[str, str]


class Look(NamedTuple):
    """How a score's line is drawn in a model's colour."""

    color: str
    line: str
    marker: str
    filled: bool


def ordered(detectors: Iterable[Detector]) -> list[Detector]:
    """Pairs of feature and score in the order of the study's tables; unknown ones last, by name.

    Example:
        >>> ordered([("sae", "knn"), ("activations", "lof"), ("activations", "mahalanobis")])
        [('activations', 'mahalanobis'), ('activations', 'lof'), ('sae', 'knn')]
    """
    return sorted(set(detectors), key=lambda pair: (_place(FEATURES, pair[0]), _place(SCORES, pair[1])))


def _place(known: tuple[str, ...], name: str) -> tuple[int, str]:
    return known.index(name) if name in known else len(known), name


def main(rows: pd.DataFrame) -> list[Detector]:
    """The detectors that a page with one row of panels per feature shows.

    Of a feature these are the scores that the studies published for it, or where they published none the first
    ones in order; never more than three. Controls are not among them: they go behind the detectors they control.

    Args:
        rows: results of one setting, with feature, score and setting.
    """
    kept: list[Detector] = []
    for feature, own in _by_feature(rows).items():
        setting = str(rows["setting"].iloc[0])
        published = [pair for pair in own if is_published(detector_name(*pair), setting)]
        kept += [pair for pair in published or own if pair[0] == feature][:MOST]
    return kept


def others(rows: pd.DataFrame) -> list[list[Detector]]:
    """The detectors that `main` leaves out, in groups of at most three a feature."""
    chosen = set(main(rows))
    groups: list[list[Detector]] = []
    for own in _by_feature(rows).values():
        rest = [pair for pair in own if pair not in chosen]
        for index in range(0, len(rest), MOST):
            page = index // MOST
            groups += [[]] if page == len(groups) else []
            groups[page] += rest[index : index + MOST]
    return groups


def first_and_rest(rows: pd.DataFrame) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """Triples of feature, score and setting that a page shows, and those left to the report, without controls."""
    kinds = [part for _, part in rows[rows["setting"] != "ceiling"].groupby("setting", sort=False)]
    kinds.sort(key=lambda part: str(part["setting"].iloc[0]) != "online")
    first = [(*pair, str(part["setting"].iloc[0])) for part in kinds for pair in main(part)]
    whole = [
        (*pair, str(part["setting"].iloc[0])) for part in kinds for own in _by_feature(part).values() for pair in own
    ]
    return first, [triple for triple in whole if triple not in first]


def _by_feature(rows: pd.DataFrame) -> dict[str, list[Detector]]:
    own = rows[~rows["feature"].str.startswith(CONTROL)]
    found: dict[str, list[Detector]] = {}
    for pair in ordered(zip(own["feature"], own["score"], strict=True)):
        found.setdefault(pair[0], []).append(pair)
    return found


def looks(scores: Iterable[str], color: str) -> dict[str, Look]:
    """A look per score in shades of one colour: they differ in lightness, line and marker, not in hue.

    Example:
        >>> [look.line for look in looks(["lof", "mahalanobis"], "#0072B2").values()]
        ['-', '--']
    """
    names = sorted(set(scores), key=lambda name: _place(SCORES, name))
    light, dark = _mixed(color, "#FFFFFF", 0.45), _mixed(color, "#000000", 0.55)
    kinds = [
        (color, "-", "o", True),
        (dark, "--", "s", False),
        (light, "-", "^", True),
        (dark, ":", "D", True),
        (light, "-.", "v", False),
        (color, (0, (1, 1)), "P", True),
    ]
    return {name: Look(*kinds[index % len(kinds)]) for index, name in enumerate(names)}  # type: ignore[arg-type]


def _mixed(color: str, other: str, share: float) -> str:
    pairs = zip(matplotlib.colors.to_rgb(color), matplotlib.colors.to_rgb(other), strict=True)
    red, green, blue = (a + share * (b - a) for a, b in pairs)
    return matplotlib.colors.to_hex((red, green, blue))
