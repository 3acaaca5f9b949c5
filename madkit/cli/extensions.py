"""Scores, features and datasets of installed packages."""

import inspect

from madkit.data.tasks import Task, register
from madkit.plugins import load_entry_points


def load_extensions() -> None:
    """Import the scores, features and datasets of installed packages, so that a recipe can name them.

    A package declares modules, or classes in modules, in its pyproject.toml, and its users name ``class_path: MyScore``
    or ``dataset: my_dataset``::

        [project.entry-points."madkit.scores"]
        my_scores = "my_package.scores"

        [project.entry-points."madkit.features"]
        my_features = "my_package.features"

        [project.entry-points."madkit.tasks"]
        my_dataset = "my_package.tasks:MyTask"

    Raises:
        ConfigError: one cannot be imported, or a dataset has the name of another one.
    """
    for group in ("madkit.scores", "madkit.features"):
        load_entry_points(group)
    load_tasks()


def load_tasks() -> None:
    """Import the datasets of installed packages only, which takes no torch.

    Raises:
        ConfigError: one cannot be imported, or has the name of another one.
    """
    for extension in load_entry_points("madkit.tasks"):
        if inspect.isclass(extension) and issubclass(extension, Task):
            register(extension)
