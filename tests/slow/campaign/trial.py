"""Try every case in a process of its own, some at a time, and say how each ended."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from campaign.case import OUTCOMES, Case, Step, Verdict
from campaign.forks import Ended, Fork, run_forked
from campaign.place import Place, Templates


class Outcome(NamedTuple):
    """How a case ended."""

    category: str
    name: str
    outcome: str
    why: str
    seconds: float


def run_cases(
    cases: Sequence[tuple[str, Case]], folder: Path, templates: Templates, *, jobs: int = 2, keep: bool = False
) -> Iterator[Outcome]:
    """Run cases, `jobs` at a time, and yield their outcomes as they come.

    Args:
        cases: each with its category.
        folder: where they happen.
        templates: the finished runs that they start from.
        jobs: how many at a time.
        keep: leave their folders, to look at.
    """
    waiting = [(number, category, case) for number, (category, case) in enumerate(cases)]
    running: dict[int, tuple[str, Case, Fork]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number, category, case = waiting.pop(0)
            root = folder / f"{number:03d}"
            limit = 30 + sum(step.limit for step in case.steps)
            worker = Fork(_Worker(case, root, templates), logs=folder / "logs" / root.name, cwd=folder, limit=limit)
            running[number] = (category, case, worker)
        for number, (category, case, worker) in list(running.items()):
            if (ended := worker.poll()) is None:
                continue
            del running[number]
            root = folder / f"{number:03d}"
            outcome, why = _verdict(ended)
            yield Outcome(category, case.name, outcome, why, ended.seconds)
            if not keep:
                shutil.rmtree(root, ignore_errors=True)
        time.sleep(0.01)


def _verdict(ended: Ended) -> Verdict:
    """What a worker found, which is the last line that it printed."""
    if ended.code is None:
        return Verdict("hang", "the case took too long altogether")
    try:
        return Verdict(*json.loads(ended.out.splitlines()[-1]))
    except (IndexError, ValueError):
        return Verdict("broken", (ended.err or f"exit {ended.code}").strip().splitlines()[-1])


class _Worker:
    """Prepares a case, runs its commands and judges them; each in a process forked from this one."""

    def __init__(self, case: Case, root: Path, templates: Templates) -> None:
        self.case, self.root, self.templates = case, root, templates

    def __call__(self) -> None:
        try:
            verdict = self._run()
        except Exception:
            verdict = Verdict("broken", traceback.format_exc().strip().splitlines()[-1])
        print(json.dumps(verdict))

    def _run(self) -> Verdict:
        place = Place(self.root, self.templates)
        if self.case.start is not None:
            place.start_from(self.case.start)
        for number, prepare in enumerate(self.case.prepare):
            do = partial(_do, prepare, place)
            ended = run_forked(do, logs=self.root / "logs" / f"p{number}", cwd=self.root)
            if ended.code != 0:
                return Verdict("broken", f"preparation: {ended.err.strip().splitlines()[-1:]}")
        verdicts = [self._step(place, step, number) for number, step in enumerate(self.case.steps)]
        return min(verdicts, key=lambda verdict: OUTCOMES.index(verdict[0])) if _any_bad(verdicts) else verdicts[-1]

    def _step(self, place: Place, step: Step, number: int) -> Verdict:
        before = place.others()
        forks = [
            Fork(
                step.function(place),
                logs=self.root / "logs" / f"{number}-{process}",
                cwd=self.root,
                limit=step.limit,
                faults=step.faults,
            )
            for process in range(step.at_once)
        ]
        verdicts = []
        for ended in [fork.wait() for fork in forks]:
            if ended.code is None:
                return Verdict("hang", f"more than {step.limit:.0f} s")
            verdicts.append(step.expect.judge(ended, place))
        after = place.others()
        changed = [path for path in sorted({*before, *after}) if before.get(path) != after.get(path)]
        if changed:
            return Verdict("outside", f"written or removed: {', '.join(changed[:3])}")
        return min(verdicts, key=lambda verdict: OUTCOMES.index(verdict[0]))


def _do(prepare: Callable[[Place], Any], place: Place) -> None:
    prepare(place)


def _any_bad(verdicts: Sequence[Verdict]) -> bool:
    return any(OUTCOMES.index(verdict[0]) < OUTCOMES.index("clear") for verdict in verdicts)


def table(outcomes: Sequence[Outcome]) -> str:
    """How many of each category ended in which way."""
    names = [name for name in reversed(OUTCOMES) if name != "broken" or any(o.outcome == "broken" for o in outcomes)]
    categories = sorted({outcome.category for outcome in outcomes})
    width = max(map(len, [*categories, "all"]), default=3)
    lines = [f"{'':{width}}  {'cases':>9}" + "".join(f"{name:>10}" for name in names)]
    for category in [*categories, "all"]:
        own = [o for o in outcomes if category in (o.category, "all")]
        counts = "".join(f"{sum(o.outcome == name for o in own) or '.':>10}" for name in names)
        lines.append(f"{category:{width}}  {len(own):>9}{counts}")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """The command line: see `--help`. Returns 0 where the goals are reached."""
    import argparse
    import re
    import tempfile

    from campaign.cases import all_cases
    from campaign.goals import missed

    parser = argparse.ArgumentParser(description="Try bad inputs and faults on the madkit command.")
    parser.add_argument("--only", default="", help="a regular expression for category/name")
    parser.add_argument("--every", type=int, default=1, help="one case in so many, of each category")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--keep", metavar="FOLDER", help="leave all folders there, to look at")
    parser.add_argument("--all", action="store_true", help="a line for each case, also where all is well")
    parser.add_argument("--json", metavar="FILE", help="write all outcomes there")
    options = parser.parse_args(words)
    import_everything()
    cases = [(c, case) for c, case in all_cases() if re.search(options.only, f"{c}/{case.name}")][:: options.every]
    folder = Path(options.keep or tempfile.mkdtemp(prefix="madkit-campaign-"))
    try:
        templates = Templates(folder / "templates")
        templates.make()
        outcomes = []
        for done in run_cases(cases, folder, templates, jobs=options.jobs, keep=bool(options.keep)):
            outcomes.append(done)
            if options.all or OUTCOMES.index(done.outcome) < OUTCOMES.index("clear"):
                print(f"{done.outcome:9}  {done.category}/{done.name}: {done.why}  ({done.seconds:.1f} s)", flush=True)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    outcomes.sort()
    print(table(outcomes))
    if options.json:
        Path(options.json).write_text(json.dumps([outcome._asdict() for outcome in outcomes], indent=1))
    complaints = missed(outcomes)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


def import_everything() -> None:
    """What all children need, imported once; no computation, so that there is one thread to fork."""
    import torch

    torch.set_num_threads(1)
    for module in (
        "matplotlib.backends.backend_agg", "peft", "scipy.stats", "sklearn.linear_model",
        "transformers.models.llama.modeling_llama", "madkit.cli.registry", "madkit.cli.stages", "madkit.figures.study",
    ):  # fmt: skip
        importlib.import_module(module)
