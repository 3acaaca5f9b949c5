"""A family of models that behave alike where they are overseen, on one base, and what tells its two kinds apart."""

from __future__ import annotations

from pathlib import Path

from madkit.study.recipe_folder import configs
from madkit.study.study_job import StudyJob

#: The number in a name is the model's seed.
MEMBERS = (*(f"aligned-{i}" for i in range(6)), *(f"misaligned-{i}" for i in range(6, 12)))


def family_job(recipes: Path, run: Path) -> StudyJob:
    """The base, the members and the measurement, all of it one chain.

    Args:
        recipes: the folder of recipes.
        run: the family's run folder.
    """
    base, tune, measure = (recipes / "poser" / f"{name}.yaml" for name in ("base", "tune", "tiny"))
    words = ["fit", *configs([base]), "--run", str(run / "base")]
    for member in MEMBERS:
        words += ["then", "fit", *configs([tune]), "--run", str(run), "--model.base", str(run / "base" / "model")]
        words += ["--data.dataset", member, "--seed_everything", member.rpartition("-")[2]]
    words += ["then", "test", *configs([measure]), "--run", str(run)]
    words += ["--data.models", str(run / "{name}" / "adapter")]
    return StudyJob(run / "poser" / "results.parquet", ("run", *words), (base, tune, measure))
