"""Names as the publications write them, and words for counts."""

import re
from collections.abc import Iterable

CONTROL = "base_"
"""The prefix of a feature taken with the adapter off: same prompts, no quirk, so it should find nothing."""

_SCORES = {
    "diagonal mahalanobis": "diag mahalanobis",
    "local outlier factor": "lof",
    "isolation forest": "isoforest",
    "laplace nll": "laplace",
    "novel latents": "l0",
    "quantum entropy": "que",
}
# The study marks the attribution and probe features by how they are referenced: to the mean.
_REFERENCED = ("attribution", "probe")
_WHOLE = {
    ("local_volume", "low_value"): "local volume",
    ("local_volume_radii", "mahalanobis"): "local volume mahalanobis",
}


def detector_name(feature: str, score: str) -> str:
    """The published name of a feature and a score; others keep their own words.

    Example:
        >>> detector_name("activations", "mahalanobis")
        'activations mahalanobis'
        >>> detector_name("attribution", "lof"), detector_name("sae", "novel_latents")
        ('attribution lof mean', 'sae l0')
        >>> detector_name("local_volume", "low_value"), detector_name("local_volume_radii", "mahalanobis")
        ('local volume', 'local volume mahalanobis')
    """
    if (feature, score) in _WHOLE:
        return _WHOLE[feature, score]
    words = score_name(score)
    suffix = " mean" if feature in _REFERENCED and words != "logistic probe" else ""
    return f"{feature.replace('_', ' ')} {words}{suffix}"


def score_name(score: str) -> str:
    """The published name of a score.

    Example:
        >>> score_name("novel_latents"), score_name("my_own")
        ('l0', 'my own')
    """
    words = score.replace("_", " ").lower()
    return _SCORES.get(words, words)


def with_setting(name: str, setting: str) -> str:
    """A detector's name, with its setting unless that is the usual one.

    Example:
        >>> with_setting("activations lof", "online"), with_setting("activations que", "offline")
        ('activations lof', 'activations que (offline)')
    """
    return name if setting == "online" else f"{name} ({setting})"


def setting_place(setting: str) -> tuple[int, str]:
    """Where a setting comes in a list: online, offline, the ceiling, then others by name.

    Example:
        >>> sorted(["ceiling", "online", "offline"], key=setting_place)
        ['online', 'offline', 'ceiling']
    """
    known = ("online", "offline", "ceiling")
    return known.index(setting) if setting in known else len(known), setting


def slug(text: str) -> str:
    """Letters, digits, dots, hyphens and underscores: safe in a file name on any system.

    Example:
        >>> slug("org/Llama 3.1")
        'org-Llama-3.1'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "model"


def count_range(counts: Iterable[float]) -> str:
    """A number of prompts, or its range over datasets.

    Example:
        >>> count_range([400, 400]), count_range([388, 400])
        ('400', '388 to 400')
    """
    whole = sorted({int(count) for count in counts})
    if not whole:
        return "0"
    return str(whole[0]) if len(whole) == 1 else f"{whole[0]} to {whole[-1]}"
