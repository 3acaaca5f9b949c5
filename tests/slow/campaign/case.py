"""One bad input or fault: how it comes about, what is run, and what has to come of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from campaign.faults import Fault
from campaign.forks import Ended, madkit
from campaign.place import Place, digests

#: Outcomes, the worst first.
OUTCOMES = (
    "broken",  # the case itself does not run
    "hang",
    "outside",  # a file outside the run folder
    "wrong",  # exit 0, and the input should have been refused or a number is not the right one
    "lost",  # exit 0, or again and again another one, without the result
    "traceback",
    "unclear",  # refused, but not in one line with the argument, the value and the way out
    "clear",
    "right",  # by design: a right input is taken and gives the right result
    "identical",  # to the bit, after a kill or for a command that is given again
)
BAD = OUTCOMES[:7]

#: What a message says a user can do; one of these stands in every way out.
_DO = [
    "add",
    "ask",
    "call",
    "change",
    "check",
    "choose",
    "close",
    "convert",
    "copy",
    "correct",
    "delete",
    "download",
    "drop",
    "expected",
    "fill",
    "fit",
    "free",
    "give",
    "import",
    "install",
    "keep",
    "leave",
    "list",
    "lower",
    "make",
    "mend",
    "move",
    "must",
    "name",
    "needs?",
    "pass",
    "point",
    "put",
    "quote",
    "raise",
    "remove",
    "rename",
    "repair",
    "rescale",
    "restore",
    "run",
    "save",
    "say",
    "see",
    "set",
    "should",
    "start",
    "take",
    "takes",
    "train",
    "try",
    "use",
    "write",
    "once",
    "instead",
]
_WAY_OUT = re.compile(
    rf"\b({'|'.join(_DO)}|ha(s|ve) to|one of|did you mean|it has|at least|at most|line \d+)\b|--[\w.]+|from -?\d+ to",
    re.IGNORECASE,
)


class Verdict(tuple[str, str]):
    """An outcome and a line that says why."""

    __slots__ = ()

    def __new__(cls, outcome: str, why: str = "") -> Verdict:
        """Pair an outcome with its reason."""
        return super().__new__(cls, (outcome, why))


#: Looks at a case's folder after a command that exited with 0: None, or (outcome, what is not right).
Check = Callable[[Place], "tuple[str, str] | None"]


def refused_line(ended: Ended, *patterns: str) -> Verdict:
    """Whether a process that exited with another status than 0 said why in one line that holds all patterns.

    A pattern that begins with an exclamation mark must not be in it: what would mislead.
    """
    if "Traceback (most recent call last)" in ended.err + ended.out:
        return Verdict("traceback", _last(ended.err))
    if (ended.code or 0) < 0:
        return Verdict("unclear", f"died of signal {-(ended.code or 0)}: {_last(ended.err)}")
    lines = [line for line in ended.err.splitlines() if line.startswith("madkit: ")]
    if len(lines) != 1:
        return Verdict("unclear", f"{len(lines)} lines of madkit: {_last(ended.err) or _last(ended.out)}")
    for pattern in patterns:
        wanted = not pattern.startswith("!")
        if bool(re.search(pattern.removeprefix("!"), lines[0], re.IGNORECASE)) != wanted:
            return Verdict("unclear", f"{lines[0]}   [{'does not say' if wanted else 'should not say'} {pattern}]")
    if not _WAY_OUT.search(lines[0]):
        return Verdict("unclear", f"{lines[0]}   [no way out]")
    return Verdict("clear", lines[0])


class Refused:
    """The command says no in one line that holds all patterns (regular expressions, without regard to case)."""

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns

    def judge(self, ended: Ended, place: Place) -> Verdict:
        """Judge an end."""
        if ended.code == 0:
            return Verdict("wrong", f"taken, exit 0: {_last(ended.err) or _last(ended.out)}")
        return refused_line(ended, *self.patterns)


class Accepted:
    """The command does it, and what it leaves passes the check."""

    good = "right"

    def __init__(self, check: Check | None = None, *, says: str | None = None) -> None:
        self.check, self.says = check, says

    def judge(self, ended: Ended, place: Place) -> Verdict:
        """Judge an end."""
        if ended.code != 0:
            verdict = refused_line(ended, r"^")
            return Verdict("unclear", f"refused: {verdict[1]}") if verdict[0] == "clear" else verdict
        if self.says is not None and not re.search(self.says, ended.err + ended.out, re.IGNORECASE):
            return Verdict("wrong", f"does not say {self.says}: {_last(ended.err) or _last(ended.out)}")
        complaint = self.check(place) if self.check is not None else None
        return Verdict(*complaint) if complaint else Verdict(self.good)


class Continues(Accepted):
    """After a fault the same command ends with what a run without it leaves, to the bit.

    Args:
        template: the finished run.
        patterns: its files that have to be there, and equal.
        exist: files that have to be there, though they tell the time or the machine.
    """

    good = "identical"

    def __init__(self, template: str, *patterns: str, exist: Sequence[str] = ()) -> None:
        self.template, self.patterns, self.exist = template, patterns, exist
        super().__init__(self._compare)

    def judge(self, ended: Ended, place: Place) -> Verdict:
        """Judge an end: one that refuses for ever loses the result."""
        verdict = super().judge(ended, place)
        return Verdict("lost", verdict[1]) if verdict[0] == "unclear" else verdict

    def _compare(self, place: Place) -> tuple[str, str] | None:
        want = digests(place.templates.folder / self.template / "runs" / "addition", self.patterns)
        have = digests(place.run, self.patterns)
        if not want:
            raise RuntimeError(f"template {self.template} has no {self.patterns}")
        there = {name for name in self.exist if (place.run / name).exists()}
        if missing := sorted({*want, *self.exist} - {*have, *there}):
            return "lost", f"exit 0 without {', '.join(missing[:3])}"
        other = [name for name in want if want[name] != have[name]]
        return ("wrong", f"other bytes in {', '.join(other[:3])}") if other else None


class Either:
    """A refusal in one line, or the right result; both are right."""

    def __init__(self, *ways: Any) -> None:
        self.ways = ways

    def judge(self, ended: Ended, place: Place) -> Verdict:
        """The best of all verdicts."""
        return max((way.judge(ended, place) for way in self.ways), key=lambda verdict: OUTCOMES.index(verdict[0]))


class Killed:
    """The process was ended by the fault, as was meant; nothing is judged but that it was."""

    def __init__(self, *codes: int) -> None:
        self.codes = codes or (-9,)

    def judge(self, ended: Ended, place: Place) -> Verdict:
        """Judge an end."""
        if ended.code in self.codes:
            return Verdict("right")
        return Verdict("broken", f"exit {ended.code} where {self.codes} was meant: {_last(ended.err)}")


class Signalled:
    """A signal ends the command in order: one of these exit statuses, and no traceback.

    Args:
        codes: exit statuses.
        says: what has to stand on standard error.
    """

    def __init__(self, *codes: int, says: str = "") -> None:
        self.codes, self.says = codes, says

    def judge(self, ended: Ended, place: Place) -> Verdict:
        """Judge an end."""
        if "Traceback (most recent call last)" in ended.err:
            return Verdict("traceback", _last(ended.err))
        if ended.code not in self.codes or not re.search(self.says, ended.err):
            return Verdict("unclear", f"exit {ended.code} after the signal: {_last(ended.err)}")
        return Verdict("right")


class Whatever:
    """Any end but a hang: a fault that may or may not strike; what counts comes after it."""

    def judge(self, ended: Ended, place: Place) -> Verdict:
        """Judge an end."""
        return Verdict("right")


@dataclass(frozen=True)
class Step:
    """One command of a case.

    Attributes:
        words: the command line; or a function of the case's folder that calls madkit from Python, whose errors count as
            those of a command, and which returns None or what is not right.
        expect: what has to come of it.
        faults: what happens to the process.
        at_once: so many processes with the same command.
        limit: seconds until it counts as a hang.
    """

    words: Sequence[str] | Callable[[Place], Any]
    expect: Any
    faults: tuple[Fault, ...] = ()
    at_once: int = 1
    limit: float = 60.0

    def function(self, place: Place) -> Callable[[], Any]:
        """What a child process runs."""
        if not callable(self.words):
            return madkit(*[place.named(word) for word in self.words])
        call = self.words

        def run() -> int:
            from madkit.errors import MadkitError

            try:
                complaint = call(place)
            except MadkitError as error:
                print(f"madkit: {error}", file=sys.stderr)
                return 2
            if complaint:
                print(complaint)
            return 3 if complaint else 0

        return run


@dataclass(frozen=True)
class Case:
    """A bad input or a fault.

    Attributes:
        name: in words that say what is wrong, unique within its category.
        steps: the commands, one after the other; the worst outcome counts.
        prepare: what is done to the case's folder first, in this order.
        start: the finished run that it starts from, if any.
    """

    name: str
    steps: tuple[Step, ...]
    prepare: tuple[Callable[[Place], Any], ...] = ()
    start: str | None = None


class Computed:
    """A call from Python: refused in one line that holds the patterns, or, without patterns, right."""

    def __init__(self, *patterns: str, or_right: bool = False) -> None:
        self.patterns, self.or_right = patterns, or_right

    def judge(self, ended: Ended, place: Place) -> Verdict:
        """Judge an end; exit status 3 means that the call found a wrong number."""
        if ended.code == 3:
            return Verdict("wrong", _last(ended.out))
        if ended.code == 0:
            fine = not self.patterns or self.or_right
            return Verdict("right") if fine else Verdict("wrong", "taken without a word")
        verdict = refused_line(ended, *self.patterns)
        if verdict[0] == "clear" and not self.patterns:
            return Verdict("unclear", f"refused: {verdict[1]}")
        return verdict


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
