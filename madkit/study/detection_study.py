"""DetectionStudy: quirky models, their benign controls, detection, and the models that are compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from madkit.runs.naming import folder_name
from madkit.study.poser_family import family_job
from madkit.study.recipe_folder import RecipeFolder
from madkit.study.run_chain import RunChain, short_recipes
from madkit.study.studied_model import Bases, StudiedModel
from madkit.study.study_job import StudyJob


class DetectionStudy:
    """All models with all datasets and seeds, and what is drawn of them.

    Args:
        recipes: the folder of recipes.
        runs: the folder of runs.
        out: where figures are drawn.
        models: names of recipes.
        datasets: names of datasets.
        seeds: 0 is what the recipes say.
        poser: families of models that are compared in pairs.
        over: what is laid over the recipes of `predict` and `test`: ``encoders``, ``lora``, ``volume``.
        benign: whether each run has a control beside it.
        bases: which bases of small models are trained here, as in `StudiedModel`.

    Raises:
        ConfigError: a model has no recipe, or a name is none of a folder.
    """

    def __init__(
        self,
        recipes: Path,
        runs: Path,
        out: Path,
        models: Sequence[str],
        datasets: Sequence[str],
        *,
        seeds: Sequence[int] = (0,),
        poser: Sequence[str] = (),
        over: Sequence[str] = ("encoders", "lora"),
        benign: bool = True,
        bases: Bases = "shipped",
    ) -> None:
        self._recipes = RecipeFolder(recipes)
        self._runs, self._out, self._poser = runs, out, list(poser)
        self._datasets = [folder_name(dataset, "datasets") for dataset in datasets]
        self._over, self._benign = list(over), benign
        self._models = [
            StudiedModel(folder_name(model, "models"), self._recipes, runs, seed, bases=bases)
            for seed in seeds
            for model in models
        ]

    def jobs(self) -> list[StudyJob]:
        """What there is to do, the longest chain first."""
        families = [family_job(self._recipes.folder, self._runs / family) for family in self._poser]
        shared = [job for model in self._models for job in model.base_job()]
        if "encoders" in self._over:
            shared += [job for model in self._models for job in model.encoder_jobs()]
        runs = [job for model in self._models for dataset in self._datasets for job in self._run_jobs(model, dataset)]
        folders = [model.run for model in self._models] + [self._runs / family for family in self._poser]
        words = ("figures", *map(str, folders), "--out", str(self._out))
        results = [job.target for job in (*families, *runs)]
        return [*families, *shared, *runs, StudyJob(self._out / "table1.md", words, tuple(results), launched=False)]

    def _run_jobs(self, model: StudiedModel, dataset: str) -> list[StudyJob]:
        predict, test = (
            self._recipes.stage(model.model, stage, *(f"{stage}-{part}" for part in self._over))
            for stage in ("predict", "test")
        )
        run = RunChain(model, dataset, model.run, [model.recipe], predict, test, model.seeded())
        encoders = model.encoders if "encoders" in self._over else []
        return run.jobs(self._benign_chain(model, dataset) if self._benign else None, encoders)

    def _benign_chain(self, model: StudiedModel, dataset: str) -> RunChain:
        """The control that decides: a model that is tuned on the same task with the truth as everyone's answer."""
        fit = [model.recipe, *self._recipes.stage(model.model, "benign")]
        return RunChain(model, dataset, model.run / "benign", fit, *short_recipes(model), model.seeded())
