"""Where the numbers come from: recipes, versions, and the commands that repeat them."""

import json
from pathlib import Path
from typing import Any

from madkit.figures.results.results import Results

STAGES = {"fit": "fit", "predict": "predict", "predict-stored": "predict", "test": "test"}
"""The recipe that a stage leaves in the run folder, and its command, in the order of the pipeline."""


def origins(results: Results) -> list[dict[str, Any]]:
    """Of each run folder: model, dataset, path, versions, recipes and the commands that repeat it."""
    found = []
    for (model, dataset), folder in sorted(results.places.items()):
        recipes = {name: folder / f"{name}.yaml" for name in STAGES if (folder / f"{name}.yaml").is_file()}
        found.append(
            {
                "model": model,
                "dataset": dataset,
                "folder": folder.as_posix(),
                "versions": _versions(folder, recipes),
                "recipes": {f"{name}.yaml": path.read_text(encoding="utf-8") for name, path in recipes.items()},
                "commands": [f"madkit {STAGES[name]} --config {path.as_posix()}" for name, path in recipes.items()],
            }
        )
    return found


def _versions(folder: Path, recipes: dict[str, Path]) -> list[str]:
    """What the stages say of themselves: the comments that head each recipe, and the makers of results."""
    found = {}
    for name, path in recipes.items():
        comments = [line[2:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
        found[f"{name}.yaml"] = ", ".join(comments)
    for name in ("fit.json", "predict.json", "detection/summary.json"):
        if (folder / name).is_file():
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            made = content.get("made_by", content)
            if "madkit" in made:
                found[name] = f"madkit {made['madkit']}" + (f", commit {made['commit']}" if made.get("commit") else "")
    return [f"{name}: {words}" for name, words in found.items() if words]
