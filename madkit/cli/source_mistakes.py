"""Mistakes in the options of classes, as their source has them: an option that there is not, a word for a number."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Collection, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from madkit.cli.source_classes import is_dataclass, modules_by_class, parameters_in, source_of, subclasses_in_source

#: Words that YAML or Python may read as no word.
_READ = ("null", "none", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity")
_KINDS = ("int", "float", "bool")
#: How alike a name has to be to one that madkit knows, so that it is sure to be that one with a slip.
_ALIKE = 0.85


def mistake_in_class(definition: ast.ClassDef, stated: Mapping[Any, Any], where: str, alone: bool = True) -> str | None:
    """What is wrong for certain with the options that a recipe gives to a class, in the words of the parser.

    Args:
        definition: the class.
        stated: its place in the recipe, with ``init_args``; the options themselves of a dataclass.
        where: the keys that lead to it.
        alone: whether nothing else could stand in its place, so that a wrong type in it can be named.

    Returns:
        One line; None where nothing is, or where the parser may know better.
    """
    options = stated.get("init_args", {}) if "class_path" in stated else stated
    accepted = parameters_in(definition)
    if accepted is None or not isinstance(options, Mapping):
        return None
    for option in options:
        if str(option).partition(".")[0].removesuffix("+") not in accepted:
            return f"{where}: {definition.name} has no option {str(option)!r}: correct its name, or leave it out"
    return mistake_in_values(accepted, options, where, alone)


def mistake_in_values(
    accepted: Mapping[str, str], options: Mapping[Any, Any], where: str, alone: bool = True
) -> str | None:
    """What is wrong for certain with the values of options.

    Args:
        accepted: the names of all options, and their types as they are written.
        options: those that a recipe gives; of names that there are not nothing is said.
        where: as in `mistake_in_class`.
        alone: as in `mistake_in_class`.
    """
    for option, value in options.items():
        name = str(option).removesuffix("+")
        kind, others = _kind_of(accepted.get(name, ""))
        inner = f"{where}.{name}"
        if kind in _KINDS:
            if alone and not others and _is_no(kind, value):
                return f"{inner}={value}: expected {kind}"
            continue
        if alone and not others and (literal := re.fullmatch(r"Literal\[((?:'[^']*'(?:, )?)+)\]", kind)):
            if is_word(value) and repr(value) not in literal[1].split(", "):
                return f"{inner}={value}: expected one of {literal[1]}"
            continue
        if kind == "OptimizerCallable" and (absent := _absent_optimizer(value)) is not None:
            given = f"={value}" if isinstance(value, str) else ""
            return f"{inner}{given}: module 'torch.optim' has no attribute {absent!r}"
        cls = re.fullmatch(r"(?:list\[)?(\w+)\]?", kind)
        if cls is None or cls.group(1) not in modules_by_class():
            continue
        for item in value if isinstance(value, list) else [value]:
            if (not others or isinstance(item, Mapping)) and (
                close := misspelt(_named(item), subclasses_in_source(cls.group(1)))
            ) is not None:
                return f"{inner}: there is no class {_named(item)!r}; did you mean {close!r}?"
            definition = _definition(item, cls.group(1))
            if definition is not None:
                mistake = mistake_in_class(definition, item, inner, alone and not others)
                if mistake is not None:
                    return mistake
    return None


def misspelt(name: str | None, known: Collection[str]) -> str | None:
    """The class that a name is a slip of; None where it may be another one, as of an installed package.

    Args:
        name: a class by one word, or by its path in madkit or Lightning; None for no class.
        known: the names of the classes that may stand there.
    """
    module, _, last = (name or "").rpartition(".")
    if (
        not last
        or last in known
        or last in modules_by_class()
        or module.split(".")[0] not in ("", "madkit", "lightning")
    ):
        return None
    close = difflib.get_close_matches(last, sorted(known), n=1, cutoff=_ALIKE)
    return close[0] if close and not any(name.startswith("madkit.") for name in entry_points().groups) else None


def _absent_optimizer(item: Any) -> str | None:
    """The optimizer of torch's that an item of a recipe names and that there is not; None for another one."""
    found = re.fullmatch(r"torch\.optim\.([A-Za-z]\w*)", _named(item) or "")
    spec = find_spec("torch")  # which imports nothing
    if found is None or spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0], "optim", "__init__.py")
    named = file.is_file() and re.search(rf"\b{found[1]}\b", file.read_text(encoding="utf-8"))
    return None if named else found[1]


def _named(item: Any) -> str | None:
    """The class that an item of a recipe names: with its options, or alone."""
    name = item.get("class_path") if isinstance(item, Mapping) else item
    return name if isinstance(name, str) and re.fullmatch(r"[A-Za-z_][\w.]*", name) else None


def is_word(value: Any) -> bool:
    """Whether a value is a word that nothing reads as a number, as yes or no, or as nothing."""
    return isinstance(value, str) and re.fullmatch("[A-Za-z]{1,59}", value) is not None and value.lower() not in _READ


def _kind_of(annotation: str) -> tuple[str, bool]:
    """The last type of an annotation, other than None, and whether there are others.

    Example:
        >>> _kind_of("int | None"), _kind_of("str | DerivedFeature")
        (('int', False), ('DerivedFeature', True))
    """
    optional = re.fullmatch(r"Optional\[(.*)\]", annotation)
    kinds = [kind for kind in (optional.group(1) if optional else annotation).split(" | ") if kind != "None"]
    return (kinds[-1], len(kinds) > 1) if kinds else ("", False)


def _is_no(kind: str, value: Any) -> bool:
    return is_word(value) or (kind == "int" and isinstance(value, float) and not value.is_integer())


def _definition(item: Any, cls: str) -> ast.ClassDef | None:
    """The class of a place in a recipe: the one that it names or, of a dataclass, the one that belongs there."""
    if not isinstance(item, Mapping):
        return None
    if "class_path" in item:
        return source_of(str(item["class_path"]))
    definition = source_of(cls)
    return definition if definition is not None and is_dataclass(definition) else None
