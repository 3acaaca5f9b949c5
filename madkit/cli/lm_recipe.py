"""What a stage takes over from the recipe of the language model that it reads.

The model, its number format and its prompts are named once, in the recipe that tunes it: `madkit predict` finds them in
``<run>/<dataset>/fit.yaml``, and any stage in the recipe that ``--lm`` names. They come before the stage's recipes, so
whatever those or the command line say has the last word.
"""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from madkit.cli.recipe_files import read_recipe
from madkit.errors import ConfigError
from madkit.plugins import import_class
from madkit.runs.folder import folder_of
from madkit.runs.plain_files import parse_yaml

#: Options of an LM that decide what it computes, whoever runs it.
_LM_OPTIONS = ("base", "dtype", "attention", "trust_remote_code")

_SECTIONS: dict[str, type] = {"model": L.LightningModule, "data": L.LightningDataModule}


#: What a recipe may hold, besides options of the Trainer's methods.
SECTIONS = ("run", "model", "data", "trainer", "seed_everything", "ckpt_path")


def with_lm_recipe(words: Sequence[str]) -> list[str]:
    """Put what the language model's recipe decides before all that a command line says.

    Args:
        words: a stage and its options.

    Returns:
        The same words, after the stage a ``--config`` with those options of the language model's recipe that the
        stage's classes have too.

    Raises:
        ConfigError: a recipe cannot be read, or there is none of a language model, and no other word on what the stage
            reads.
    """
    stage, *options = words
    if any(word in ("-h", "--help") or word.endswith(".help") for word in options):
        return list(words)
    stated = _stated(options)
    path = _recipe_of_lm(stage, stated)
    if path is None and stage != "predict":
        _require_base(stated, {})
        return list(words)
    added = _taken_over({} if path is None else _read(path), stated)
    _require_base(stated, added)
    return [stage, "--config", json.dumps(added), *options]


def _recipe_of_lm(stage: str, stated: Mapping[str, Any]) -> Path | None:
    """The recipe that the stage's language model was tuned by, None where the stage needs none."""
    if stated.get("lm"):
        named = Path(stated["lm"])
        if not named.is_file():
            raise ConfigError(f"lm={str(named)!r}: there is no such recipe; name the one that tunes the language model")
        return named
    if stage != "predict":
        return None
    model, data = stated.get("model", {}).get("init_args", {}), stated.get("data", {})
    folder = folder_of(stated.get("run"), data)
    if folder is not None and (folder / "fit.yaml").is_file():
        if "adapter" not in model and not (folder / "fit.json").is_file():
            raise ConfigError(f"{str(folder)!r} holds a fit that has not ended: run `madkit fit` again")
        return folder / "fit.yaml"
    if "base" in model and "class_path" in data:
        return None
    if folder is None:
        raise ConfigError("run=None: name the folder of the model's runs with `--run runs/<name>`")
    raise ConfigError(
        f"there is no {str(folder / 'fit.yaml')!r}: run `madkit fit` first, or, for a model that was tuned elsewhere, "
        "name a recipe with its base and prompts (`--lm recipes/llama.yaml`), and its adapter (`--model.adapter`; or "
        "`none`)"
    )


def _taken_over(recipe: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe of those options of another one, the language model's, that the stated classes have as well."""
    model, data = recipe.get("model", {}), recipe.get("data", {})
    options = {name: value for name, value in model.get("init_args", {}).items() if name in _LM_OPTIONS}
    options |= data.get("init_args", {})
    added = {}
    for section, parent in _SECTIONS.items():
        name = stated.get(section, {}).get("class_path")
        if name is not None:
            parameters = _parameters(_class(name, parent))
            shared = {option: value for option, value in options.items() if option in parameters}
            added[section] = {"class_path": name, "init_args": shared}
        elif section == "data" and data:
            added[section] = dict(data)
    return added


def _require_base(stated: Mapping[str, Any], added: Mapping[str, Any]) -> None:
    """Refuse data that is made by a language model where none is named."""
    data = stated.get("data", {})
    cls = _class(data.get("class_path", ""), L.LightningDataModule)
    base = inspect.signature(cls).parameters.get("base")
    if base is None or base.default is not base.empty:
        return
    if "base" not in {**added.get("data", {}).get("init_args", {}), **data.get("init_args", {})}:
        raise ConfigError(
            "data.base is missing: name the recipe of the language model with `--lm recipes/llama.yaml`, "
            "or the model itself with `--data.base`"
        )


def _stated(options: Sequence[str]) -> dict[str, Any]:
    """The recipes and the options of a command line as one tree, without defaults and without types.

    Example:
        >>> _stated(["--run", "runs/llama", "--data.dataset=addition", "--model", "Extractor"])
        {'run': 'runs/llama', 'data': {'init_args': {'dataset': 'addition'}}, 'model': {'class_path': 'Extractor'}}
    """
    stated: dict[str, Any] = {}
    words = [part for word in options for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for option, value in itertools.pairwise(words):
        if option in ("-c", "--config"):
            _merge(stated, parse_yaml(value, option) if value.startswith("{") else _read(Path(value)))
        elif option.startswith("--"):
            section, *keys = option[2:].removesuffix("+").split(".")
            if section in ("model", "data") and not keys:
                _merge(stated, {section: _section(value, Path())})
                continue
            if section in ("model", "data") and keys[0] not in ("class_path", "init_args"):
                keys.insert(0, "init_args")
            branch: Any = value
            for key in reversed(keys):
                branch = {key: branch}
            _merge(stated, {section: branch})
    return stated


def _read(path: Path) -> dict[str, Any]:
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


def _class(name: str, parent: type) -> type:
    """A class by its path, or by its name among those that are imported; the parent where there is none."""
    module, _, last = name.rpartition(".")
    if module:
        try:
            return import_class(name)
        except (ImportError, AttributeError, ConfigError):  # the parser says so
            return parent
    classes = [parent]
    for cls in classes:
        classes += cls.__subclasses__()
    return next((cls for cls in classes if cls.__name__ == last), parent)


def _parameters(cls: type) -> set[str]:
    """The names of a constructor's parameters, with those that it passes on."""
    names: set[str] = set()
    for parent in cls.__mro__:
        parameters = inspect.signature(parent.__init__).parameters.values()  # type: ignore[misc]
        names |= {p.name for p in parameters}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names
