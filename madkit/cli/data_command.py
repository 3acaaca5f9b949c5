"""The `madkit data` commands: make, look at and check the records of a dataset.

The signature of a function is its command line: parameters without a default are positional, the others are options,
and what its docstring says of them is their help. A list is given as `--models a b`. With `--config FILE.yaml` options
come from a file; those given after it count.
"""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Callable, Sequence
from typing import get_args, get_type_hints

from madkit.cli.parser_errors import one_line
from madkit.errors import ConfigError

#: Subcommand: the function that runs it (its arguments are the options, it returns the exit status); a line of help.
COMMANDS: dict[str, tuple[str, str]] = {
    "build": (
        "madkit.cli.commands.build.build",
        "make a dataset's records, of a raw table or by rule, and write them",
    ),
    "check": ("madkit.cli.commands.check.check", "say what is wrong with a dataset, and what is in it"),
    "show": ("madkit.cli.commands.show.show", "print some prompts of a dataset, with the answer of each"),
    "difficulty": ("madkit.cli.commands.difficulty.difficulty", "let language models judge how hard each question is"),
}


def overview() -> str:
    """What `madkit data` can do."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: madkit data COMMAND [options]",
            "",
            "Make, look at and check the records of a dataset.",
            "",
            *lines,
            "",
            "All options of a command: madkit data COMMAND --help",
            "",
        ]
    )


def data(options: list[str]) -> int:
    """Run one of the commands.

    Args:
        options: The command line after `madkit data`.

    Returns:
        The exit status.

    Raises:
        ConfigError: There is no such command, or it has no such option.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    if not options or options[0] in ("-h", "--help", "help"):
        print(overview(), end="")
        return 0
    name, *rest = options
    if name not in COMMANDS:
        raise ConfigError(f"data {name!r} is not a command; choose {', '.join(COMMANDS)}")
    function = _function(COMMANDS[name][0])
    parser = ArgumentParser(prog=f"madkit data {name}", exit_on_error=False, description=COMMANDS[name][1])
    parser.add_argument("--config", action="config", help="A YAML file with some of the options.")
    parser.add_function_arguments(function, as_positional=True)
    try:
        arguments = parser.parse_args(_gather_lists(function, rest))
    except ArgumentError as error:
        message = one_line(str(error)).partition("; all options")[0]
        raise ConfigError(f"data {name}: {message}; all options: madkit data {name} --help") from error
    given = parser.instantiate_classes(arguments).as_dict()
    del given["config"]
    from madkit.cli.extensions import load_tasks

    load_tasks()
    return function(**given)


def _gather_lists(function: Callable[..., int], words: Sequence[str]) -> list[str]:
    """Write the words after an option that takes a list as the one word that the parser reads as a list.

    Example:
        >>> def show(models: list[str] | None = None, seed: int = 0) -> int: ...
        >>> _gather_lists(show, ["--models", "a", "b", "--seed", "1"])
        ['--models', '["a", "b"]', '--seed', '1']
    """
    hints = get_type_hints(function)
    lists = {f"--{name}" for name, hint in hints.items() if list[str] in (hint, *get_args(hint))}
    gathered: list[str] = []
    words = list(words)
    while words:
        gathered.append(words.pop(0))
        if gathered[-1] in lists:
            items = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
            del words[: len(items)]
            # One word may be such a list already.
            gathered += items if len(items) < 2 and "".join(items)[:1] == "[" else [json.dumps(items)]
    return gathered


def _function(path: str) -> Callable[..., int]:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
