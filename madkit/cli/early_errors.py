"""Mistakes that can be seen before anything is imported that would understand the recipe, which takes seconds.

What is refused here the parser refuses too, in the same words; what is not, it sees. So nothing is judged of which the
parser might know more: classes of the user's own, or another version of Lightning.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from madkit.cli.parser_errors import one_line
from madkit.cli.source_classes import (
    callback_source,
    lightning_classes,
    parameters_in,
    source_of,
    subclasses_in_source,
)
from madkit.cli.source_mistakes import is_word, misspelt, mistake_in_class, mistake_in_values
from madkit.cli.stated import stated_layers, stated_options
from madkit.cli.stored_help import STAGES, known_classes, known_kinds, known_options, known_words
from madkit.errors import ConfigError
from madkit.plugins import listed_modules

#: The packages of Lightning's loggers that need one.
_PACKAGE_OF = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow", "CometLogger": "comet_ml"}


def refuse_early(stage: str, options: Sequence[str]) -> None:
    """Refuse a command line of which something is wrong for certain.

    Args:
        stage: the stage.
        options: its options.

    Raises:
        ConfigError: a recipe cannot be read; an option does not exist, or is a word where it should be a number; a
            class of madkit's is misspelt; no run folder is named.
    """
    layers = list(stated_layers(options))
    known = known_options(stage)
    for word, following in itertools.zip_longest(options, options[1:], fillvalue=""):
        if word.startswith("--") and word != "--" and not _exists(word[2:].partition("=")[0], known):
            value = "" if "=" in word or following.startswith("--") else f" {following}"
            raise ConfigError(one_line(f"Unrecognized arguments: {word}{value}".rstrip(), sorted(known)))
    for layer in layers:
        for option in _stated(layer):
            if not _exists(option, known):
                raise ConfigError(one_line(f"Subcommand {stage!r} does not accept option {option!r}", sorted(known)))
        _require_kinds(stage, layer.get("trainer"))
        _require_callbacks(layer.get("trainer"))
        _require_loggers(layer.get("trainer"))
    for section in ("model", "data"):
        _require_class(stage, section, layers)
    tree, printed = stated_options(options), any(word.startswith("--print_config") for word in options)
    if not printed:
        _require_prompts(tree.get("data"))
    trainer = tree.get("trainer") or {}
    if stage == "predict" or printed or tree.get("run") is not None or not isinstance(trainer, Mapping):
        return
    if trainer.get("default_root_dir") is None and "trainer.default_root_dir" not in tree:
        raise ConfigError("run=None: say where results go with `--run runs/<name>`, in the recipe or as an option")


def _exists(option: str, known: frozenset[str]) -> bool:
    if not known:  # with other versions than those that help is stored of; what madkit's own sources say holds for all
        return True
    section, *keys = option.removesuffix("+").split(".")
    if section == "trainer" and keys:
        return keys[0] == "help" or f"trainer.{keys[0].removesuffix('+')}" in known
    return section in ("model", "data", *STAGES) or section in known


def _stated(layer: Mapping[str, Any]) -> list[str]:
    """The options of a recipe, those of the trainer one by one; what holds nothing is passed over."""
    stated = [str(key) for key, value in layer.items() if key != "trainer" and value is not None]
    trainer = layer.get("trainer")
    return [*stated, *(f"trainer.{key}" for key in (trainer if isinstance(trainer, Mapping) else ()))]


def _require_kinds(stage: str, trainer: Any) -> None:
    """Refuse a word where the trainer takes a number, yes or no, or one of other words."""
    for option, value in trainer.items() if isinstance(trainer, Mapping) else ():
        kind = known_kinds(stage).get(f"trainer.{option}")
        if kind is not None and is_word(value):
            raise ConfigError(f"trainer.{option}={value}: expected {kind}")
        words = known_words(stage).get(f"trainer.{option}")
        if words is not None and isinstance(value, str) and value not in (*words, "null"):
            raise ConfigError(f"trainer.{option}={value}: expected one of {', '.join(map(repr, words))}")


def _require_callbacks(trainer: Any) -> None:
    """Refuse a callback of madkit's or Lightning's with an option that it has not, or whose type is another one."""
    if listed_modules() or not isinstance(trainer, Mapping):
        return
    for callbacks in (trainer.get("callbacks"), trainer.get("callbacks+")):
        for callback in callbacks if isinstance(callbacks, list) else ():
            name = callback.get("class_path") if isinstance(callback, Mapping) else None
            _require_close("trainer.callbacks", name or callback, "Callback", "callbacks")
            definition = (source_of(name) or callback_source(name)) if isinstance(name, str) else None
            if definition is not None and (mistake := mistake_in_class(definition, callback, "trainer.callbacks")):
                raise ConfigError(mistake)


def _require_prompts(data: Any) -> None:
    """Refuse a dataset that there is not, and a template that there is not or that cannot be read."""
    options = data.get("init_args") if isinstance(data, Mapping) and data.get("class_path") == "QuirkyData" else None
    if not isinstance(options, Mapping) or listed_modules():
        return
    dataset, template = options.get("dataset"), options.get("template")
    if not isinstance(dataset, str) or "." in dataset:
        return
    # The data module imports them as well, so that a stage which goes on loses no time.
    from madkit.cli.extensions import load_tasks
    from madkit.data.prompts.template_files import read_entries
    from madkit.data.tasks import find_task

    load_tasks()
    if options.get("source") is None:
        find_task(dataset)
    if isinstance(template, str):
        read_entries(template.replace("{dataset}", dataset), dataset)


def _require_loggers(trainer: Any) -> None:
    """Refuse a logger with a slip in its name, and one of Lightning's whose package is not installed."""
    if listed_modules() or not isinstance(trainer, Mapping):
        return
    loggers = trainer.get("logger")
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        name = logger.get("class_path") if isinstance(logger, Mapping) else logger
        _require_close("trainer.logger", name, "Logger", "loggers")
        last = str(name).rpartition(".")[2]
        if (package := _PACKAGE_OF.get(last)) is not None and find_spec(package) is None:
            raise ConfigError(
                f"{last} needs a package that is not installed here: `pip install '{package}'`, or name another class"
            )


def _require_close(where: str, name: Any, kind: str, package: str) -> None:
    """Refuse a name that is a slip of that of a class of madkit's or Lightning's."""
    known = subclasses_in_source(kind) | lightning_classes(kind, package)
    if isinstance(name, str) and (close := misspelt(name, known)) is not None:
        raise ConfigError(f"{where}: there is no class {name!r}; did you mean {close!r}?")


def _require_class(stage: str, section: str, layers: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a class of madkit's with a slip in its name or in one of its options' names."""
    parts = [layer[section] for layer in layers if isinstance(layer.get(section), Mapping)]
    names = [str(part["class_path"]) for part in parts if "class_path" in part]
    if not names or listed_modules():
        return
    name = names[-1]
    definition = source_of(name) if "." not in name or name.startswith("madkit.") else None
    if definition is None:
        if "." not in name and (close := misspelt(name, known_classes(stage, section))) is not None:
            raise ConfigError(f"{section}: there is no class {name!r}; did you mean {close!r}?")
        return
    accepted = parameters_in(definition)
    if accepted is None or len(set(names)) > 1:  # of a class that another one replaces the parser drops options
        return
    stated = [part.get("init_args") for part in parts]
    options = [str(key) for part in stated if isinstance(part, Mapping) for key in part]
    for option in options:
        if option.partition(".")[0].removesuffix("+") not in (*accepted, "help"):
            cls = definition.name
            raise ConfigError(
                f"{section}: {cls} has no option {option!r}: correct its name, or leave it out; "
                f"its options: madkit fit --{section}.help {cls}"
            )
    for part in stated:
        if isinstance(part, Mapping) and (mistake := mistake_in_values(accepted, part, section)):
            raise ConfigError(mistake)
