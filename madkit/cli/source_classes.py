"""Classes of madkit's as their source has them, which takes no imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import madkit

_FOLDER = Path(madkit.__file__).parent
#: Packages whose classes no recipe names.
_OTHERS = ("cli", "figures", "sklearn")


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


@cache
def subclasses_in_source(kind: str) -> frozenset[str]:
    """The names of all public classes of madkit's that are made of another one, which may be Lightning's.

    Example:
        >>> "LocalOutlierFactor" in subclasses_in_source("Score"), "QuirkyLM" in subclasses_in_source("Score")
        (True, False)
    """
    bases = {}
    for module in set(modules_by_class().values()):
        bases.update(_bases_in(_FOLDER.parent.joinpath(*module.split(".")).with_suffix(".py")))
    return _made_of(kind, bases)


@cache
def lightning_classes(kind: str, package: str) -> frozenset[str]:
    """The names of the classes of one of Lightning's packages that are made of another one.

    Args:
        kind: such as ``Callback``.
        package: below ``lightning.pytorch``, such as ``callbacks``.
    """
    spec = find_spec("lightning")  # which imports nothing
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    bases = {}
    for file in Path(spec.submodule_search_locations[0], "pytorch", package).rglob("*.py"):
        bases.update(_bases_in(file))
    return _made_of(kind, bases)


def _bases_in(file: Path) -> dict[str, set[str]]:
    """The classes that a file defines at its top, with the last names of what they are made of."""
    if not file.is_file():
        return {}
    found = re.findall(r"^class (\w+)(?:\(([^)]*)\))?:", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        name: {re.sub(r"\[.*", "", base.strip()).rpartition(".")[2] for base in bases.split(",")}
        for name, bases in found
    }


def _made_of(kind: str, bases: Mapping[str, set[str]]) -> frozenset[str]:
    found = {kind}
    while new := {name for name, of in bases.items() if of & found} - found:
        found |= new
    return frozenset(name for name in found - {kind} if not name.startswith("_"))


def source_of(name: str) -> ast.ClassDef | None:
    """The definition of a class of madkit's.

    Args:
        name: its name, alone or after its module's.

    Returns:
        The definition; None if there is none.
    """
    module, _, last = name.rpartition(".")
    module = module or modules_by_class().get(last, "")
    return _defined(_FOLDER.parent.joinpath(*module.split(".")).with_suffix(".py"), last) if module else None


def callback_source(name: str) -> ast.ClassDef | None:
    """The definition of one of Lightning's callbacks, by its name or path; None if there is none."""
    module, _, last = name.rpartition(".")
    spec = find_spec("lightning")  # which imports nothing
    if spec is None or not spec.submodule_search_locations or (module and not module.startswith("lightning.")):
        return None
    for file in sorted(Path(spec.submodule_search_locations[0], "pytorch", "callbacks").rglob("*.py")):
        if (definition := _defined(file, last)) is not None:
            return definition
    return None


def parameters_in(definition: ast.ClassDef) -> Mapping[str, str] | None:
    """What a class's constructor takes, and the types as they are written, empty where there is none.

    Returns:
        None where it passes options on, or another class has written it.

    Example:
        >>> (parameters_in(source_of("QuirkyData")) or {})["batch_size"]
        'int'
    """
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            if node.args.kwarg is not None or node.args.vararg is not None:
                return None
            arguments = [*node.args.args[1:], *node.args.kwonlyargs]
            return {a.arg: ast.unparse(a.annotation) if a.annotation else "" for a in arguments}
    if is_dataclass(definition) and not definition.bases:
        fields = [node for node in definition.body if isinstance(node, ast.AnnAssign)]
        return {ast.unparse(field.target): ast.unparse(field.annotation) for field in fields}
    return None


def is_dataclass(definition: ast.ClassDef) -> bool:
    """Whether a class is a plain dataclass, whose fields are its options."""
    return "dataclass" in [ast.unparse(decorator) for decorator in definition.decorator_list]


def _defined(file: Path, name: str) -> ast.ClassDef | None:
    """A class that a file defines at its top, if it does."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if not re.search(rf"^class {re.escape(name)}\b", text, re.MULTILINE):
        return None
    return next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == name)
