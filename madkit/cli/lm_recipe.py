"""What a stage takes over from the recipe of the language model that it reads.

The model, its number format and its prompts are named once, in the recipe that tunes it: `madkit predict` finds them in
``<run>/<dataset>/fit.yaml``, and any stage in the recipe that ``--lm`` names. They come before the stage's recipes, so
whatever those or the command line say has the last word.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from madkit.cli.named_class import named_class, parameters_of
from madkit.cli.stated import read_layered, stated_options
from madkit.errors import ConfigError
from madkit.runs.folder import folder_of

#: Options of an LM that decide what it computes, whoever runs it.
_LM_OPTIONS = ("base", "dtype", "attention", "trust_remote_code")

_SECTIONS: dict[str, type] = {"model": L.LightningModule, "data": L.LightningDataModule}


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
    stated = stated_options(options)
    path = _recipe_of_lm(stage, stated)
    if path is None and stage != "predict":
        _require_base(stated, {})
        return list(words)
    added = _taken_over({} if path is None else read_layered(path), stated)
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
            parameters = parameters_of(named_class(name, parent))
            shared = {option: value for option, value in options.items() if option in parameters}
            added[section] = {"class_path": name, "init_args": shared}
        elif section == "data" and data:
            added[section] = dict(data)
    return added


def _require_base(stated: Mapping[str, Any], added: Mapping[str, Any]) -> None:
    """Refuse data that is made by a language model where none is named."""
    data = stated.get("data", {})
    cls = named_class(data.get("class_path", ""), L.LightningDataModule)
    base = inspect.signature(cls).parameters.get("base")
    if base is None or base.default is not base.empty:
        return
    if "base" not in {**added.get("data", {}).get("init_args", {}), **data.get("init_args", {})}:
        raise ConfigError(
            "data.base is missing: name the recipe of the language model with `--lm recipes/llama.yaml`, "
            "or the model itself with `--data.base`"
        )
