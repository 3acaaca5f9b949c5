"""RecipeFolder: which recipes make a stage of a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from madkit.errors import ConfigError

TINY = "tiny-"
"""How the names of small models begin, whose bases are shipped or trained here and who share ``tiny/``."""


class RecipeFolder:
    """A folder of recipes: one a model, one a stage, and in ``<model>/`` what is laid over a stage's for that model.

    Args:
        folder: such as ``recipes``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of_model(self, model: str) -> Path:
        """The recipe that tunes a model.

        Raises:
            ConfigError: there is none.
        """
        path = self.folder / f"{model}.yaml"
        if not path.is_file():
            # A recipe of a model is one without which `predict` does not go.
            known = sorted(p.stem for p in self.folder.glob("*.yaml") if "class_path: QuirkyLM" in p.read_text())
            raise ConfigError(
                f"models={model!r}: there is no {str(path)!r}; choose from {', '.join(known)}, or write that recipe"
            )
        return path

    def stage(self, model: str, *names: str) -> list[Path]:
        """The recipe of a stage, what this model lays over it, and what is laid over that.

        Args:
            model: its name.
            names: the stage's recipe, such as ``predict``, and others, such as ``predict-lora``.
        """
        first, *others = names
        return [self.folder / f"{first}.yaml", *self.own(model, first), *(self.folder / f"{n}.yaml" for n in others)]

    def own(self, model: str, name: str) -> list[Path]:
        """What a model lays over a recipe, or is read beside it: one file, or none."""
        path = self.folder / ("tiny" if model.startswith(TINY) else model) / f"{name}.yaml"
        return [path] if path.is_file() else []


def configs(recipes: Iterable[Path]) -> list[str]:
    """Recipes as words of a command line.

    Example:
        >>> configs([Path("recipes/test.yaml"), Path("recipes/test-lora.yaml")])
        ['--config', 'recipes/test.yaml', '--config', 'recipes/test-lora.yaml']
    """
    return [word for path in recipes for word in ("--config", str(path))]
