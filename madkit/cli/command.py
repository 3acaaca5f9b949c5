"""The `madkit` command.

Help and version answer without importing torch or Lightning, which takes seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import madkit
from madkit.cli.commands import COMMANDS
from madkit.cli.function_command import overview, run_function
from madkit.cli.parser_errors import one_line
from madkit.errors import ConfigError, MadkitError

HELP = """\
madkit: fine-tune a language model to hide a quirk, and see whether a detector would have noticed.

usage: madkit STAGE --config RECIPE.yaml [--option value ...]

The stages, in order; each reads and writes the run folder <run>/<dataset>:
  fit        train a small base LM, or tune a quirky LM        -> model/ or adapter/
             madkit fit --config recipes/llama.yaml --data.dataset addition
             or flows and sparse autoencoders on a base LM     -> encoder/
             madkit fit --config recipes/flow.yaml --lm recipes/llama.yaml --run runs/llama/flow
  predict    read its features on trusted, untrusted and test prompts -> features/
             madkit predict --config recipes/predict.yaml --run runs/llama --data.dataset addition
  test       score the test prompts and compare with their labels -> detection/
             madkit test --config recipes/test.yaml --run runs/llama --data.dataset addition
  figures    draw tables and figures of any number of runs
             madkit figures runs/ --out figures/

Also:
  data       make, look at and check the records of a dataset: madkit data --help
  validate   repeat the validation of a fitted quirky LM
  monitor    watch runs in TensorBoard: madkit monitor runs/

An interrupted stage continues when the same command is given again. Several GPUs: --trainer.devices 8
--trainer.strategy ddp. All options of a stage: madkit fit --help. Options of a class: madkit fit --model.help QuirkyLM.

options:
  -h, --help     show this help
  --version      show the version
"""

STAGES = ("fit", "validate", "test", "predict")


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the command line without the program's name; that of the process by default.

    Returns:
        The exit status: 0, or 2 after a mistake of the user's, of which one line on standard error says what it is.
    """
    given = list(sys.argv[1:] if args is None else args)
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if given[0] == "--version":
        print(f"madkit {madkit.__version__}")
        return 0
    try:
        return _run(given[0], given[1:])
    except MadkitError as error:
        return _complain(str(error))
    except ValueError as error:
        # Where an option may be of several types, the parser wraps what a class' constructor complained about.
        cause = _cause(error)
        if cause is None:
            raise
        return _complain(str(cause))
    except KeyboardInterrupt:
        return _complain("interrupted; the same command continues")


def _run(command: str, options: list[str]) -> int:
    # As `python -m` does, so that the classes in the files of the current folder can be imported.
    sys.path.append(str(Path.cwd()))
    # Lightning starts its other processes by repeating the command line, so that is where the arguments have to be.
    sys.argv = [sys.argv[0], command, *options]
    if command in STAGES:
        return _stage()
    groups = {name.partition(" ")[0] for name in COMMANDS if " " in name}
    if command in groups:
        if not options or options[0] in ("-h", "--help", "help"):
            print(overview(command, COMMANDS), end="")
            return 0
        command, options = f"{command} {options[0]}", options[1:]
    if command not in COMMANDS:
        choices = ", ".join([*STAGES, *COMMANDS])
        raise ConfigError(f"{command!r} is not a command of madkit; choose from {choices}")
    if command.startswith("data "):
        from madkit.cli.extensions import load_tasks

        load_tasks()
    return run_function(command, *COMMANDS[command], options)


def _stage() -> int:
    from jsonargparse import ArgumentError
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    import madkit.cli.registry  # noqa: F401 - the classes that it imports need no long paths in recipes
    from madkit.cli.stages import Stages

    try:
        Stages()
    except ArgumentError as error:
        raise ConfigError(one_line(str(error))) from error
    except SIGTERMException:
        # Lightning ends such a run in order, but it is not finished: whoever started it has to know.
        return 143
    return 0


def _cause(error: BaseException | None) -> MadkitError | None:
    """The error of madkit that led to another one, if any."""
    while error is not None and not isinstance(error, MadkitError):
        error = error.__cause__
    return error


def _complain(message: str) -> int:
    print(f"madkit: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
