"""StudiedModel: a model of a study with one seed, the base that it is tuned on, and the options that say so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from madkit.runs.plain_files import read_yaml
from madkit.runs.shipped import shipped
from madkit.study.recipe_folder import TINY, RecipeFolder, configs
from madkit.study.study_job import StudyJob

ENCODERS = ("flow", "sae")

Bases: TypeAlias = Literal["shipped", "shared", "train"]
"""Which bases of small models are trained here: those of other seeds than 0, none, or all."""


class StudiedModel:
    """A row of runs: those of a model with a seed, in ``<runs>/<model>``, or ``<runs>/<model>@<seed>``.

    A small model has a base that comes with madkit, or one that is trained.

    Args:
        model: the name of its recipe.
        recipes: where that is.
        runs: the folder of all runs.
        seed: 0 for what the recipes say.
        bases: ``shipped``: the base of seed 0 comes with madkit, and each other seed trains its own. ``shared``: all
            seeds have that of seed 0. ``train``: each trains its own.

    Raises:
        ConfigError: the model has no recipe.
    """

    def __init__(
        self, model: str, recipes: RecipeFolder, runs: Path, seed: int = 0, *, bases: Bases = "shipped"
    ) -> None:
        self.model = model
        self.recipes = recipes
        self.recipe = recipes.of_model(model)
        self.seed = seed
        self.run = runs / (f"{model}@{seed}" if seed else model)
        self.trains_base = model.startswith(TINY) and (bases == "train" or (bases == "shipped" and seed != 0))

    @property
    def base(self) -> list[Path]:
        """The file by which its base is known, where that is made here or comes with madkit."""
        if self.trains_base:
            return [self.run / "base" / "fit.json"]
        weights = Path("bases") / self.model / "model.safetensors"
        found = weights if weights.is_file() else shipped(weights.as_posix())
        return [found] if found is not None else []

    def based(self, option: str) -> list[str]:
        """The option that names a base which is trained here: ``--model.base`` or ``--data.base``."""
        return [option, str(self.run / "base" / "model")] if self.trains_base else []

    def seeded(self) -> list[str]:
        """The options of another seed."""
        return ["--seed_everything", str(self.seed), "--data.seed", str(self.seed)] if self.seed else []

    def base_job(self) -> list[StudyJob]:
        """The training of its base, where it is trained here."""
        if not self.trains_base:
            return []
        recipes = [self.recipes.folder / "tiny" / "base.yaml"]
        recipes += self.recipes.own(self.model, f"{self.model.removeprefix(TINY)}-base")
        # By hundreds, so that none is that of another recipe. Small models of one size differ by their recipe's own.
        hundreds = 100 * self.seed
        seed = ["--seed_everything", str(hundreds + _seed_of(recipes)), "--data.seed", str(hundreds)]
        words = ["fit", *configs(recipes), "--run", str(self.run / "base"), *(seed if self.seed else [])]
        return [StudyJob(self.base[0], tuple(words), tuple(recipes))]

    def encoder_jobs(self) -> list[StudyJob]:
        """A flow and a sparse autoencoder per site of its base; every dataset uses the same ones."""
        jobs = []
        for kind, target in zip(ENCODERS, self.encoders, strict=True):
            recipes = self.recipes.stage(self.model, kind)
            words = ["fit", *configs(recipes), "--lm", str(self.recipe), "--run", str(self.run / kind)]
            words += self.based("--data.base") + (["--seed_everything", str(self.seed)] if self.seed else [])
            needs = (*recipes, self.recipe, *self.recipes.own(self.model, "texts"), *self.base)
            jobs.append(StudyJob(target, tuple(words), needs))
        return jobs

    @property
    def encoders(self) -> list[Path]:
        """The files by which its encoders are known."""
        return [self.run / kind / "fit.json" for kind in ENCODERS]

    @property
    def tuning(self) -> list[Path]:
        """What every tuning of it reads, beside its own recipes."""
        return [*self.recipes.own(self.model, "prompts"), *self.base]


def _seed_of(recipes: Sequence[Path]) -> int:
    """The seed that the last of some recipes names; 0 where none does."""
    named = [read_yaml(path, "recipe") or {} for path in recipes]
    return next((int(recipe["seed_everything"]) for recipe in reversed(named) if "seed_everything" in recipe), 0)
