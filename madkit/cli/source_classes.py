"""Classes of madkit's as their source has them, which takes no imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import madkit

_FOLDER = Path(madkit.__file__).parent


def source_of(name: str) -> ast.ClassDef | None:
    """The definition of a class of madkit's.

    Args:
        name: its name, alone or after its module's.

    Returns:
        The definition; None if there is none, or more than one of that name.
    """
    module, _, last = name.rpartition(".")
    files = (
        list(_FOLDER.rglob("*.py")) if not module else [_FOLDER.parent.joinpath(*module.split(".")).with_suffix(".py")]
    )
    found = []
    for file in files:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if re.search(rf"^class {re.escape(last)}\b", text, re.MULTILINE):
            found += [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == last]
    return found[0] if len(found) == 1 else None


def options_of(definition: ast.ClassDef) -> frozenset[str] | None:
    """What a class's constructor takes; None where it passes options on or another class has written it.

    Example:
        >>> sorted(options_of(source_of("QuirkyData")) or ())[:2]
        ['balance', 'batch_size']
    """
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__" and node.args.kwarg is None:
            return frozenset(argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]) - {"self"}
    return None
