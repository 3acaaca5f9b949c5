"""Put files of a run on the Hugging Face hub, or on another server that speaks its language."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from madkit.errors import ConfigError


def push_files(
    repository: str,
    files: Mapping[str, Path | str],
    message: str,
    *,
    kind: Literal["model", "dataset"] = "model",
    private: bool = False,
    revision: str | None = None,
) -> str:
    """Upload files in one commit; the repository is made where there is none.

    Args:
        repository: ``owner/name``.
        files: by their path there: a file of this machine, or a text.
        message: of the commit.
        kind: of the repository.
        private: whether a repository that is made is private.
        revision: the branch; the main one by default.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: the name is none, or the hub does not take them.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HFValidationError

    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="madkit")
    operations = [
        CommitOperationAdd(path, content.encode() if isinstance(content, str) else content)
        for path, content in sorted(files.items())
    ]
    try:
        hub.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
        if revision is not None:
            hub.create_branch(repository, branch=revision, repo_type=kind, exist_ok=True)
        done = hub.create_commit(repository, operations, commit_message=message, repo_type=kind, revision=revision)
    except HFValidationError:
        raise ConfigError(f"to={repository!r} is no name on the hub: give owner/name") from None
    except Exception as error:  # the hub client raises many unrelated types
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(
            f"to={repository!r} could not be pushed to ({reason}); check the name and the network, and log in with "
            "`hf auth login`"
        ) from error
    return str(done.commit_url)
