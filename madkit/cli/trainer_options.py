"""Options of Lightning's Trainer that cannot be: which one it is, its value, and why."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L

from madkit.errors import ConfigError, MadkitError

_MAX_SEED = 2**32 - 1

#: The least value of an option, and whether it may be that.
_LEAST = {
    "val_check_interval": (0, False),
    "check_val_every_n_epoch": (1, True),
    "gradient_clip_val": (0, True),
    "log_every_n_steps": (0, True),
    "num_sanity_val_steps": (-1, True),
    "min_steps": (0, True),
    "min_epochs": (0, True),
}


def make_trainer(make: Callable[..., L.Trainer], given: Mapping[str, Any], kwargs: Mapping[str, Any]) -> L.Trainer:
    """Make the trainer, or say which of its options is wrong: the one without which it can be made.

    Args:
        make: makes the trainer with some options instead of those of the recipe.
        given: the options of the recipe.
        kwargs: those that are set whatever it says.

    Raises:
        ConfigError: an option has a value that it cannot have here.
    """
    try:
        return make(**kwargs)
    except MadkitError:
        raise
    except Exception as error:
        reason = first_sentences(error)
        name = _culprit(make, given, kwargs, reason)
        value = given[name] if name else None
        shown = f"={value!r}" if isinstance(value, str | int | float) else ""
        where = f"trainer.{name}{shown}" if name else "trainer"
        raise ConfigError(f"{where}: {reason}; all options: madkit fit --help") from error


def trainer_options() -> list[str]:
    """All options of the Trainer, as a command line names them."""
    return [f"trainer.{name}" for name in inspect.signature(L.Trainer.__init__).parameters if name != "self"]


def _culprit(
    make: Callable[..., L.Trainer], given: Mapping[str, Any], kwargs: Mapping[str, Any], reason: str
) -> str | None:
    """The first option, those that the reason names before others, that makes the difference."""
    defaults = {
        name: p.default for name, p in inspect.signature(L.Trainer.__init__).parameters.items() if name != "self"
    }
    changed = [n for n, value in given.items() if n in defaults and n not in kwargs and value != defaults[n]]
    for name in sorted(changed, key=lambda name: (name not in reason, str(given[name]) not in reason)):
        with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make(**{**kwargs, name: defaults[name]})
            return name
    return None


def first_sentences(error: BaseException, length: int = 220) -> str:
    """The beginning of an error's message, in one line, as whole sentences where that is possible.

    Example:
        >>> first_sentences(ValueError("This is wrong. Do that."))
        'This is wrong. Do that'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    while len(text) > length and (shorter := re.match(r"(.*\S)[.;] .+$", text)):
        text = shorter.group(1)
    return (text if len(text) <= length else f"{text[:length]}...").rstrip(".")


def require_numbers(trainer: Mapping[str, Any]) -> None:
    """Refuse numbers that the Trainer takes, and then trips over or reads as something else.

    Raises:
        ConfigError: one is too small.
    """
    for name, (least, included) in _LEAST.items():
        value = trainer.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if not (value >= least if included else value > least):  # so that NaN is refused
            bound = f"at least {least}" if included else f"more than {least}"
            raise ConfigError(f"trainer.{name}={value}: give a number that is {bound}, or leave it out")


def require_seeds(config: Any, path: str = "") -> None:
    """Refuse seeds that no random generator takes, wherever they are in a recipe.

    Args:
        config: the options of a stage, as plain values.
        path: where they are.

    Raises:
        ConfigError: a seed is negative or has more than 32 bits.
    """
    if isinstance(config, Mapping):
        for key, value in config.items():
            inner = f"{path}.{key}".lstrip(".")
            if key in ("seed", "seed_everything", "random_state") and isinstance(value, int) and value is not True:
                if not 0 <= value <= _MAX_SEED:
                    raise ConfigError(f"{inner}={value}: a seed is a whole number from 0 to {_MAX_SEED}")
            else:
                require_seeds(value, inner)
    elif isinstance(config, list | tuple):
        for number, value in enumerate(config):
            require_seeds(value, f"{path}[{number}]")
