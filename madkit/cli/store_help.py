"""Write the help of the stages, as the parser prints it, to the files that `madkit.cli.stored_help` reads."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from unittest.mock import patch

import lightning  # noqa: F401 - with it there, the parser says what it knows, and not these files

from madkit.cli.command import main
from madkit.cli.stored_help import FOLDER, STAGES, VERSION

_COLUMNS = "120"


def made() -> Iterator[tuple[str, str]]:
    """The name of each file and what belongs in it."""
    for stage in STAGES:
        yield f"{stage}.txt", _printed(lambda stage=stage: main([stage, "--help"]))  # type: ignore[misc]
    yield VERSION, version("lightning") + "\n"


def _printed(run: Callable[[], object]) -> str:
    text = io.StringIO()
    with patch.dict(os.environ, COLUMNS=_COLUMNS), contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        run()
    return text.getvalue()


if __name__ == "__main__":
    for name, text in made():
        (FOLDER / name).write_text(text, encoding="utf-8")
