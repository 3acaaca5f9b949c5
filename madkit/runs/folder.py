"""The run folder: where a stage writes, what made it, and whether it still is up to date."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import madkit
from madkit.errors import ConfigError
from madkit.runs.atomic import write_atomically
from madkit.runs.file_digest import file_digest, folder_contents
from madkit.runs.fingerprints import digest, weights_fingerprint
from madkit.runs.naming import folder_name

# Trainer options that say where and how to compute, not what.
WHERE = {
    "accelerator", "strategy", "devices", "num_nodes", "logger", "default_root_dir", "enable_progress_bar",
    "enable_model_summary", "log_every_n_steps", "profiler", "plugins", "enable_checkpointing", "inference_mode",
    "barebones", "detect_anomaly", "use_distributed_sampler", "reload_dataloaders_every_n_epochs",
}  # fmt: skip
# How many prompts fit on a device at once does not change what is computed either.
WHERE_DATA = {"device_batch_size", "predict_batch_size"}
# Options of the data that may name a folder of tables or texts, also `{dataset}` for each of them.
READ = {"source", "template", "raw", "path", "distractors", "trigger"}


def folder_of(run: str | None, data: dict[str, Any] | None) -> Path | None:
    """The run folder: ``<run>/<dataset>`` where the data has a dataset, else ``run`` itself.

    Example:
        >>> folder_of("runs/llama", {"init_args": {"dataset": "addition"}}).as_posix()
        'runs/llama/addition'

    Raises:
        ConfigError: the dataset's name leads out of the folder or cannot be a folder's.
    """
    if run is None:
        return None
    if "\0" in run:
        raise ConfigError(f"run={run!r} holds '\\0': name a folder with `--run runs/<name>`")
    dataset = (data or {}).get("init_args", {}).get("dataset")
    return Path(run) if dataset is None else Path(run) / folder_name(dataset, "data.dataset")


def fit_key(config: dict[str, Any], code: str | None = None) -> str:
    """A digest of everything in a resolved `fit` recipe that decides its result.

    The same recipe on other hardware has the same key, so an interrupted run continues there; any change that matters
    gives another key, so a checkpoint is never continued under a recipe it was not made with.

    Args:
        config: the recipe.
        code: a digest of the code that makes its records, where that is a user's.
    """
    trainer = {k: v for k, v in config.get("trainer", {}).items() if k not in WHERE}
    data = dict(config.get("data") or {})
    options = {k: v for k, v in data.get("init_args", {}).items() if k not in WHERE_DATA}
    data["init_args"] = {k: _read(v, str(options.get("dataset")), k) for k, v in options.items()}
    parts = [config.get("seed_everything"), config.get("model"), data, trainer]
    return digest(contents(parts if code is None else [*parts, code]))


def _read(value: Any, dataset: str, option: str) -> Any:
    """An option of the data with what it reads for a dataset: in place of a folder's name, what lies there."""
    if isinstance(value, dict):
        return {key: _read(item, dataset, option if option in READ else key) for key, item in value.items()}
    if not isinstance(value, str) or option not in READ:
        return value
    path = Path(value.replace("{dataset}", dataset)).expanduser()
    if path.is_dir():
        return digest(folder_contents(path))
    return str(path) if path.is_file() else value


def contents(value: Any) -> Any:
    """A plain value with every string that names a file or model folder replaced by a digest of what lies there.

    A base model that was trained again, or a template that was edited, thus counts as a change.
    """
    if isinstance(value, dict):
        return {key: contents(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [contents(item) for item in value]
    if not isinstance(value, str | Path) or not str(value) or len(str(value)) > 1000:
        return value
    path = Path(value).expanduser()
    if path.is_file():
        return file_digest(path)
    if path.is_dir() and any(path.glob("*.safetensors")):
        return weights_fingerprint(path)
    return str(value)


def provenance() -> dict[str, str | None]:
    """The version of madkit and, where it runs from a git checkout, the commit."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(madkit.__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        commit = described.stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        commit = None
    return {"madkit": madkit.__version__, "commit": commit}


def save_recipe(path: Path, text: str) -> None:
    """Write a resolved recipe, headed by the version that resolved it."""
    made_by = provenance()
    header = f"# madkit {made_by['madkit']}" + (f", commit {made_by['commit']}" if made_by["commit"] else "")
    write_atomically(path, lambda p: p.write_text(f"{header}\n{text}"))


def root_of(trainer: Any) -> Path:
    """The run folder of a trainer.

    Raises:
        ConfigError: if the trainer was given none, because then results would end in the working directory.
    """
    folder = Path(trainer.default_root_dir)
    if folder.resolve() == Path.cwd().resolve():
        raise ConfigError("run=None: say where results go with `--run runs/<name>` (or Trainer(default_root_dir=...))")
    return folder


def stage_of(trainer: Any) -> str:
    """What a trainer is doing: ``fit``, ``validate``, ``test`` or ``predict``."""
    return str(trainer.state.fn.value)
