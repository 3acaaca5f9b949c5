"""Where the numbers come from: recipes, versions, and the commands that repeat them."""

import json
from pathlib import Path
from typing import Any

from madkit.errors import StoreError
from madkit.figures.results.results import Results
from madkit.figures.results.selection import first_panels

STAGES = {"fit": "fit", "predict": "predict", "predict-stored": "predict", "test": "test"}
"""The recipe that a stage leaves in the run folder, and its command, in the order of the pipeline."""


def origins(results: Results) -> list[dict[str, Any]]:
    """Of each run folder that has pictures: model, dataset, path, versions, recipes and commands that repeat it."""
    results = first_panels(results)
    runs = []
    parts = _parts(results, "")
    for seed, part in results.seeds.items():
        parts += _parts(part, f", seed {seed}")
    folders = [(m, d + words, path) for words, part in parts for (m, d), path in sorted(part.run_folders.items())]
    for model, dataset, folder in folders:
        recipes = {name: folder / f"{name}.yaml" for name in STAGES if (folder / f"{name}.yaml").is_file()}
        runs.append(
            {
                "model": model,
                "dataset": dataset,
                "folder": folder.as_posix(),
                "versions": [f"{name}: {words}" for name, words in versions_of(folder, recipes).items()],
                "recipes": {
                    f"{name}.yaml": path.read_text(encoding="utf-8", errors="replace") for name, path in recipes.items()
                },
                "commands": [f"madkit {STAGES[name]} --config {path.as_posix()}" for name, path in recipes.items()],
            }
        )
    return runs


def versions_of(folder: Path, recipes: dict[str, Path]) -> dict[str, str]:
    """What wrote the files of a run: the comments that head each recipe, and the versions that results name.

    Args:
        folder: of the run.
        recipes: the resolved recipe of each stage.

    Returns:
        Words by the name of the file.

    Raises:
        StoreError: a file is damaged.
    """
    versions = {}
    for name, path in recipes.items():
        comments = [
            line[2:].strip()
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith("# ")
        ]
        versions[f"{name}.yaml"] = ", ".join(comments)
    for name in ("fit.json", "predict.json", "detection/summary.json"):
        if (folder / name).is_file():
            try:
                content = json.loads((folder / name).read_text(encoding="utf-8"))
                writer = content.get("made_by", content)
            except (OSError, ValueError, AttributeError):
                raise StoreError(f"{folder / name} is damaged; run its stage again.") from None
            if "madkit" in writer:
                versions[name] = f"madkit {writer['madkit']}" + (
                    f", commit {writer['commit']}" if writer.get("commit") else ""
                )
    return {name: words for name, words in versions.items() if words}


def _parts(results: Results, words: str) -> list[tuple[str, Results]]:
    """The runs of one seed, its controls, its doses and the models that hide, and what tells them apart."""
    parts = [(words, results), *([(f"{words}, benign", results.benign)] if results.benign else [])]
    parts += [(f"{words}, step {step}", dose) for step, dose in results.doses.items()]
    return [*parts, *((f"{words}, hides from {against}", part) for against, part in results.obfuscated.items())]
