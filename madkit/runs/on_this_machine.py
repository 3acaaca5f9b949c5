"""Where a model or an adapter lies on this machine, without asking the network."""

from __future__ import annotations

from pathlib import Path

from madkit.runs.gguf_base import PACKAGE
from madkit.runs.hub import hub_name
from madkit.runs.shipped import shipped


def on_this_machine(name: str) -> str | None:
    """What a model or adapter is loaded from without fetching anything; None where its weights are not here.

    Args:
        name: a folder or file, or a name on the hub, of which the cache may have a snapshot.

    Example:
        >>> on_this_machine("bases/tiny-llama"), on_this_machine("nobody/nothing")
        ('bases/tiny-llama', None)
    """
    if name.startswith(PACKAGE) or Path(name).exists() or shipped(name) is not None:
        return name
    from huggingface_hub import snapshot_download

    repository, revision = hub_name(name)
    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except Exception:  # the hub client raises many unrelated types for what is not in its cache
        return None
    return str(folder) if any(folder.glob("*.safetensors")) else None
