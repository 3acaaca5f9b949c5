"""The modules that a command line lists: those after ``--with``, and those of classes that it names itself."""

from __future__ import annotations

import ast
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
        if named and not Path(word).exists():
            module, cls = named.group(1)[:-1], named.group(2)
            if not may_import(module) and _may_hold(module, cls):
                list_module(module)
    return kept


def _may_hold(module: str, name: str) -> bool:
    """Whether a module has a class that derives from another one, as all do that madkit can use.

    A module of the working directory is read and not run to find out; one that is installed is taken at its word.
    """
    file = Path(*module.split("."))
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    if not file.is_file():
        return True
    try:
        statements = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError):
        return False
    for statement in statements:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return any(ast.unparse(base) != "object" for base in statement.bases)
        if isinstance(statement, ast.ImportFrom) and name in {alias.asname or alias.name for alias in statement.names}:
            return True
    return False
