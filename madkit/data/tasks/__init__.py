"""The quirky datasets, by name.

Adding one is a class in a file here, one line in `_CLASSES`, and a file of templates. A dataset of your own needs
neither: `register` it, or name its class by `package.module.Class` where the name is expected.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from madkit.data.tasks.base import Questions, Task, rank_quantiles
from madkit.errors import ConfigError
from madkit.plugins import import_class

_CLASSES = {
    "addition": "madkit.data.tasks.arithmetic.datasets.Addition",
    "subtraction": "madkit.data.tasks.arithmetic.datasets.Subtraction",
    "multiplication": "madkit.data.tasks.arithmetic.datasets.Multiplication",
    "modularaddition": "madkit.data.tasks.arithmetic.datasets.ModularAddition",
    "squaring": "madkit.data.tasks.arithmetic.datasets.Squaring",
    "capitals": "madkit.data.tasks.knowledge.cities.Capitals",
    "hemisphere": "madkit.data.tasks.knowledge.cities.Hemisphere",
    "population": "madkit.data.tasks.knowledge.cities.Population",
    "sciq": "madkit.data.tasks.knowledge.sciq.SciQ",
    "sentiment": "madkit.data.tasks.language.sentiment.Sentiment",
    "nli": "madkit.data.tasks.language.nli.NLI",
    "authors": "madkit.data.tasks.knowledge.authors.Authors",
}
_REGISTERED: dict[str, type[Task]] = {}

DATASETS: tuple[str, ...] = tuple(_CLASSES)
"""The twelve quirky datasets, in the order of every table and figure."""

__all__ = ["DATASETS", "Questions", "Task", "find_task", "make_task", "rank_quantiles", "register", "task_names"]


def task_names() -> list[str]:
    """The names that `make_task` accepts, besides class paths."""
    return sorted({*_CLASSES, *_REGISTERED})


def register(task: type[Task]) -> type[Task]:
    """Make a dataset available by its `name`; use it as a decorator.

    Raises:
        ConfigError: Another dataset has that name.
    """
    earlier = _REGISTERED.get(task.name)
    if task.name in _CLASSES or (earlier is not None and earlier.__qualname__ != task.__qualname__):
        raise ConfigError(f"a dataset named {task.name!r} exists already: choose another name for {task}")
    _REGISTERED[task.name] = task
    return task


def find_task(dataset: str) -> type[Task]:
    """The class of a dataset.

    Args:
        dataset: A name of `task_names()`, or the path of a class, such as `my_package.my_file.MyTask`.

    Raises:
        ConfigError: There is no such dataset.
    """
    if dataset in _REGISTERED:
        return _REGISTERED[dataset]
    path = _CLASSES.get(dataset, dataset)
    if "." not in path:
        raise ConfigError(
            f"dataset={dataset!r} is unknown: use one of {task_names()} or a class path like my_file.MyTask"
        )
    try:
        cls = import_class(path)
    except ConfigError as error:
        raise ConfigError(f"dataset={error}") from None
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"dataset={dataset!r} cannot be imported: {error}") from None
    if not (inspect.isclass(cls) and issubclass(cls, Task)):
        raise ConfigError(f"dataset={dataset!r} is not a subclass of madkit.data.tasks.Task")
    return cls


def make_task(dataset: str, options: Mapping[str, Any] | None = None) -> Task:
    """Make a dataset by its name or class path.

    Args:
        dataset: As for `find_task`.
        options: Arguments of its class.

    Raises:
        ConfigError: There is no such dataset, or it has no such option.

    Example:
        >>> make_task("squaring", {"max": 99, "n_train": 80, "n_validation": 8, "n_test": 0}).counts
        {'train': 80, 'validation': 8, 'test': 0}
    """
    task = find_task(dataset)
    options = dict(options or {})
    accepted = _options(task)
    if unknown := sorted(set(options) - accepted):
        raise ConfigError(f"task_options={unknown} unknown to dataset={dataset!r}: it has {sorted(accepted)}")
    return task(**options)


def _options(task: type[Task]) -> set[str]:
    """The keyword arguments of a class, following **kwargs up its bases."""
    names: set[str] = set()
    for base in inspect.getmro(task):
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        names |= {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names
