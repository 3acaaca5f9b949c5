"""The manifest of a feature store: what made it, how it is cut, and checksums of it all; and which store is current."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from madkit.errors import ConfigError, StoreError
from madkit.runs.atomic import write_json
from madkit.runs.fingerprints import digest
from madkit.runs.naming import folder_name

#: What a manifest says.
_PARTS = {"identity": dict, "sites": list, "layers": list, "widths": dict, "shards": list, "rows": str}
#: Which store of a feature a next stage is to read.
_CURRENT = "current.json"


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write what the manifest of a store says, with the checksum of it all.

    Args:
        folder: of the store.
        manifest: plain data.
    """
    write_json(folder / "manifest.json", {**manifest, "checksum": _checksum_of(manifest)})


def read_manifest(folder: Path, form: int, command: str) -> dict[str, Any]:
    """What the manifest of a store says, checked against its checksum.

    Args:
        folder: of the store.
        form: the number of the format that is read.
        command: what makes such a store, for error messages.

    Raises:
        StoreError: there is none, it is of another format, it is damaged, or a site in it is no name of a folder.
    """
    path = folder / "manifest.json"
    damaged = StoreError(f"{str(path)!r} is damaged; run `{command}` again, which makes it anew")
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise StoreError(f"no feature store in {str(folder)!r}; make one with `{command}`") from None
    except (OSError, ValueError):
        raise damaged from None
    if not isinstance(manifest, dict):
        raise damaged
    if manifest.get("format") != form:
        raise StoreError(
            f"store {str(folder)!r} has format {manifest.get('format')!r} and this madkit reads "
            f"{form}; delete it and run `{command}` again"
        )
    if not all(isinstance(manifest.get(part), kind) for part, kind in _PARTS.items()):
        raise damaged
    try:
        for site in manifest["sites"]:
            folder_name(site, "site")
    except ConfigError as error:
        raise StoreError(f"store {str(folder)!r}: {error}; `{command}` did not write it") from None
    if manifest.get("checksum") != _checksum_of(manifest):
        raise damaged
    return manifest


def _checksum_of(manifest: dict[str, Any]) -> str:
    """Of a manifest as it reads from JSON, where tuples are lists and keys are text."""
    said = {key: value for key, value in manifest.items() if key != "checksum"}
    return digest(json.loads(json.dumps(said)))


def current_key(root: Path) -> str | None:
    """The key that ``current.json`` of a feature's folder names, if it names one."""
    try:
        key = json.loads((root / _CURRENT).read_text())["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key if isinstance(key, str) and re.fullmatch(r"[0-9a-f]+", key) else None


def make_current(root: Path, key: str) -> None:
    """Name the store of a feature that a next stage is to read.

    Args:
        root: the feature's folder.
        key: the name of the store's folder in it.
    """
    write_json(root / _CURRENT, {"key": key})


def make_none_current(root: Path) -> None:
    """Name no store of a feature any more."""
    (root / _CURRENT).unlink(missing_ok=True)
