"""DetectionStudy: quirky models, their benign controls, detection, and the models that are compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from madkit.runs.naming import folder_name
from madkit.study.poser_family import family_job
from madkit.study.recipe_folder import RecipeFolder, configs
from madkit.study.studied_model import StudiedModel
from madkit.study.study_job import StudyJob

#: `test` would draw its results for TensorBoard, which takes longer than judging them; here all are drawn at the end.
UNDRAWN = ("--trainer.logger", "false")
_RESULTS = Path("detection") / "results.parquet"


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
        train_bases: whether the bases of small models are trained here.

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
        train_bases: bool = False,
    ) -> None:
        self._recipes = RecipeFolder(recipes)
        self._runs, self._out, self._poser = runs, out, list(poser)
        self._datasets = [folder_name(dataset, "datasets") for dataset in datasets]
        self._over, self._benign = list(over), benign
        self._models = [
            StudiedModel(folder_name(model, "models"), self._recipes, runs, seed, train_base=train_bases)
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
        """A run and its control: in one process, since starting one takes longer than the control's stages.

        The control comes first, so that the run's results are the last file; it is made alone where only it is missing.
        """
        own, read = self._run_chain(model, dataset)
        target = model.run / dataset / _RESULTS
        if not self._benign:
            return [StudyJob(target, ("run", *own), tuple(read))]
        chain, also_read = self._benign_chain(model, dataset)
        control = model.run / "benign" / dataset / _RESULTS
        needs = tuple(dict.fromkeys([*read, *also_read]))
        both = StudyJob(target, ("run", *chain, "then", *own), needs, makes=(control,))
        return [both, StudyJob(control, ("run", *chain), after=(target,))]

    def _run_chain(self, model: StudiedModel, dataset: str) -> tuple[list[str], list[Path]]:
        predict, test = (
            self._recipes.stage(model.model, stage, *(f"{stage}-{part}" for part in self._over))
            for stage in ("predict", "test")
        )
        encoders = model.encoders if "encoders" in self._over else []
        words = [
            "fit", *configs([model.recipe]), "--run", str(model.run), *model.based("--model.base"),
            "--data.dataset", dataset, *model.seeded(), "then", "predict", *configs(predict),
            "then", "test", *configs(test), *UNDRAWN,
        ]  # fmt: skip
        return words, [model.recipe, *model.tuning, *predict, *encoders, *test]

    def _benign_chain(self, model: StudiedModel, dataset: str) -> tuple[list[str], list[Path]]:
        """The control that decides: a model that is tuned on the same task with the truth as everyone's answer."""
        fit = [model.recipe, *self._recipes.stage(model.model, "benign")]
        predict, test = short_recipes(model)
        words = [
            "fit", *configs(fit), "--run", str(model.run / "benign"), *model.based("--model.base"),
            "--data.dataset", dataset, *model.seeded(), "then", "predict", *configs(predict),
            "then", "test", *configs(test), *UNDRAWN,
        ]  # fmt: skip
        return words, [*fit, *model.tuning, *predict, *test]


def short_recipes(model: StudiedModel) -> tuple[list[Path], list[Path]]:
    """The recipes of `predict` and `test` that read and judge only what a comparison with the base model needs."""
    folder = model.recipes.folder
    predict = [folder / "predict.yaml", *model.recipes.stage(model.model, "predict-short")]
    return predict, [folder / "test.yaml", folder / "test-short.yaml"]
