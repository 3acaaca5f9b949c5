"""Run examples/first_look.py and write docs/tutorial.md with what each step prints, and the notebook beside the source.

python docs/tutorial.py
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt

from madkit.cli.command import main as madkit

SOURCE = Path(__file__).resolve().parents[1] / "examples" / "first_look.py"
NOTEBOOK = SOURCE.with_suffix(".ipynb")
PAGE = Path(__file__).with_suffix(".md")
PICTURE = Path(__file__).with_suffix(".png")
FOOT = f"""`python docs/tutorial.py` makes this page from [the source](../examples/{SOURCE.name}) of
[a notebook](../examples/{NOTEBOOK.name}), with what it prints.
"""
_MOST = 24  # lines that are shown of what a command prints


class Cell(NamedTuple):
    """A cell of the notebook."""

    prose: bool
    text: str
    """As Jupyter has it: prose without its comment signs, commands that begin with an exclamation mark."""


def cells() -> list[Cell]:
    """The cells of the source, which is in jupytext's percent format."""
    found = []
    for part in re.split(r"^# %%", SOURCE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        prose = "[markdown]" in head
        text = re.sub(r"^# ?" if prose else r"^# (?=[!%])", "", body.strip(), flags=re.MULTILINE)
        found.append(Cell(prose, text))
    return found


def run(found: list[Cell], folder: Path, replaced: dict[str, str] | None = None) -> tuple[list[str], bytes]:
    """Run all cells in this process, in a folder.

    Args:
        found: the cells.
        folder: where commands write.
        replaced: words of commands, and what stands for them.

    Returns:
        What each prints, and the last picture.
    """
    names: dict[str, Any] = {}
    outputs, picture = [], io.BytesIO()
    with contextlib.chdir(folder), mpl.rc_context():
        mpl.use("agg")
        for cell in found:
            printed, said = io.StringIO(), io.StringIO()
            if not cell.prose and cell.text.startswith("!"):
                words = [(replaced or {}).get(word, word) for word in shlex.split(cell.text)[1:]]
                with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
                    status = madkit(words)
                if status:
                    raise SystemExit(f"{cell.text}: {said.getvalue()}")
            elif not cell.prose and not cell.text.startswith("%"):
                with contextlib.redirect_stdout(printed):
                    exec(compile(cell.text, str(SOURCE), "exec"), names)
                for number in plt.get_fignums():
                    plt.figure(number).savefig(picture, dpi=110)
                plt.close("all")
            lines = [line for line in said.getvalue().splitlines() if line.startswith("runs/")]
            outputs.append("\n".join([*printed.getvalue().rstrip().splitlines(), *lines]))
    return outputs, picture.getvalue()


def page(found: list[Cell], outputs: list[str]) -> str:
    """The tutorial."""
    parts = []
    for cell, output in zip(found, outputs, strict=True):
        if cell.prose:
            parts.append(cell.text.replace("(../docs/", "("))
            continue
        shell = cell.text.startswith(("!", "%"))
        parts.append(f"```{'sh' if shell else 'python'}\n{cell.text.lstrip('!%')}\n```")
        lines = output.splitlines()
        if shell and len(lines) > _MOST:
            lines = [*lines[:_MOST], "..."]
        if lines:
            parts.append("\n".join(["```text", *lines, "```"]))
        if "plt.show" in cell.text:
            parts.append(f"![Scores of Alice's and of Bob's prompts]({PICTURE.name})")
    return "\n\n".join([*parts, FOOT])


def notebook(found: list[Cell]) -> str:
    """The cells as Jupyter reads them, without outputs; links lead to the pages beside them."""
    listed = []
    for index, cell in enumerate(found):
        common = {"id": f"cell-{index}", "metadata": {}, "source": cell.text.splitlines(keepends=True)}
        code = {} if cell.prose else {"execution_count": None, "outputs": []}
        listed.append({"cell_type": "markdown" if cell.prose else "code", **common, **code})
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": listed, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def main() -> None:
    """Write page, picture and notebook."""
    found = cells()
    NOTEBOOK.write_text(notebook(found), encoding="utf-8")
    os.environ["MADKIT_PROGRESS"] = "lines"
    with tempfile.TemporaryDirectory() as folder:
        outputs, picture = run(found, Path(folder))
    PAGE.write_text(page(found, outputs), encoding="utf-8")
    PICTURE.write_bytes(picture)


if __name__ == "__main__":
    main()
