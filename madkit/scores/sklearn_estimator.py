"""Any outlier estimator of scikit-learn or PyOD as a score."""

import warnings
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import DataError, StoreError
from madkit.plugins import may_import
from madkit.runs.naming import labelled, snake
from madkit.scores.common.outlier_estimators import (
    LIBRARIES,
    estimator_class,
    estimator_scores,
    library_versions,
    new_estimator,
    one_line,
    probe_rows,
    scoring_method,
    seeded,
)
from madkit.scores.common.score import Score
from madkit.streaming.pool import Pool

Self = TypeVar("Self", bound="SklearnEstimator")

_MADE: set[str] = set()
"""Class paths of the estimators of this process, which it may load as well."""


class SklearnEstimator(Score):
    """An outlier estimator of scikit-learn, of PyOD, or of anybody who follows their interface.

    Formula: -score_samples(x) of scikit-learn, or decision_function(x) of PyOD, fitted to the trusted rows.

    Source: Pedregosa et al. (2011), arXiv 1201.0490; PyOD: Zhao, Nasrullah and Li (2019), arXiv 1901.01588.

    Blind to: what the estimator is blind to; its documentation says so. Some of PyOD's (ECOD, COPOD) score a row
    together with its batch: their rows are scored one by one here, so that a score depends on the trusted rows
    only, which is slow; those that see nothing in a single row (SOS, COF, ROD) are refused.

    Use when: a method is wanted that madkit does not have, or to compare one that it has with another code. Where
    madkit has the method, its score needs neither the library's version nor a second fit to be loaded.

    Args:
        estimator: class path, such as ``sklearn.svm.OneClassSVM`` or ``pyod.models.ecod.ECOD``. Results call it by
            package and class, as ``pyod_ecod``.
        init_args: its arguments: numbers, strings, booleans and lists.
        seed: its ``random_state``, unless `init_args` gives one; all else that it draws follows this seed too.

    Raises:
        ConfigError: the class is not there, does not take the arguments, or does not score new rows.
        DataError: when fitting, the estimator fails, or cannot score rows by themselves.
        StoreError: when loading, the class is of another package that nobody has listed, or the versions differ.
            Saved are the rows and the options; the estimator is fitted again when first used.

    Example:
        >>> trusted = torch.arange(10.0)[:, None]
        >>> score = SklearnEstimator("sklearn.neighbors.KernelDensity", {"bandwidth": 2.0}).fit(trusted)
        >>> score.name, score(torch.tensor([[4.5], [20.0]]))
        ('sklearn_kernel_density_bandwidth2.0', tensor([ 2.3142, 18.9824], dtype=torch.float64))
    """

    accumulator = Pool
    pool: Tensor

    def __init__(self, estimator: str, init_args: dict[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__()
        self.estimator, self.seed = estimator, seed
        self.init_args = dict(init_args) if init_args else None
        self._class = estimator_class(estimator)
        _MADE.add(estimator)
        # Wrong arguments show now, and not after all rows have been read.
        scoring_method(new_estimator(self._class, self.init_args or {}, seed))
        self._fitted: Any = None
        self._alone = False

    @property
    def name(self) -> str:
        """Package and class, so that it is not taken for a score of madkit, and the arguments."""
        options = dict(sorted((self.init_args or {}).items()))
        stem = f"{self.estimator.split('.')[0]}_{snake(self._class.__name__)}"
        return labelled(stem, {**options, **({"seed": self.seed} if self.seed else {})})

    @override
    @property
    def _libraries(self) -> dict[str, str]:
        return library_versions(self._class)

    @override
    @classmethod
    def _from_saved(cls: type[Self], options: dict[str, Any]) -> Self:
        path = str(options.get("estimator"))
        module = path.rpartition(".")[0]
        if path not in _MADE and not may_import(path, LIBRARIES):
            raise StoreError(
                f"estimator={path!r} is named by a file, and files import nothing: if you trust it, list it by "
                f"--with {module} or madkit.plugins.list_module({module!r}), then load"
            )
        return super()._from_saved(options)

    @override
    def estimate(self, trusted: Tensor, untrusted: None) -> dict[str, Tensor]:
        self._fit(trusted)
        return {"pool": trusted}

    @override
    def score(self, x: Tensor) -> Tensor:
        if self._fitted is None:
            self._fit(self.pool)
        try:
            values = estimator_scores(self._fitted, copied_array(x), self.seed, self._alone)
        except Exception as error:
            raise DataError(f"{self.name} cannot score {len(x)} rows ({one_line(error)})") from error
        return torch.from_numpy(values).to(x.device)

    def _fit(self, trusted: Tensor) -> None:
        fresh, probe = new_estimator(self._class, self.init_args or {}, self.seed), probe_rows(copied_array(trusted))
        try:
            # Some estimators are networks, and learn by gradients.
            with seeded(self.seed), torch.enable_grad():
                fresh.fit(copied_array(trusted))
            alone = estimator_scores(fresh, probe, self.seed, alone=True)
            together = estimator_scores(fresh, probe, self.seed, alone=False)
        except Exception as error:
            raise DataError(
                f"{self.name} does not fit n={len(trusted)} trusted rows of d={trusted.shape[1]} and score rows one "
                f"by one ({one_line(error)}): change init_args, or give other rows"
            ) from error
        mixed = not np.allclose(alone, together, rtol=1e-9, atol=1e-12)
        if not np.isfinite(alone).all() or (mixed and (alone == alone[0]).all()):
            raise DataError(f"{self.name} gives a single row no finite score: use another estimator or rows")
        if mixed:
            warnings.warn(f"{self.name} scores a row by its batch too; rows are given to it one by one", stacklevel=2)
        self._fitted, self._alone = fresh, mixed


def copied_array(rows: Tensor) -> np.ndarray:
    """Copy rows into an array, as estimators may keep or overwrite theirs."""
    return np.array(rows.cpu().numpy(), order="C")
