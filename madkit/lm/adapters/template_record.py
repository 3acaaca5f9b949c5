"""Which wordings an adapter was trained on: ``template.json``, which `madkit fit` leaves beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from madkit.errors import ConfigError
from madkit.lm.adapters.adapter_folder import WEIGHTS, AdapterFolder
from madkit.runs import fingerprints
from madkit.runs.atomic import write_json

FILE = "template.json"
_FORMAT = 1


@runtime_checkable
class Worded(Protocol):
    """Prompts that are made of templates."""

    template: str
    """What the user calls them."""

    def wordings(self) -> list[str]:
        """A digest of each template."""


class RecordedTemplate(NamedTuple):
    """What is recorded of an adapter's prompts."""

    name: str
    """What the user called their templates."""
    wordings: frozenset[str]
    """The digest of each."""


def record_template(folder: Path, name: str, wordings: Sequence[str]) -> None:
    """Write beside an adapter which templates its training prompts were made of.

    Args:
        folder: the adapter's.
        name: what the user calls the templates, such as ``standardized``.
        wordings: the digest of each.
    """
    adapter = fingerprints.file_digest(folder / WEIGHTS)
    write_json(folder / FILE, {"format": _FORMAT, "name": name, "wordings": list(wordings), "adapter": adapter})


def recorded_template(adapter: AdapterFolder) -> RecordedTemplate | None:
    """What is recorded of an adapter's prompts; None for nothing, or for what is of an adapter that lay there before.

    Raises:
        ConfigError: the record is damaged, or of another version of madkit.
    """
    file = adapter.path / FILE
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        form = content["format"]
        record = RecordedTemplate(str(content["name"]), frozenset(content["wordings"])) if form == _FORMAT else None
        weights = content.get("adapter")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{str(file)!r} is damaged ({type(error).__name__}): copy the adapter again, or run `madkit fit` again"
        ) from error
    if record is None:
        raise ConfigError(
            f"{str(file)!r} has format {form!r}, and this madkit reads {_FORMAT}: use the madkit that wrote it, or run "
            "`madkit fit` again"
        )
    return record if weights == fingerprints.file_digest(adapter.path / WEIGHTS) else None
