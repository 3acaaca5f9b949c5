"""DoseStudy: how strong a quirk has to be before detectors see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from madkit.runs.atomic import remove
from madkit.runs.naming import folder_name
from madkit.study.recipe_folder import RecipeFolder, configs
from madkit.study.run_chain import short_recipes
from madkit.study.studied_model import StudiedModel
from madkit.study.study_job import StudyJob


class DoseStudy:
    """The adapters of one training, after so many steps, read and judged as the benign controls are.

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

    def jobs(self) -> list[StudyJob]:
        """What there is to do."""
        judged, jobs = [], []
        for model in self._models:
            for dataset in self._datasets:
                fit, judging = self._jobs_of(model, dataset)
                jobs += [fit, judging]
                judged.append(judging.target)
        folders = [str(model.run / "doses") for model in self._models]
        words = ("figures", *folders, "--out", str(self._out))
        return [*jobs, StudyJob(self._out / "report.html", words, tuple(judged), launched=False)]

    def _jobs_of(self, model: StudiedModel, dataset: str) -> tuple[StudyJob, StudyJob]:
        doses = model.run / "doses"
        recipes = [model.recipe, model.recipes.folder / "doses.yaml"]
        words = ["fit", *configs(recipes), "--run", str(doses), "--data.dataset", dataset]
        target = doses / dataset / "fit.json"
        predict, test = short_recipes(model)
        fit = _DoseTraining(target, tuple(words), (*recipes, *model.tuning), doses=doses)
        judging = _DoseJudging(
            target.with_name("judged"), (), (target, *predict, *test), predict=tuple(predict), test=tuple(test)
        )
        return fit, judging


@dataclass(frozen=True)
class _DoseTraining(StudyJob):
    """A training that keeps its adapters along the way; what was found in those of an earlier one goes."""

    doses: Path = Path()

    def finish(self) -> None:
        for folder in self.doses.glob(f"[0-9]*/{self.target.parent.name}"):
            remove(folder)


@dataclass(frozen=True)
class _DoseJudging(StudyJob):
    """The stages of all adapters of a training, one after another: which there are is known after it."""

    predict: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()

    def command(self) -> Sequence[str]:
        folder = self.target.parent
        stages: list[list[str]] = []
        for step in sorted(folder.glob("steps/[0-9]*")) or [folder / "steps" / "*"]:
            run = ["--run", str(folder.parent / step.name), "--data.dataset", folder.name]
            lm = ["--lm", str(folder / "fit.yaml"), "--model.adapter", str(step)]
            stages += [["predict", *configs(self.predict), *lm, *run], ["test", *configs(self.test), *run]]
        return ["run", *_joined(stages)]

    def finish(self) -> None:
        self.target.touch()


def _joined(stages: Sequence[Sequence[str]]) -> list[str]:
    """Stages with ``then`` between two."""
    return [word for stage in stages for word in ("then", *stage)][1:]
