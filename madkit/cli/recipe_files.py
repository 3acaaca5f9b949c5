"""Recipes as files: every YAML text that a command line leads to is read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from madkit.errors import ConfigError
from madkit.runs.plain_files import read_yaml, require_single_keys

_parsed = get_loader("yaml")
#: What texts are that stand for one value; the parser asks a dozen times for each of a recipe's.
_scalars: dict[str, str | int | float | None] = {}


def read_recipe(path: Path) -> dict[str, Any]:
    """The sections of a recipe.

    Raises:
        ConfigError: the file cannot be read, has a key twice, or holds no sections.
    """
    recipe = read_yaml(path, "recipe")
    if isinstance(recipe, dict) and recipe:
        _require_one_spelling(recipe, f"recipe={str(path)!r}")
        return recipe
    held = "nothing" if not recipe else f"{type(recipe).__name__} {str(recipe)[:40]!r}"
    raise ConfigError(f"recipe={str(path)!r} holds {held}: write sections such as `model:` and `data:`, one key a line")


def _require_one_spelling(recipe: dict[Any, Any], named: str) -> None:
    """Refuse an option that is there as ``trainer.max_epochs`` and inside of ``trainer`` as well."""
    for key in recipe:
        inside: Any = recipe
        for part in str(key).split(".") if "." in str(key) else ():
            inside = inside.get(part) if isinstance(inside, dict) else None
            if isinstance(inside, dict):
                continue
            if inside is not None:
                raise ConfigError(f"{named} has {key!r} twice, as one key and inside of another: keep one")


def read_strictly() -> None:
    """Let the parser of options, which reads further files by itself, refuse a key that is there twice as well."""
    set_loader("yaml", _strict, exceptions=(yaml.YAMLError,))


def _strict(text: str) -> Any:
    if text in _scalars:
        return _scalars[text]
    if ":" in text:  # anything else has no key
        require_single_keys(text, "a recipe" if "\n" in text else text)
    value = _parsed(text)
    if value is None or isinstance(value, str | int | float):
        _scalars[text] = value
    return value
