"""Run a function as a command: its signature is the command line, and its docstring the help.

Parameters without a default are positional, the others are options; the last positional one may be a list. A list is
given as ``--models a b``, or by giving the option again; before a positional list it takes one word. Where no parameter
is required, a first word that is no option is the first parameter. A flag may be given without a value. An underscore
at the end of a name, which sets a parameter apart from a word of Python, is left out. With ``--config FILE.yaml``
options come from a file; those given after it count.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from madkit.cli.parser_errors import one_line
from madkit.errors import ConfigError


def overview(group: str, commands: Mapping[str, tuple[str, str]]) -> str:
    """What the commands of a group can do.

    Args:
        group: the word that their names begin with.
        commands: by name, a function's path and a line of help.
    """
    texts = {name.removeprefix(f"{group} "): text for name, (_, text) in commands.items() if name.split()[0] == group}
    width = max(map(len, texts))
    return "\n".join(
        [
            f"usage: madkit {group} COMMAND [options]",
            "",
            *(f"  {name:<{width}}  {text}" for name, text in texts.items()),
            "",
            f"All options of a command: madkit {group} COMMAND --help",
            "",
        ]
    )


def run_function(name: str, path: str, summary: str, words: Sequence[str]) -> int:
    """Run the function of a command.

    Args:
        name: the command.
        path: its function's module and name.
        summary: a line of help.
        words: the command line after the command's name.

    Returns:
        What the function returns, the exit status.

    Raises:
        ConfigError: an option does not exist, is missing, or has a value that it cannot have.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    from madkit.cli.recipe_files import read_recipe, read_strictly

    read_strictly()
    module, _, attribute = path.rpartition(".")
    function: Callable[..., int] = getattr(importlib.import_module(module), attribute)
    parser = ArgumentParser(prog=f"madkit {name}", exit_on_error=False, description=summary, print_config=None)
    parser.add_argument("--config", action="config", help="A YAML file with some of the options.")
    parser.add_function_arguments(function, as_positional=True)
    if {"-h", "--help"} & set(words):
        print(re.sub(r"(?<=\w)_(?=\W)", "", parser.format_help()), end="")
        return 0
    try:
        parsed = _as_parsed(function, words)
        for option, value in itertools.pairwise(parsed):
            if option == "--config":
                read_recipe(Path(value))
        arguments = parser.parse_args(parsed)
    except (ArgumentError, _UnknownOptionError) as error:
        message = one_line(str(error)).partition("; all options")[0]
        raise ConfigError(f"{name}: {message}; all options: madkit {name} --help") from error
    given: dict[str, Any] = parser.instantiate_classes(arguments).as_dict()
    del given["config"]
    return function(**given)


def _as_list(words: Sequence[str], hint: Any) -> str:
    """Words of a list in one; whole numbers are taken for what they are only where they are asked for."""
    numbers = list[int] in (hint, *get_args(hint)) and all(re.fullmatch(r"-?\d+", word) for word in words)
    return json.dumps([int(word) for word in words] if numbers else list(words))


#: The words that a flag may be followed by; without one of them it is set.
_TRUTHS = ("true", "false", "yes", "no")


class _UnknownOptionError(ValueError):
    """An option that is no parameter of a command's function."""


def _as_parsed(function: Callable[..., int], words: Sequence[str]) -> list[str]:
    """A command line in the form that the parser reads: a list is one word, and an option has its parameter's name.

    Example:
        >>> def show(models: list[str] | None = None, with_: str | None = None) -> int: ...
        >>> _as_parsed(show, ["--models", "a", "b", "--with", "c"])
        ['--with_', 'c', '--models', '["a", "b"]']
        >>> def pack(part_size: str = "48MB") -> int: ...
        >>> _as_parsed(pack, ["--part-size", "2GB"])
        ['--part_size', '2GB']
        >>> def draw(runs: list[str], out: str = "figures") -> int: ...
        >>> _as_parsed(draw, ["runs/a", "runs/b", "--out", "c"])
        ['--out', 'c', '["runs/a", "runs/b"]']
        >>> def draw(runs: list[str], with_: list[str] | None = None) -> int: ...
        >>> _as_parsed(draw, ["--with", "a.py", "--with", "b.py", "runs/a"])
        ['--with_', '["a.py", "b.py"]', '["runs/a"]']
        >>> _as_parsed(draw, ["--with", "a.py", "runs/a", "runs/b"])
        ['--with_', '["a.py"]', '["runs/a", "runs/b"]']
        >>> def study(of: str = "detection", dry_run: bool = False, benign: bool = True) -> int: ...
        >>> _as_parsed(study, ["doses", "--dry-run", "--benign", "no"])
        ['--of', 'doses', '--dry_run', 'true', '--benign', 'no']
    """
    parameters = inspect.signature(function).parameters.values()
    hints = get_type_hints(function)
    lists = {p.name for p in parameters if {list[str], list[int]} & {hints[p.name], *get_args(hints[p.name])}}
    required = [p.name for p in parameters if p.default is p.empty]
    alone: list[str] = []
    options: list[str] = []
    several: dict[str, list[str]] = {}
    last_list, taken = "", list[str]()
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-"):
            alone.append(word)
            continue
        option, equals, value = word.partition("=")
        name = option.removeprefix("--")
        name = name.replace("-", "_") if name.replace("-", "_") in hints else name
        name = f"{name}_" if f"{name}_" in hints else name
        if name.rstrip("+").partition(".")[0] not in (*hints, "config"):
            close = difflib.get_close_matches(name, hints, n=1)
            raise _UnknownOptionError(
                f"there is no option {option!r}" + (f"; did you mean --{close[0]}?" if close else "")
            )
        if equals:
            items = [value]
        elif name in lists:
            items = list(itertools.takewhile(lambda word: not word.startswith("-"), left))
            del left[: len(items)]
        elif hints.get(name) is bool and not (left and left[0].lower() in _TRUTHS):
            items = ["true"]
        else:
            items = [left.pop(0)] if left else []
        # One word may be a list already, as YAML writes it.
        if name in lists and not (len(items) == 1 and items[0].startswith("[")):
            several[name] = [*several.get(name, []), *items]
            last_list, taken = name, items
            continue
        options += [f"--{name}" if option.startswith("--") else option, *items]
    if required and required[-1] in lists and len(alone) < len(required) and len(taken) > 1:
        # Nothing is left for the list that has to be there: the words of the last option, but its first, are that.
        alone += taken[1:]
        del several[last_list][1 - len(taken) :]
    options += [word for name, words in several.items() for word in (f"--{name}", _as_list(words, hints[name]))]
    if alone and not required:
        first, *alone = alone
        options = [f"--{next(iter(hints))}", first, *options]
    if required and required[-1] in lists:
        last = alone[len(required) - 1 :]
        alone = [*alone[: len(required) - 1], *([json.dumps(last)] if last else [])]
    return [*options, *alone]
