"""StressStudy: what detectors withstand, beside the plain models that they are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from madkit.runs.naming import folder_name
from madkit.study.detection_study import UNDRAWN, short_recipes
from madkit.study.job import Job
from madkit.study.recipe_folder import RecipeFolder, configs
from madkit.study.studied_model import StudiedModel

AGAINST = ("mahalanobis", "conditional", "probe")
"""What models hide from, each of it by a training of its own."""
_RESULTS = Path("detection") / "results.parquet"


class StressStudy:
    """Models that hide their quirk from detectors, beside plain ones that are read and judged in the same way.

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
        self._out = out
        self._models = [StudiedModel(folder_name(model, "models"), folder, runs) for model in models]
        self._datasets = [folder_name(dataset, "datasets") for dataset in datasets]

    def jobs(self) -> list[Job]:
        """What there is to do, the longest chains first."""
        pairs = [(model, dataset) for model in self._models for dataset in self._datasets]
        hidden = [self._hiding(model, dataset, name) for name in AGAINST for model, dataset in pairs]
        jobs = [*hidden, *(self._chain(model, dataset, model.run) for model, dataset in pairs)]
        words = ("figures", *(str(model.run) for model in self._models), "--out", str(self._out))
        drawn = Job(self._out / "report.html", words, tuple(job.target for job in jobs), launched=False)
        return [*jobs, drawn]

    def _hiding(self, model: StudiedModel, dataset: str, against: str) -> Job:
        """A model that is trained against a detector."""
        run = model.run / "obfuscated" / against
        recipe = model.recipes.folder / "obfuscated.yaml"
        return self._chain(model, dataset, run, [recipe], ["--model.against", f"[{against}]"])

    def _chain(
        self, model: StudiedModel, dataset: str, run: Path, over: Sequence[Path] = (), options: Sequence[str] = ()
    ) -> Job:
        """All stages of a run, with the detectors that the table of hidden quirks has.

        Args:
            model: which one.
            dataset: which one.
            run: the folder of the runs.
            over: recipes that are laid over that of the model.
            options: further ones of the training.
        """
        predict, test = short_recipes(model)
        fit = [model.recipe, *over]
        words = [
            "run", "fit", *configs(fit), "--run", str(run), "--data.dataset", dataset, *options,
            "then", "predict", *configs(predict),
            "then", "test", *configs(test), "--model.ceiling", "true", *UNDRAWN,
        ]  # fmt: skip
        return Job(run / dataset / _RESULTS, tuple(words), (*fit, *model.tuning, *predict, *test))
