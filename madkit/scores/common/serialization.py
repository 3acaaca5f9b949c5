"""A fitted score is a folder: ``config.json`` (class, options, checksum) and ``state.safetensors``."""

import hashlib
import json
import os
from pathlib import Path
from typing import TypeVar

import safetensors.torch

import madkit
from madkit.errors import ConfigError, NotFittedError, StoreError
from madkit.scores.common.score import Score

S = TypeVar("S", bound=Score)
CONFIG, STATE = "config.json", "state.safetensors"


def save_score(score: Score, folder: str | Path) -> None:
    """Write a fitted score to `folder`, replacing the one that is there.

    The configuration is written last and holds the checksum of the tensors, so that a half-written folder is
    never read as a whole one.

    Raises:
        NotFittedError: the score is not finalized.
    """
    if not score.fitted:
        raise NotFittedError(f"{score.short} is not fitted: call fit() or finalize() before save()")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = safetensors.torch.save({name: buffer.contiguous().cpu() for name, buffer in score.named_buffers()})
    config = {
        "class": class_path(type(score)),
        "init": score.config,
        "d": score.d,
        "libraries": score.libraries,
        "state_sha256": hashlib.sha256(state).hexdigest(),
        "madkit_version": madkit.__version__,
    }
    try:
        text = json.dumps(config, indent=2)
    except TypeError as error:
        raise ConfigError(f"{score.name} has an option JSON cannot hold ({error}): use numbers and strings") from error
    write_whole(folder / STATE, state)
    write_whole(folder / CONFIG, text.encode() + b"\n")


def load_score(folder: str | Path, cls: type[S] = Score) -> S:  # type: ignore[assignment]
    """Read a score that `Score.save` wrote, bit by bit the same. No code is imported by what the file says.

    Args:
        folder: holds ``config.json`` and ``state.safetensors``.
        cls: the class to expect; a subclass will do.

    Raises:
        StoreError: the folder is missing, half-written or damaged, its class is unknown, it is not a `cls`, or
            it needs another version of a library to give the same numbers.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text())
        state = (folder / STATE).read_bytes()
        path, init, d, checksum = (config[key] for key in ("class", "init", "d", "state_sha256"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"folder={str(folder)!r} is not a whole saved score ({error!r}): save it again") from error
    if hashlib.sha256(state).hexdigest() != checksum:
        raise StoreError(f"{folder / STATE} does not match {CONFIG}, it is damaged: fit and save it again")
    known = {class_path(known): known for known in subclasses(Score)}
    if path not in known:
        raise StoreError(f"{folder / CONFIG} names an unknown class {path!r}: import its module, then load")
    if not issubclass(known[path], cls):
        raise StoreError(f"folder={str(folder)!r} holds a {path}, not a {cls.__name__}: use load_score(folder)")
    try:
        score = known[path].restored(init)
    except TypeError as error:
        raise StoreError(f"{folder / CONFIG} does not fit this {path} ({error}): fit it again") from error
    if (needed := config.get("libraries", {})) != score.libraries:
        raise StoreError(
            f"folder={str(folder)!r} was fitted with {needed}, here is {score.libraries}, which may give other "
            "numbers: install those versions, or fit again"
        )
    score.d = d
    score.freeze(safetensors.torch.load(state))
    return score  # type: ignore[return-value]


def class_path(cls: type[Score]) -> str:
    """The bare class name for madkit's own scores, ``module.Class`` for anybody else's."""
    own = cls.__module__.startswith("madkit.")
    return cls.__qualname__ if own else f"{cls.__module__}.{cls.__qualname__}"


def subclasses(cls: type[Score]) -> list[type[Score]]:
    """All subclasses that have been imported, at any depth."""
    return [found for child in cls.__subclasses__() for found in [child, *subclasses(child)]]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is seen either whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
