"""Classes of madkit's as their source has them, which takes no imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import madkit

_FOLDER = Path(madkit.__file__).parent
#: Packages whose classes no recipe names.
_OTHERS = ("cli", "figures")


@cache
def modules_by_class() -> Mapping[str, str]:
    """The module of each public class of madkit's that a recipe may name; no two classes share a name.

    Example:
        >>> modules_by_class()["QuirkyLM"]
        'madkit.lm.quirky_lm'
    """
    found = {}
    for file in sorted(_FOLDER.rglob("*.py")):
        parts = file.relative_to(_FOLDER.parent).with_suffix("").parts
        if parts[1] not in _OTHERS:
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = file.read_text(encoding="utf-8")
            found.update(dict.fromkeys(re.findall(r"^class ([A-Za-z]\w*)", text, re.MULTILINE), module))
    return found


def source_of(name: str) -> ast.ClassDef | None:
    """The definition of a class of madkit's.

    Args:
        name: its name, alone or after its module's.

    Returns:
        The definition; None if there is none.
    """
    module, _, last = name.rpartition(".")
    module = module or modules_by_class().get(last, "")
    file = _FOLDER.parent.joinpath(*module.split(".")).with_suffix(".py")
    text = file.read_text(encoding="utf-8") if module and file.is_file() else ""
    if not re.search(rf"^class {re.escape(last)}\b", text, re.MULTILINE):
        return None
    return next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == last)


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
