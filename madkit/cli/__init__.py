"""The `madkit` command: its stages, its other commands, progress and messages."""

from madkit.cli.command import main

__all__ = ["main"]
