"""Names on the Hugging Face hub: ``owner/name``, or ``owner/name@revision`` for a commit, tag or branch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from madkit.errors import ConfigError

#: What belongs to a model.
MODEL = ("*.safetensors", "*.json", "*.model", "*.txt", "*.tiktoken", "*.jinja", "*.py")
#: What belongs to an adapter: its own files, madkit's records, and a tokenizer; not the weights of a model beside it.
ADAPTER = (
    "adapter_*.json", "adapter_*.safetensors", "*/adapter_config.json", "base.json", "template.json", "config.json",
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
)  # fmt: skip
_REVISED = re.compile(r"((?:[\w.-]+/)?[\w.-]+)@([\w./-]+)")


class HubName(NamedTuple):
    """A name on the hub."""

    repository: str
    """``owner/name``; a folder or file of this machine stays as it is."""
    revision: str | None
    """A commit, a tag or a branch; None for what the hub has now."""


def hub_name(name: str) -> HubName:
    """A name as a user writes it.

    Example:
        >>> hub_name("meta-llama/Llama-3.1-8B@d04e592")
        HubName(repository='meta-llama/Llama-3.1-8B', revision='d04e592')
        >>> hub_name("meta-llama/Llama-3.1-8B").revision is None
        True
    """
    found = None if Path(name).exists() else _REVISED.fullmatch(name)
    return HubName(name, None) if found is None else HubName(found[1], found[2])


def snapshot(name: str, files: Sequence[str] = MODEL, label: str | None = None) -> Path:
    """The folder, in the hub's cache, of a repository; what is not there is fetched.

    Args:
        name: a name on the hub, with or without a revision.
        files: patterns of the files that are enough.
        label: what the user calls it, for error messages.

    Raises:
        ConfigError: it cannot be had.
    """
    from huggingface_hub import snapshot_download

    repository, revision = hub_name(name)
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files)))
    except Exception as error:  # the hub client raises many unrelated types when a name cannot be had
        raise ConfigError(
            f"{label or repr(name)} is no local folder and could not be fetched from the Hugging Face hub; check the "
            "name, its revision and the network"
        ) from error
