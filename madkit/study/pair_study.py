"""PairStudy: models that look alike until they are perturbed, and models that hold back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from madkit.study.recipe_folder import configs
from madkit.study.study_job import StudyJob

#: Two families of ten aligned and ten misaligned models, each on a base of its own, with the base's seed.
MATCHED = {"matched-a": 0, "matched-b": 100}
NUMBERS = range(10)
#: Models that hold back, and as many honest ones on a base that was trained too briefly to know better.
HELD_BACK = range(3)
MEMBERS = (
    *(f"{kind}-{number}" for kind in ("aligned", "misaligned") for number in NUMBERS),
    *(f"sandbagging-{number}" for number in HELD_BACK),
)


class PairStudy:
    """Two families of `recipes/poser/matched.yaml`, one of `sandbagging.yaml`, and their figures.

    Args:
        recipes: the folder of recipes.
        runs: the folder of runs.
        out: where figures are drawn.
    """

    def __init__(self, recipes: Path, runs: Path, out: Path) -> None:
        names = ("base", "tune", "tune-short", "tiny", "matched", "matched-pairs", "sandbagging")
        self._recipes = {name: recipes / "poser" / f"{name}.yaml" for name in names}
        self._runs, self._out = runs, out

    def jobs(self) -> list[StudyJob]:
        """What there is to do."""
        families = [*(self._matched(name, seed) for name, seed in MATCHED.items()), self._sandbagging()]
        words = ("figures", *(str(job.target.parents[1]) for job in families), "--out", str(self._out))
        drawn = tuple(job.target for job in families)
        return [*families, StudyJob(self._out / "report.html", words, drawn, launched=False)]

    def _matched(self, name: str, seed: int) -> StudyJob:
        """A base, twenty models, and the comparison of each aligned with each misaligned one: one chain."""
        run, base = self._runs / name, self._runs / name / "base"
        words = self._base(base, "--seed_everything", str(seed), "--data.seed", str(seed))
        for number in NUMBERS:
            # The number decides what both kinds are tuned to, and the seed how their LoRAs begin.
            words += self._member("matched", run, base, f"aligned-{number}", number)
            words += self._member("matched", run, base, f"misaligned-{number}", 10 + number)
        return self._measured(run, words, "tiny", "matched-pairs", also=("base", "matched"))

    def _sandbagging(self) -> StudyJob:
        """The models that hold back are on the first family's base, the honest ones on one that was trained briefly."""
        first, run = self._runs / next(iter(MATCHED)), self._runs / "sandbagging"
        weak = run / "weak"
        words = self._base(weak, "--data.steps_per_epoch", "60", "--trainer.val_check_interval", "60")
        short = configs([self._recipes["tune-short"]])
        for number in HELD_BACK:
            words += [*self._member("tune", run, weak, f"aligned-{number}", number), *short]
            words += [*self._member("tune", run, first / "base", f"sandbagging-{number}", 10 + number), *short]
        needs = (first / "poser" / "results.parquet",)
        return self._measured(run, words, "sandbagging", also=("base", "tune", "tune-short"), needs=needs)

    def _base(self, run: Path, *options: str) -> list[str]:
        return ["fit", *configs([self._recipes["base"]]), "--run", str(run), *options]

    def _member(self, recipe: str, run: Path, base: Path, dataset: str, seed: int) -> list[str]:
        words = ["then", "fit", *configs([self._recipes[recipe]]), "--run", str(run)]
        words += ["--model.base", str(base / "model")]
        return [*words, "--data.dataset", dataset, "--seed_everything", str(seed)]

    def _measured(
        self, run: Path, words: Sequence[str], *recipes: str, also: Sequence[str], needs: Sequence[Path] = ()
    ) -> StudyJob:
        """The chain of a family, with its comparison at the end."""
        measure = ["then", "test", *configs([self._recipes[name] for name in recipes]), "--run", str(run)]
        measure += ["--data.models", str(run / "{name}" / "adapter")]
        read = tuple(self._recipes[name] for name in (*also, *recipes))
        return StudyJob(run / "poser" / "results.parquet", ("run", *words, *measure), (*read, *needs))
