"""Whether the model that an autoencoder names is the one that is run, as far as names tell."""

from __future__ import annotations

import re
from pathlib import Path


def is_another_model(named: str, base: str) -> bool:
    """Whether two names are certainly those of different models.

    Args:
        named: the model that an autoencoder was trained on, as its files call it, such as ``gemma-2-2b``.
        base: the base of the run: a hub name, with or without a revision; or a folder, whose name tells something only
            where it begins like the other one.

    Example:
        >>> is_another_model("gemma-2-2b", "google/gemma-2-2b"), is_another_model("gemma-2-2b", "google/gemma-2-2b-it")
        (False, True)
        >>> is_another_model("gpt2-small", "openai-community/gpt2")
        False
    """
    one, other = _plain(named), _plain(base)
    if not one or not other or one == other:
        return False
    if Path(base).exists() or "://" in base:
        return _family(one) == _family(other)
    return True


def _plain(name: str) -> str:
    """A name without its owner and what does not make another model of it."""
    last = name.rstrip("/").split("/")[-1].partition("@")[0].lower().removesuffix(".gguf")
    return re.sub(r"^meta-|-(hf|small)$", "", last.replace("_", "-"))


def _family(name: str) -> str:
    return re.split(r"[-.\d]", name)[0]
