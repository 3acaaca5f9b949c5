"""Names as figures write them: detectors, settings, files and counts."""

import re
from collections.abc import Iterable

import pandas as pd

from madkit.figures.published.names import published_name

_SETTINGS = ("online", "offline", "ceiling", "own answer")


def detector_name(feature: str, score: str) -> str:
    """The published name of a feature and a score; what no study named is called by its own words.

    Example:
        >>> detector_name("activations", "mahalanobis")
        'activations mahalanobis'
        >>> detector_name("attribution", "lof"), detector_name("sae", "novel_latents")
        ('attribution lof mean', 'sae l0')
        >>> detector_name("local_volume", "low_value"), detector_name("local_volume_radii", "mahalanobis")
        ('local volume', 'local volume mahalanobis')
        >>> detector_name("my_feature", "my_score")
        'my feature my score'
    """
    detector = published_name("detector", f"{feature}/{score}")
    if detector is not None:
        return detector
    pattern = published_name("feature", feature) or f"{feature.replace('_', ' ')} {{score}}"
    return pattern.replace("{score}", score_name(score))


def score_name(score: str) -> str:
    """The published name of a score, or its own words.

    Example:
        >>> score_name("novel_latents"), score_name("my_score")
        ('l0', 'my score')
    """
    return published_name("score", score) or score.replace("_", " ").lower()


def with_setting(name: str, setting: str) -> str:
    """A detector's name, followed by its setting unless that is online or the name says it.

    Example:
        >>> with_setting("activations lof", "online"), with_setting("activations que", "offline")
        ('activations lof', 'activations que (offline)')
    """
    return name if setting == "online" or name.startswith(setting) else f"{name} ({setting})"


def further_needs(needs: str) -> str:
    """What a detector needs besides the trusted prompts that every one needs, which go without saying.

    Example:
        >>> further_needs("trusted prompts, base model"), further_needs("trusted prompts")
        ('base model', '-')
    """
    return needs.removeprefix("trusted prompts").removeprefix(", ") or "-"


def with_control(name: str, control: bool) -> str:
    """A detector's name, with a word before it if it is a control: the adapter off, so it should find nothing.

    Example:
        >>> with_control("activations lof", control=False), with_control("activations lof", control=True)
        ('activations lof', 'control: activations lof')
    """
    return f"control: {name}" if control else name


def setting_order(setting: str) -> tuple[int, str]:
    """A sort key: online, offline, the ceiling, the own answer, then other settings by name.

    Example:
        >>> sorted(["ceiling", "online", "offline"], key=setting_order)
        ['online', 'offline', 'ceiling']
    """
    return _SETTINGS.index(setting) if setting in _SETTINGS else len(_SETTINGS), setting


def slug(text: str) -> str:
    """Letters, digits, dots, hyphens and underscores: safe in a file name on any system.

    Example:
        >>> slug("org/Llama 3.1")
        'org-Llama-3.1'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "model"


def count_prompts(rows: pd.DataFrame) -> str:
    """How many test prompts there are and how many statements they ask, or the ranges over datasets.

    Args:
        rows: of the results: n_normal, n_anomalous, n_statements.

    Example:
        >>> count_prompts(pd.DataFrame({"n_normal": [1051], "n_anomalous": [1051], "n_statements": [71]}))
        'n = 1051 normal and 1051 anomalous prompts of 71 statements'
    """
    normal, anomalous, statements = (count_range(rows[name]) for name in ("n_normal", "n_anomalous", "n_statements"))
    return f"n = {normal} normal and {anomalous} anomalous prompts of {statements} statements"


def count_range(counts: Iterable[float]) -> str:
    """A number of prompts, or its range over datasets.

    Example:
        >>> count_range([400, 400]), count_range([388, 400])
        ('400', '388 to 400')
    """
    distinct = sorted({int(count) for count in counts})
    if not distinct:
        return "0"
    return str(distinct[0]) if len(distinct) == 1 else f"{distinct[0]} to {distinct[-1]}"


def share_range(shares: pd.Series) -> str:
    """A share of prompts or pairs, or its range over datasets.

    Example:
        >>> share_range(pd.Series([0.02])), share_range(pd.Series([0.02, 0.5]))
        ('2%', '2% to 50%')
    """
    return " to ".join(dict.fromkeys(f"{share:.0%}" for share in (shares.min(), shares.max())))


def anomalous_share(rows: pd.DataFrame) -> str:
    """The share of the test prompts that are anomalous, or its range over datasets.

    Args:
        rows: of the results: n_normal, n_anomalous.

    Example:
        >>> anomalous_share(pd.DataFrame({"n_normal": [300, 60], "n_anomalous": [300, 60]}))
        'half'
    """
    shares = rows["n_anomalous"] / (rows["n_normal"] + rows["n_anomalous"])
    return "half" if (shares == 0.5).all() else share_range(shares)
