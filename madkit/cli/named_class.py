"""The class that a recipe names, and what its constructor takes."""

from __future__ import annotations

import inspect

from madkit.cli.registry import import_class_of
from madkit.errors import ConfigError
from madkit.plugins import import_class


def named_class(name: str, parent: type) -> type:
    """A class by its path, or by its name among madkit's and those that are imported; else the parent."""
    module, _, last = name.rpartition(".")
    if module:
        try:
            return import_class(name)
        except (ImportError, AttributeError, ConfigError):  # the parser says so
            return parent
    import_class_of(last)
    classes = [parent]
    for cls in classes:
        classes += cls.__subclasses__()
    return next((cls for cls in classes if cls.__name__ == last), parent)


def parameters_of(cls: type) -> set[str]:
    """The names of a constructor's parameters, with those that it passes on."""
    names: set[str] = set()
    for parent in cls.__mro__:
        parameters = inspect.signature(parent.__init__).parameters.values()  # type: ignore[misc]
        names |= {p.name for p in parameters}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names
