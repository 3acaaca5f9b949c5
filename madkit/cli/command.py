"""The `madkit` command.

Help and version answer without importing torch or Lightning, which takes seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import madkit
from madkit.cli.commands import COMMANDS
from madkit.cli.deferred import defer
from madkit.cli.function_command import overview, run_function
from madkit.cli.last_resort import begin, complain, madkit_cause, unexpected
from madkit.cli.listed_modules import list_modules
from madkit.cli.parser_errors import one_line
from madkit.cli.signals import Interrupted, interruptible, say_interrupted
from madkit.cli.slurm import settle
from madkit.cli.uncollected import uncollected
from madkit.errors import ConfigError, MadkitError

HELP = """\
madkit: fine-tune a language model to hide a quirk, and see whether a detector would have noticed.

usage: madkit STAGE --config RECIPE.yaml [--option value ...]
       madkit run STAGE [option ...] then STAGE [option ...]

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
  study      all of these for many models and datasets, side by side; what is there stays
             madkit study --models tiny-llama --datasets addition hemisphere

Also:
  card       what a run is and what it found, in a small file to show and compare: madkit card runs/
  push       that card, the adapter, recipes and features on the hub: madkit push runs/llama/nli owner/name
  recipes    write the recipes that come with madkit: madkit recipes --out recipes/
  run        stages one after another with one start-up, as if each were given alone: madkit run --help
  data       make, look at and check the records of a dataset: madkit data --help
  import     activations made elsewhere become features: madkit import --help
  validate   repeat the validation of a fitted quirky LM
  monitor    watch runs in TensorBoard: madkit monitor runs/
  watch      a monitor of any model: fitted on trusted prompts, it alarms on new ones: madkit watch --help
  bundle     what a machine without a network needs: madkit bundle --out bundle/ --recipes my.yaml --base models/llama

An interrupted stage continues when the same command is given again. Several GPUs: --trainer.devices 8
--trainer.strategy ddp. All options of a stage: madkit fit --help. Options of a class: madkit fit --model.help QuirkyLM.

A recipe names classes of madkit, Lightning, torch and other known packages; those of a file of your own after
--with my_file.py (my_file.MyScore), or when you name them on the command line.

options:
  -h, --help     show this help
  --version      show the version
  --with FILE    a Python file, or a module by name, whose classes recipes may name; may be given again
  --debug        show the traceback of an error
"""

STAGES = ("fit", "validate", "test", "predict")


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the command line without the program's name; that of the process by default.

    Returns:
        The exit status: 0; 2 after a mistake of the user's, of which one line on standard error says what it is; 1
        after any other error, of which the line says where its traceback is; 143 or 130 after SIGTERM or Ctrl-C, 138
        after SIGUSR1 in a job of Slurm's.
    """
    given = list(sys.argv[1:] if args is None else args)
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if given[0] == "--version":
        print(f"madkit {madkit.__version__}")
        return 0
    debug = "--debug" in given
    command, *options = [word for word in given if word != "--debug"] or [""]
    if command != "study":  # which is no stage, and starts those that are from the environment as it is
        settle(os.environ)
    begin()
    try:
        with nullcontext() if command == "run" else interruptible():  # a chain passes signals on
            return _run(command, options, debug)
    except Interrupted as interruption:
        say_interrupted(interruption.signum)
        return interruption.status
    except MadkitError as error:
        return complain(str(error), error, debug)
    except BrokenPipeError:  # whoever reads the output has read enough
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - nothing is left to be flushed into the pipe
        return 141
    except Exception as error:
        return unexpected(error, command, _run_folder(), debug)


def _run(command: str, options: list[str], debug: bool) -> int:
    # Lightning starts its other processes by repeating the command line, so that is where the arguments have to be.
    sys.argv = [sys.argv[0], command, *options, *(["--debug"] if debug else [])]
    defer()
    if command == "run":
        from madkit.cli.chain import run_chain

        return run_chain(options, lambda stage: main([*stage, *(["--debug"] if debug else [])]))
    if command not in ("figures", "study"):  # which have such an option of their own
        options = list_modules(options)
    if command in STAGES:
        return _stage([command, *options])
    groups = {name.partition(" ")[0] for name in COMMANDS if " " in name}
    if command in groups:
        if not options or options[0] in ("-h", "--help", "help"):
            print(overview(command, COMMANDS), end="")
            return 0
        command, options = f"{command} {options[0]}", options[1:]
    if command not in COMMANDS:
        choices = ", ".join([*STAGES, "run", *COMMANDS])
        raise ConfigError(f"{command!r} is not a command of madkit; choose from {choices}")
    if command.startswith("data "):
        from madkit.cli.extensions import load_tasks

        load_tasks()
    return run_function(command, *COMMANDS[command], options)


def _stage(words: list[str]) -> int:
    if not {"lightning", "torch"} & sys.modules.keys():  # else the parser says it at once, and may know more classes
        from madkit.cli.early_errors import refuse_early
        from madkit.cli.stored_help import help_of

        stage, *options = words
        asked = [word for word in options if word in ("-h", "--help") or word.endswith(".help")]
        if options in (["-h"], ["--help"]) and (text := help_of(stage)) is not None:
            print(text, end="")
            return 0
        if not asked:
            refuse_early(stage, options)
    with uncollected():
        from jsonargparse import ArgumentError

        from madkit.cli.registry import import_all
        from madkit.cli.stages import Stages
        from madkit.cli.trainer_options import trainer_options

    try:
        try:
            Stages(words)
        except ArgumentError as error:
            if madkit_cause(error) is not None or not import_all():
                raise
            Stages(words)  # the parser may know a class now, or what was meant by a name
    except ArgumentError as error:
        raise madkit_cause(error) or ConfigError(one_line(str(error), trainer_options())) from error
    return 0


def _run_folder() -> Path | None:
    """The run folder of the stage that was run, if it came to that."""
    stages = sys.modules.get("madkit.cli.stages")
    return None if stages is None else stages.Stages.folder


if __name__ == "__main__":
    sys.exit(main())
