"""madkit: mechanistic anomaly detection on quirky language models.

The names below are the front door. Each is imported on first use, so that ``import madkit`` takes no time; everything
else stands in the package that defines it (`madkit.scores` has all scores, `madkit.statistics` all statistics).

Example:
    >>> import numpy as np
    >>> import madkit
    >>> rng = np.random.default_rng(0)
    >>> trusted, normal, odd = rng.normal(size=(300, 8)), rng.normal(size=(50, 8)), rng.normal(3, 1, size=(50, 8))
    >>> score = madkit.Mahalanobis().fit(trusted)
    >>> interval = madkit.auroc(score(np.concatenate([normal, odd])), [0] * 50 + [1] * 50)
    >>> interval.value > 0.99
    True
"""

TYPE_CHECKING = False  # type checkers know the name; importing `typing` for it would take longer than all the rest
if TYPE_CHECKING:
    from madkit.analysis import quirkiness_coefficient as quirkiness_coefficient
    from madkit.data.quirky.quirky_data import QuirkyData as QuirkyData
    from madkit.errors import MadkitError as MadkitError
    from madkit.features import Feature as Feature
    from madkit.lm.quirky_lm import QuirkyLM as QuirkyLM
    from madkit.monitoring import Monitor as Monitor
    from madkit.monitoring import VectorMonitor as VectorMonitor
    from madkit.scores import DiagonalMahalanobis as DiagonalMahalanobis
    from madkit.scores import KNearestNeighbours as KNearestNeighbours
    from madkit.scores import LocalOutlierFactor as LocalOutlierFactor
    from madkit.scores import Mahalanobis as Mahalanobis
    from madkit.scores import Score as Score
    from madkit.scores import load_score as load_score
    from madkit.statistics import Interval as Interval
    from madkit.statistics import auroc as auroc
    from madkit.statistics import compare as compare
    from madkit.store.feature_store import FeatureStore as FeatureStore
    from madkit.volume import log_volume as log_volume

__version__ = "0.1.0"

#: Each public name and the module that defines it.
_MODULES = {
    "DiagonalMahalanobis": "madkit.scores",
    "Feature": "madkit.features",
    "FeatureStore": "madkit.store.feature_store",
    "Interval": "madkit.statistics",
    "KNearestNeighbours": "madkit.scores",
    "LocalOutlierFactor": "madkit.scores",
    "MadkitError": "madkit.errors",
    "Mahalanobis": "madkit.scores",
    "Monitor": "madkit.monitoring",
    "QuirkyData": "madkit.data.quirky.quirky_data",
    "QuirkyLM": "madkit.lm.quirky_lm",
    "Score": "madkit.scores",
    "VectorMonitor": "madkit.monitoring",
    "auroc": "madkit.statistics",
    "compare": "madkit.statistics",
    "load_score": "madkit.scores",
    "log_volume": "madkit.volume",
    "quirkiness_coefficient": "madkit.analysis",
}
#: Packages that are reached as attributes too: ``madkit.scores.Energy`` after ``import madkit``.
_PACKAGES = ("analysis", "detection", "features", "scores", "sklearn", "statistics", "streaming", "volume")

__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value
    if name in _PACKAGES:
        return import_module(f"madkit.{name}")
    raise AttributeError(f"module 'madkit' has no attribute {name!r}; it has {', '.join(sorted(_MODULES))}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES])
