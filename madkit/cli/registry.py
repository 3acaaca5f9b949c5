"""The classes that recipes name by one word, ``class_path: Mahalanobis``: a module is imported when one is named.

The parser knows the classes that have been imported, and to import all of madkit's takes seconds. Which module has
which class their source says. So what a command line and its recipes name is imported before they are parsed, and
everything where the parser has to know what there is: for help, and before a mistake is a mistake.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from madkit.cli.source_classes import modules_by_class
from madkit.cli.stated import stated_layers
from madkit.cli.uncollected import uncollected

_NAME = re.compile(r"[A-Za-z]\w*")


def import_named(options: Sequence[str]) -> None:
    """Import the modules of the classes that a stage's options and recipes name, and what installed packages offer.

    Args:
        options: the words after the stage.

    Raises:
        ConfigError: a recipe cannot be read, or an installed package's module cannot be imported.
    """
    from madkit.cli.extensions import load_extensions

    load_extensions()
    modules = modules_by_class()
    named = {name for layer in stated_layers(options) for name in _names_in(layer)}
    _import({modules[name] for name in named & modules.keys()})


def import_class_of(name: str) -> None:
    """Import the module of the class of madkit's that has this name, if there is one."""
    _import([module for module in [modules_by_class().get(name)] if module is not None])


def import_all() -> bool:
    """Import the modules of all classes of madkit's that a recipe may name.

    Returns:
        Whether there was one that had not been imported.
    """
    modules = set(modules_by_class().values())
    missing = not modules <= sys.modules.keys()
    _import(modules)
    return missing


def _import(modules: Iterable[str]) -> None:
    with uncollected():
        for module in sorted(modules):
            import_module(module)


def _names_in(value: Any) -> Iterator[str]:
    """All words in the values of a tree, and in the files that it names; any of them may be a class."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names_in(inner)
    elif isinstance(value, str):
        yield from _NAME.findall(value)
        if value.endswith((".yaml", ".yml", ".json")) and Path(value).is_file():
            yield from _NAME.findall(Path(value).read_text(encoding="utf-8", errors="replace"))
