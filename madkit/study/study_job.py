"""StudyJob: one command of a study, and the file by which it is known to be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StudyJob:
    """A command that writes a file, and the files that it is made of.

    As for `make`, it is due where its file is missing or older than one of those. What a command finds complete it
    leaves as it is, so that a job which is due may still be a matter of seconds.
    """

    target: Path
    """What the command writes last."""
    words: tuple[str, ...]
    """The command line after ``madkit``."""
    needs: tuple[Path, ...] = ()
    """Files that it reads: recipes, and targets of other jobs."""
    makes: tuple[Path, ...] = ()
    """Other files that it makes on the way, which have jobs of their own."""
    after: tuple[Path, ...] = ()
    """Targets of jobs that have to be through before, without being read."""
    launched: bool = True
    """Whether it goes through the scheduler; what only draws stays on this machine."""

    def is_due(self) -> bool:
        """Whether the target is missing or older than something that it needs."""
        made = _modified(self.target)
        return made is None or any((changed := _modified(path)) is None or changed > made for path in self.needs)

    def command(self) -> Sequence[str]:
        """The words of the command, as they are once all jobs before this one are through."""
        return self.words

    def finish(self) -> None:
        """What is done after the command has ended well."""


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
