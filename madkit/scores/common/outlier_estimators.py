"""Outlier estimators of other libraries: imported by name, constructed, and turned so that anomalies score high."""

import difflib
import importlib
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from madkit.errors import ConfigError
from madkit.plugins import import_class

#: The libraries of estimators; others are listed by the user.
LIBRARIES = ("sklearn", "pyod")


def estimator_class(path: str) -> type:
    """The class that ``package.module.Class`` names: of scikit-learn, of PyOD, or of a module that the user lists.

    Raises:
        ConfigError: there is none, its module is not listed, or it is no estimator that scores rows.
    """
    module, _, name = path.rpartition(".")
    if not module:
        raise ConfigError(f"estimator={path!r} is no class path: give module.Class, such as sklearn.svm.OneClassSVM")
    try:
        cls = import_class(path, LIBRARIES)
    except ConfigError as error:
        raise ConfigError(f"estimator={error}") from None
    except AttributeError:
        cls = None
    except ImportError as error:
        way_out = "pip install pyod" if error.name == "pyod" else "check the spelling, or install what is missing"
        raise ConfigError(f"estimator={path!r} cannot be imported ({error}): {way_out}") from error
    imported = sys.modules[module]
    if not (isinstance(cls, type) and hasattr(cls, "fit")):
        classes = [
            other for other, value in vars(imported).items() if isinstance(value, type) and hasattr(value, "fit")
        ]
        close = difflib.get_close_matches(name, classes, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "give the class of an outlier estimator"
        raise ConfigError(f"estimator={path!r}: {module} has no estimator {name!r}; {hint}")
    # Before one is made: to construct a class of another kind may do anything.
    if path.split(".")[0] not in LIBRARIES and not (hasattr(cls, "score_samples") or hasattr(cls, "decision_function")):
        raise ConfigError(
            f"estimator={path!r} has no score_samples and no decision_function: give an outlier estimator"
        )
    return cls


def new_estimator(cls: type, arguments: Mapping[str, Any], seed: int) -> Any:
    """An estimator with these arguments, and with `seed` as its ``random_state`` if it has one that is not given.

    Raises:
        ConfigError: it does not take these arguments.
    """
    seeds = "random_state" in inspect.signature(cls).parameters
    try:
        return cls(**{**({"random_state": seed} if seeds else {}), **arguments})
    except Exception as error:
        raise ConfigError(f"{cls.__name__} does not take init_args={dict(arguments)} ({one_line(error)})") from error


def scoring_method(estimator: Any) -> Callable[[np.ndarray], Any]:
    """The method of an estimator that scores new rows (b, d) -> (b,), turned so that higher is more anomalous.

    Raises:
        ConfigError: it has none.
    """
    from sklearn.base import OutlierMixin

    # Nothing derives from PyOD's base without importing it, so neither need we.
    pyod = sys.modules.get("pyod.models.base")
    if pyod and isinstance(estimator, pyod.BaseDetector):
        return estimator.decision_function
    if hasattr(estimator, "score_samples"):
        return lambda rows: -estimator.score_samples(rows)
    if hasattr(estimator, "decision_function") and isinstance(estimator, OutlierMixin):
        return lambda rows: -estimator.decision_function(rows)
    name = type(estimator).__name__
    way_out = "give init_args: {novelty: true}" if hasattr(estimator, "novelty") else "give an outlier estimator"
    raise ConfigError(f"{name} has no score for new rows (score_samples, or PyOD's decision_function): {way_out}")


def estimator_scores(estimator: Any, rows: np.ndarray, seed: int, alone: bool) -> np.ndarray:
    """The scores (b,) of rows (b, d) by a fitted estimator, given to it one by one or together."""
    if alone:
        return np.concatenate([estimator_scores(estimator, row[None], seed, alone=False) for row in rows])
    with seeded(seed):
        values = np.asarray(scoring_method(estimator)(rows), dtype=np.float64).ravel()
    if len(values) != len(rows):
        raise ValueError(f"{len(values)} scores of {len(rows)} rows")
    return values


def probe_rows(rows: np.ndarray) -> np.ndarray:
    """A few of the rows (n, d), and as many that lie beside them, to try out an estimator on."""
    few, spread = rows[:: max(1, len(rows) // 8)], rows.std(0)
    return np.concatenate([few, few + np.where(spread > 0, spread, 1.0)])


def library_versions(cls: type) -> dict[str, str]:
    """Versions of the package of a class and of scikit-learn, on which most others rest."""
    packages = sorted({cls.__module__.split(".")[0], "sklearn"})
    return {name: str(getattr(importlib.import_module(name), "__version__", "unknown")) for name in packages}


def one_line(error: Exception) -> str:
    """Return the type and message of an error, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within this block all random numbers depend on `seed` only; afterwards the generators go on as before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
