"""`madkit study`: many runs with one command, side by side; what is there already stays."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from madkit.cli.chain import split
from madkit.cli.commands.recipes import write_recipes
from madkit.cli.early_errors import refuse_early
from madkit.cli.job_server import WORKS_HERE, JobServer
from madkit.errors import ConfigError
from madkit.plugins import import_listed
from madkit.study import DetectionStudy, DoseStudy, JobRunner, PairStudy, StressStudy, StudyJob
from madkit.study.job_runner import ENVIRONMENT, line_of
from madkit.study.pair_study import MEMBERS as PAIRED
from madkit.study.poser_family import MEMBERS
from madkit.study.studied_model import Bases

MODELS = ("tiny-llama", "tiny-mistral")
DATASETS = (
    "addition", "subtraction", "multiplication", "modularaddition", "squaring", "hemisphere", "population", "sentiment",
    "nli",
)  # fmt: skip


def study(
    of: Literal["detection", "doses", "pairs", "stress"] = "detection",
    models: list[str] | None = None,
    datasets: list[str] | None = None,
    seeds: list[int] | None = None,
    poser: list[str] | None = None,
    over: list[str] | None = None,
    bases: Bases = "shipped",
    benign: bool = True,
    runs: str = "runs",
    out: str | None = None,
    recipes: str = "recipes",
    jobs: int | None = None,
    launch: str = "",
    with_: list[str] | None = None,
    dry_run: bool = False,
) -> int:
    """Run what is missing or older than its recipes, and draw the figures; given again, it continues.

    Args:
        of: "detection": every model with every dataset, to its figures. "doses": how strong a quirk has to be before
            detectors see it, from the adapters of one training. "stress": what detectors withstand, in RUNS/stress.
            "pairs": small models that look alike until they are perturbed, and small models that hold back; it takes
            no models and datasets.
        models: Names of recipes, such as llama; by default tiny-llama and tiny-mistral, and tiny-llama alone for doses
            and stress.
        datasets: Names of datasets; by default nine, and addition, hemisphere and sentiment for doses and stress.
        seeds: Each run with these seeds, 0 by default; those of others lie in MODEL@SEED.
        poser: Families of models that are compared in pairs; by default tiny-poser, none where it is given without any.
        over: What is laid over predict.yaml and test.yaml, by default encoders and lora; volume is another one.
        bases: Bases of small models. "shipped": that of seed 0 comes with madkit, and other seeds train their own.
            "shared": all seeds have that of seed 0, and differ in data and LoRA alone. "train": all are trained here.
        benign: Whether each run has a benign control beside it.
        runs: Folder of the runs.
        out: Folder of the figures; by default figures, and figures/doses, figures/stress or figures/pairs for those.
        recipes: Folder of the recipes; where there is none, those that come with madkit are written to it.
        jobs: How many commands run side by side, each with one thread; by default one per core.
        launch: Words before each command, such as "srun -c 8".
        with_: Python files, or modules by name, whose classes recipes name, and with figures of your own.
        dry_run: Only print the commands that would be run.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs={jobs} must be at least 1")
    if any(seed < 0 for seed in seeds or ()):
        raise ConfigError(f"seeds={seeds} must be 0 or more")
    given: dict[str, object] = {"seeds": seeds, "poser": poser, "over": over}
    given |= {"bases": None if bases == "shipped" else bases, "benign": None if benign else benign}
    if of == "pairs":
        given |= {"models": models, "datasets": datasets}
    if of != "detection" and (strange := [name for name, value in given.items() if value is not None]):
        raise ConfigError(f"{' and '.join(strange)}: `madkit study {of}` takes no such options; leave them out")
    for module in with_ or []:
        import_listed(module)
    if not Path(recipes).is_dir():
        write_recipes(Path(recipes))
    figures = Path(out or ("figures" if of == "detection" else f"figures/{of}"))
    few = models or ["tiny-llama"], datasets or ["addition", "hemisphere", "sentiment"]
    planned: list[StudyJob]
    if of == "doses":
        planned = DoseStudy(Path(recipes), Path(runs), figures, *few).jobs()
    elif of == "stress":
        planned = StressStudy(Path(recipes), Path(runs) / "stress", figures, *few).jobs()
    elif of == "pairs":
        planned = PairStudy(Path(recipes), Path(runs), figures).jobs()
    else:
        planned = DetectionStudy(
            Path(recipes), Path(runs), figures,
            MODELS if models is None else models,
            DATASETS if datasets is None else datasets,
            seeds=seeds or [0],
            poser=["tiny-poser"] if poser is None else poser,
            over=["encoders", "lora"] if over is None else over,
            benign=benign,
            bases=bases,
        ).jobs()  # fmt: skip
    planned = [replace(job, modules=tuple(with_ or ())) for job in planned]
    server = JobServer(ENVIRONMENT) if WORKS_HERE else None
    runner = JobRunner(planned, shlex.split(launch), jobs or os.cpu_count() or 1, server)
    due = runner.due()
    _refuse_early(due)
    if dry_run:
        for job in due:
            print(line_of(job))
        return 0
    return runner.run()


def _refuse_early(due: Sequence[StudyJob]) -> None:
    """A slip in the name of a dataset is said before anything runs, and not after the encoders are trained."""
    chains = [split(job.words[job.words[0] == "run" :]) for job in due if job.words[:1] in (("fit",), ("run",))]
    fits = [words for words in itertools.chain(*chains) if words[0] == "fit" and "--data.dataset" in words]
    if not fits:
        return
    from madkit.cli.extensions import load_tasks
    from madkit.data.tasks import task_names

    load_tasks()
    known = {*task_names(), *MEMBERS, *PAIRED}
    for stage, *options in fits:
        dataset = options[options.index("--data.dataset") + 1]
        if dataset not in known:
            refuse_early(stage, options)  # unless it is a class, or its recipe names a table
            known.add(dataset)
