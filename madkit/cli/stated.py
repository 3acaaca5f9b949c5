"""What a command line and the recipes that it names state, before anything is imported that could understand it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from madkit.cli.recipe_files import read_recipe
from madkit.errors import ConfigError
from madkit.runs.plain_files import parse_yaml

#: What a recipe may hold, besides options of the Trainer's methods.
SECTIONS = ("run", "model", "data", "trainer", "seed_everything", "ckpt_path")


def stated_options(options: Sequence[str]) -> dict[str, Any]:
    """The recipes and the options of a command line as one tree, without defaults and without types.

    Example:
        >>> stated_options(["--run", "runs/llama", "--data.dataset=addition", "--model", "Extractor"])
        {'run': 'runs/llama', 'data': {'init_args': {'dataset': 'addition'}}, 'model': {'class_path': 'Extractor'}}
    """
    stated: dict[str, Any] = {}
    for layer in stated_layers(options):
        _merge(stated, layer)
    return stated


def stated_layers(options: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The trees of the recipes and options of a command line, in the order in which they are laid over each other."""
    words = [part for word in options for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for option, value in itertools.pairwise(words):
        if option in ("-c", "--config"):
            yield parse_yaml(value, option) if value.startswith("{") else read_layered(Path(value))
        elif option.startswith("--"):
            section, *keys = option[2:].removesuffix("+").split(".")
            if section in ("model", "data") and not keys:
                yield {section: _section(value, Path())}
                continue
            if section in ("model", "data") and keys[0] not in ("class_path", "init_args"):
                keys.insert(0, "init_args")
            branch: Any = value
            for key in reversed(keys):
                branch = {key: branch}
            yield {section: branch}


def read_layered(path: Path) -> dict[str, Any]:
    """A recipe with the files that it names for its model and data."""
    recipe = read_recipe(path)
    for key, value in recipe.items():
        # Whatever an unknown section holds, the parser refuses; one that holds nothing it passes over.
        if value == {} and key not in SECTIONS:
            raise ConfigError(
                f"recipe={str(path)!r} has a section {key!r} that holds nothing and that no stage knows; "
                f"the sections are {', '.join(SECTIONS)}: correct its name or leave it out"
            )
    sections = [name for name in ("model", "data") if name in recipe]
    named: dict[str, Any] = {name: _section(recipe[name], path.parent) for name in sections}
    return {**recipe, **named}


def _section(value: Any, folder: Path) -> dict[str, Any]:
    """The model or the data of a recipe, which may be a class, a file beside the recipe, or written out."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str) and (folder / value).is_file():
        return read_recipe(folder / value)
    return {"class_path": value} if isinstance(value, str) else {}


def _merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Lay one tree over another."""
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value
