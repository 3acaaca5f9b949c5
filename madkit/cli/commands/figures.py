"""The `madkit figures` command."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from madkit.errors import ConfigError
from madkit.figures import draw


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are madkit's own."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise ConfigError(f"figures: {message}; see `madkit figures --help`")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = _Parser(prog="madkit figures", description="Draw tables and figures of any number of runs.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders that are searched for results")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where to write (default: figures)")
    parser.add_argument(
        "--formats", nargs="+", default=["png", "pdf"], metavar="FORMAT", help="png, pdf or svg (default: png pdf)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    return parser


def figures(options: list[str]) -> int:
    """Draw, naming each file as it is written; returns the exit status."""
    arguments = parser().parse_args(options)
    draw(
        arguments.runs,
        arguments.out,
        arguments.formats,
        progress=lambda path: print(path, file=sys.stderr, flush=True),
        jobs=arguments.jobs,
    )
    return 0
