"""The recipes of a stage as the words of a command line."""

import contextlib
import io
from pathlib import Path

import yaml

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
#: Each has a recipe of its own, which tunes it.
MODELS = ("llama", "mistral", "tiny-llama", "tiny-mistral")

#: For a stage whose curves and pictures in TensorBoard nobody looks at: they take longer than what a small model does.
UNDRAWN = ["--trainer.logger", "false"]


def architecture(model):
    return "mistral" if "mistral" in model else "llama"


def configs(*names):
    """The words that lay recipes over each other, in this order."""
    return [word for name in names for word in ("--config", str(RECIPES / f"{name}.yaml"))]


def stage_recipes(model, stage, *overlays):
    """A stage's recipe, with what is special about small models and any others laid over it."""
    tiny = [f"tiny/{stage}"] if model.startswith("tiny-") and (RECIPES / "tiny" / f"{stage}.yaml").is_file() else []
    return configs(stage, *tiny, *overlays)


def lm_recipe(model):
    """The words that name the recipe of a language model that was tuned elsewhere, or not at all."""
    return ["--lm", str(RECIPES / f"{model}.yaml")]


def resolved(*words):
    """What the words of a stage come to, with every default."""
    from madkit.cli.command import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        assert main([*map(str, words), "--print_config"]) == 0
    return yaml.safe_load(out.getvalue())
