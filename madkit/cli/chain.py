"""`madkit run`: stages one after another, which share the imports of one start-up.

Importing torch, Lightning and transformers takes longer than many a stage. So one process imports them, and each stage
begins as a copy of it: what a stage does is what it does alone, and nothing but imports is handed on to the next.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from madkit.cli.slurm import next_stage
from madkit.cli.stage_process import StageProcess
from madkit.cli.stated import stated_options
from madkit.cli.uncollected import uncollected
from madkit.errors import ConfigError

HELP = """\
usage: madkit run STAGE [option ...] then STAGE [option ...] [then ...]

Run stages one after another, with the imports of one start-up; each is what it is alone:

  madkit run fit     --config recipes/llama.yaml --data.dataset addition \\
        then predict --config recipes/predict.yaml \\
        then test    --config recipes/test.yaml

A stage that names no --run, --data.dataset or --lm takes that of the stage before it. The first stage that fails ends
the chain, with its status. Given again, the same chain skips what is complete and continues what is not.
"""

_STAGES = ("fit", "validate", "predict", "test")
#: What a stage imports only when it works, so that a mistake is told at once. Together it takes up to a second.
LATER = {
    "fit": ("datasets", "peft", "torch.utils.tensorboard", "matplotlib.figure", "matplotlib.backends.backend_agg"),
    "validate": ("datasets", "peft"),
    "predict": ("datasets", "peft"),
    "test": ("scipy.stats", "sklearn.linear_model", "sklearn.pipeline"),
}


def run_chain(words: Sequence[str], main: Callable[[Sequence[str]], int]) -> int:
    """Run a chain of stages.

    Args:
        words: the stages and their options, with ``then`` between two stages.
        main: runs one command line in this process and returns its status.

    Returns:
        0, or the status of the first stage that failed.

    Raises:
        ConfigError: a stage is not one, or a recipe cannot be read.
        Interrupted: a signal came while no stage ran.
    """
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    stages = split(words)
    with StageProcess(main) as process:
        with uncollected():
            completed = hand_on(stages)
            _import_stages(completed)
        for stage in completed:
            if status := process.run(stage):
                return status
            next_stage(os.environ)
    return 0


def split(words: Sequence[str]) -> list[list[str]]:
    """The command line of each stage.

    Raises:
        ConfigError: one does not begin with a stage.

    Example:
        >>> split(["fit", "--run", "runs/a", "then", "test", "--run", "runs/a"])
        [['fit', '--run', 'runs/a'], ['test', '--run', 'runs/a']]
    """
    stages: list[list[str]] = [[]]
    for word in words:
        if word == "then":
            stages.append([])
        else:
            stages[-1].append(word)
    for stage in stages:
        if not stage or stage[0] not in _STAGES:
            found = repr(stage[0]) if stage else "nothing"
            raise ConfigError(
                f"run: {found} where a stage should begin; each part, with `then` between two, begins with one of "
                f"{', '.join(_STAGES)}: madkit run --help"
            )
    return stages


def hand_on(stages: Sequence[Sequence[str]]) -> list[list[str]]:
    """Complete each stage's options by those of the stage before it.

    ``--run``, ``--data.dataset`` and ``--lm`` of a command line count for the stages that follow, too. Where there is
    none, a stage works on the dataset that the recipe before it names and, unless its own recipe names another, in that
    one's run folder.

    Args:
        stages: the stages and their options.

    Returns:
        The same, with those options added that a stage takes over.

    Raises:
        ConfigError: a recipe cannot be read.
    """
    trees = [stated_options(options) for _, *options in stages]
    completed: list[list[str]] = []
    before: dict[str, str] = {}
    typed: set[str] = set()
    for (stage, *options), tree in zip(stages, trees, strict=True):
        known, own = _handed(tree), _handed(stated_options(list(_without_recipes(options))))
        taken = {
            name: value
            for name, value in before.items()
            if name not in own and _takes(stage, tree, name) and (name != "run" or name in typed or name not in known)
        }
        completed.append([stage, *options, *(word for name in taken for word in (f"--{name}", taken[name]))])
        typed |= own.keys()
        before |= known | taken
    return completed


def _handed(tree: dict[str, Any]) -> dict[str, str]:
    """The options that a stage hands on, as far as they are stated."""
    data = tree.get("data") or {}
    stated = {"run": tree.get("run"), "data.dataset": data.get("init_args", {}).get("dataset"), "lm": tree.get("lm")}
    return {name: str(value) for name, value in stated.items() if value is not None}


def _without_recipes(options: Sequence[str]) -> Iterator[str]:
    """The words of a command line, but for the recipes that it names."""
    words = iter(options)
    for word in words:
        if word in ("-c", "--config"):
            next(words, None)
        elif not word.startswith("--config="):
            yield word


def _takes(stage: str, tree: dict[str, Any], name: str) -> bool:
    """Whether a stage has an option that another one hands on."""
    if name == "lm":  # `test` reads vectors
        return stage != "test"
    if name == "run":
        return True
    data = (tree.get("data") or {}).get("class_path")
    if data is None:
        return stage == "predict"  # whose data are those of the fit
    from lightning import LightningDataModule

    from madkit.cli.named_class import named_class, parameters_of

    return "dataset" in parameters_of(named_class(data, LightningDataModule))


def _import_stages(stages: Sequence[Sequence[str]]) -> None:
    """Import what stages need, so that each begins with it; and later imports, where more than one stage needs them."""
    import madkit.cli.stages  # noqa: F401
    from madkit.cli.registry import import_named

    for _, *options in stages:
        import_named(options)
    shared = Counter(module for stage, *_ in stages for module in LATER[stage])
    import_later(module for module, count in shared.items() if count > 1)


def import_later(modules: Iterable[str]) -> None:
    """Import modules of `LATER` now, as far as they are there: the stage that needs one will say so."""
    for module in modules:
        with suppress(ImportError):
            import_module(module)
