"""How far a long computation is: a line every few seconds on standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def in_lines() -> bool:
    """Whether progress is printed as lines: standard error is no terminal, or ``MADKIT_PROGRESS=lines``."""
    return os.environ.get("MADKIT_PROGRESS") == "lines" or not sys.stderr.isatty()


class ProgressLine:
    """A line every few seconds: what runs, how many steps are done, the time left.

    Args:
        every: seconds between two lines.
    """

    def __init__(self, every: float = 5.0) -> None:
        self.every = every
        self.start()

    def start(self, done: int = 0) -> None:
        """Start the clock, with so many steps done before."""
        self._started = self._printed = time.monotonic()
        self._first = done

    def show(self, name: str, done: int, total: float, details: str = "", *, force: bool = False) -> None:
        """Print a line if one is due, after the last step, or if forced.

        Args:
            name: what runs.
            done: steps done.
            total: steps in all; infinity where that is unknown.
            details: further text, such as metrics.
            force: print in any case.
        """
        now = time.monotonic()
        last = done >= total
        if not (force or last or now - self._printed >= self.every):
            return
        self._printed = now
        rate = (done - self._first) / max(now - self._started, 1e-9)
        left = "" if last or rate <= 0 or total == float("inf") else f"  {_clock((total - done) / rate)} left"
        steps = int(total) if total != float("inf") else "?"
        print(f"[{name}] {done}/{steps}{details}{left}", file=sys.stderr, flush=True)


def progress(items: Sequence[Item], name: str, *, shown: bool = True) -> Iterator[Item]:
    """The items, one after the other, while lines say how many are done.

    Lines go with Lightning's bar, which prints them above itself; a second bar would not be visible beside it.

    Args:
        items: what is worked on.
        name: what the work is called.
        shown: whether to print, which only one of several processes should.
    """
    line = ProgressLine()
    for done, item in enumerate(items):
        if shown:
            line.show(name, done, len(items))
        yield item


def _clock(seconds: float) -> str:
    """Seconds as m:ss.

    Example:
        >>> _clock(75)
        '1:15'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
