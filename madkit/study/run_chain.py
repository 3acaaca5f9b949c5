"""RunChain: the stages of one run, one after another in one process, and the jobs of a run with its control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from madkit.study.recipe_folder import configs
from madkit.study.studied_model import StudiedModel
from madkit.study.study_job import StudyJob

#: `test` would draw its results for TensorBoard, which takes longer than judging them; here all are drawn at the end.
_UNDRAWN = ("--trainer.logger", "false")


@dataclass(frozen=True)
class RunChain:
    """Fit, predict and test of a model on a dataset."""

    model: StudiedModel
    dataset: str
    run: Path
    """The folder of the run, in which there is one a dataset."""
    fit: Sequence[Path]
    """Recipes of the stage, as are the next two."""
    predict: Sequence[Path]
    test: Sequence[Path]
    tuning: Sequence[str] = ()
    """Further options of `fit`."""
    judging: Sequence[str] = ()
    """Further options of `test`."""

    @property
    def target(self) -> Path:
        """What the last stage writes last."""
        return self.run / self.dataset / "detection" / "results.parquet"

    @property
    def needs(self) -> list[Path]:
        """The files that it reads."""
        return [*self.fit, *self.model.tuning, *self.predict, *self.test]

    @property
    def words(self) -> list[str]:
        """The stages with ``then`` between two, as words after ``madkit run``."""
        return [
            "fit", *configs(self.fit), "--run", str(self.run), *self.model.based("--model.base"),
            "--data.dataset", self.dataset, *self.tuning, "then", "predict", *configs(self.predict),
            "then", "test", *configs(self.test), *self.judging, *_UNDRAWN,
        ]  # fmt: skip

    def jobs(self, control: RunChain | None = None, encoders: Sequence[Path] = ()) -> list[StudyJob]:
        """The run and its control: in one process, since starting one takes longer than the control's stages.

        The control comes first, so that the run's results are the last file; it is made alone where only it is missing.

        Args:
            control: its control, where it has one.
            encoders: files by which encoders are known that the run reads.
        """
        if control is None:
            return [StudyJob(self.target, ("run", *self.words), (*self.needs, *encoders))]
        needs = tuple(dict.fromkeys([*self.needs, *encoders, *control.needs]))
        both = ("run", *control.words, "then", *self.words)
        return [
            StudyJob(self.target, both, needs, makes=(control.target,)),
            StudyJob(control.target, ("run", *control.words), after=(self.target,)),
        ]


def short_recipes(model: StudiedModel) -> tuple[list[Path], list[Path]]:
    """The recipes of `predict` and `test` that read and judge only what a comparison with the base model needs."""
    folder = model.recipes.folder
    predict = [folder / "predict.yaml", *model.recipes.stage(model.model, "predict-short")]
    return predict, [folder / "test.yaml", folder / "test-short.yaml"]
