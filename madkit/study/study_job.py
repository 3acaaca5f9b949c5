"""StudyJob: one command of a study, and the file by which it is known to be done."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from madkit.runs.atomic import write_atomically


@dataclass(frozen=True)
class StudyJob:
    """A command that writes a file, and the files that it is made of.

    As for `make`, it is due where its file is missing or older than one of those; and where another command made it,
    such as one with other options. What a command finds complete it leaves as it is, so that a job which is due may
    still be a matter of seconds.
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
    modules: tuple[str, ...] = ()
    """Modules of the user's that each of its stages lists with ``--with``."""

    def is_due(self) -> bool:
        """Whether the target is missing, older than something that it needs, or made by another command."""
        made = _modified(self.target)
        if made is None or any((changed := _modified(path)) is None or changed > made for path in self.needs):
            return True
        # What was made without a study says nothing of a command.
        return self._record.is_file() and self._record.read_text() != self._line

    def command(self) -> Sequence[str]:
        """The words of the command, as they are once all jobs before this one are through."""
        return self.words

    def listing(self) -> Sequence[str]:
        """The words of the command, with the user's modules."""
        words = list(self.command())
        if not self.modules:
            return words
        if words[0] == "figures":
            return [*words, "--with", *self.modules]
        options = [word for module in self.modules for word in ("--with", module)]
        begins = [0] if words[0] != "run" else [1, *(index + 1 for index, word in enumerate(words) if word == "then")]
        return [part for index, word in enumerate(words) for part in ((word, *options) if index in begins else (word,))]

    def finish(self) -> None:
        """What is done after the command has ended well."""

    def record(self) -> None:
        """Remember by which command the target was made: with other options it is due again."""
        if self.target.exists():
            write_atomically(self._record, lambda path: path.write_text(self._line))

    @property
    def _record(self) -> Path:
        return self.target.with_name(f".{self.target.name}.command")

    @property
    def _line(self) -> str:
        return shlex.join([*self.words, *self.modules]) + "\n"


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
