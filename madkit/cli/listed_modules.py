"""The modules that a command line lists: those after ``--with``, and those of classes that it names itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from madkit.errors import ConfigError
from madkit.plugins import import_listed, list_module, may_import

_CLASS_PATH = re.compile(r"(?:--\S+?=)?((?:[A-Za-z_]\w*\.)+)([A-Z]\w*)")


def list_modules(words: Sequence[str]) -> list[str]:
    """Import what ``--with`` names, and let recipes name its classes and those that the words name.

    Args:
        words: a command's options.

    Returns:
        The options without ``--with``.

    Raises:
        ConfigError: a module cannot be imported.
    """
    left, kept = list(words), []
    while left:
        word = left.pop(0)
        option, equals, value = word.partition("=")
        if option == "--with":
            if not equals and not left:
                raise ConfigError("--with names nothing: give a Python file or a module, --with my_file.py")
            import_listed(value if equals else left.pop(0))
            continue
        kept.append(word)
        # Who types a class path means that class; `data.csv` and the like are no such paths, and files none either.
        named = _CLASS_PATH.fullmatch(word)
        if named and not Path(word).exists() and not may_import(named.group(1)[:-1]):
            list_module(named.group(1)[:-1])
    return kept
