"""Detectors on models that hide their quirk: what each reaches there, and on the plain model."""

import pandas as pd

from madkit.figures.results.results import Results

PLAIN = "plain"
"""The model that does not hide."""
_EVADED = {
    "mahalanobis": ("activations", "mahalanobis"),
    "delta": ("delta", "mahalanobis"),
    "conditional": ("conditional_studentised", "mahalanobis"),
    "probe": ("activations", "logistic_probe"),
}
"""Feature and score of the detectors that a model can be trained against, by the names that recipes give them."""
QUIRKINESS = ("quirkiness", "quirkiness_low", "quirkiness_high")


def obfuscation_points(results: Results) -> pd.DataFrame:
    """One row per model, dataset, detector and model that it watches: all test prompts, mean over layers.

    Controls whose adapter is off are left out, and of the plain model what was not measured on any that hides.

    Returns:
        As `Results.aggregated`, with `against` (`PLAIN`, or the folder of the model that hides), quirkiness,
        quirkiness_low and quirkiness_high; empty where no model hides.
    """
    hidden = [_judged(part, name) for name, part in results.obfuscated.items()]
    if not hidden:
        return pd.DataFrame(columns=["model", "dataset", "against"])
    found = pd.concat(hidden)
    plain = _judged(results, PLAIN)
    keys = ["model", "dataset", "feature", "score", "setting"]
    both = plain.merge(found[keys].drop_duplicates(), on=keys)
    return pd.concat([both, found], ignore_index=True)


def is_evaded(against: str, feature: str, score: str) -> bool:
    """Whether a detector is one of those that a model hides from, by the name of its folder.

    Example:
        >>> is_evaded("delta-probe", "activations", "logistic_probe"), is_evaded("delta", "delta", "lof")
        (True, False)
    """
    return (feature, score) in [_EVADED[name] for name in against.split("-") if name in _EVADED]


def _judged(part: Results, against: str) -> pd.DataFrame:
    rows = part.aggregated()
    rows = rows[(rows["subset"] == "all") & ~rows["control"]]
    strength = part.quirkiness.rename(columns=dict(zip(("value", "low", "high"), QUIRKINESS, strict=True)))
    return rows.merge(strength[["model", "dataset", *QUIRKINESS]], on=["model", "dataset"]).assign(against=against)
