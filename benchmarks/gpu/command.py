"""The command: what it is told, which card there is, and where the results go."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu import machine
from gpu.record import Record
from gpu.runner import Launch, in_own_process, run
from gpu.section import Settings
from gpu.sections import SECTIONS
from gpu.table import table
from gpu.worker import work

DESCRIPTION = """Measure madkit on one GPU beside what it is compared with, and write results/<card>.json and <card>.md.

Sections are done in the order of their worth. One that fails, runs out of memory or out of time is written down as
such, and the others are done. Given again, the command does what is not done yet: on the same card, with the same
versions and the same program text."""
#: Under eight minutes, with what starting takes.
BUDGET = 460


def main(arguments: Sequence[str] | None = None, launch: Launch = in_own_process) -> int:
    """Run the command; its exit status."""
    by_name = {section.name: section for section in SECTIONS}
    options = _parser(list(by_name)).parse_args(arguments)
    if options.reduced:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if options.process:
        name, process, *parts = options.process
        settings = Settings(options.reduced, options.folder, options.seconds)
        work(by_name[name], process, parts, settings, options.to)
        return 0
    card = machine.card()
    if options.reduced:
        card = {"card": "no card"}
    elif card is None:
        print("no GPU that torch can use: DEVICE=cpu make gpu tries everything at reduced sizes", file=sys.stderr)
        return 2
    name = "reduced" if options.reduced else machine.slug(card["card"])
    results = options.out or (options.runs if options.reduced else machine.ROOT / "benchmarks" / "results")
    record = Record(results / f"{name}.json", {**card, "reduced": options.reduced, **machine.versions()})
    chosen = [by_name[n] for n in (options.only or by_name)]
    for section in chosen if options.redo else []:
        record.forget(section)
    run(record, chosen, options.runs / name, options.budget, options.reduced, launch)
    page = results / f"{name}.md"
    page.write_text(table(record, SECTIONS))
    print(f"{record.path}\n{page}")
    return 1 if any(record.failed(section) for section in chosen) else 0


def _parser(sections: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "gpu", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=sections, help="these sections")
    parser.add_argument("--redo", action="store_true", help="also what is done already")
    parser.add_argument("--budget", type=float, default=BUDGET, help=f"seconds for all of it [{BUDGET}]")
    parser.add_argument("--reduced", action="store_true", help="on the CPU, at sizes that mean nothing")
    parser.add_argument("--out", type=Path, help="where the results go [benchmarks/results; reduced: --runs]")
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"), help="for logs and run folders [runs/gpu]")
    parser.add_argument("--process", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    return parser
