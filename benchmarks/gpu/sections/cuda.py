"""The tests that need a card: half precision, TF32, NCCL."""

from __future__ import annotations

import os
import subprocess
import sys
from xml.etree import ElementTree

from gpu.machine import ROOT
from gpu.section import Facts, Row, Section, Settings


def _measure(settings: Settings) -> Facts:
    settings.folder.mkdir(parents=True, exist_ok=True)
    report = (settings.folder / "tests.xml").absolute()
    line = [
        sys.executable,
        "-m",
        "pytest",
        "tests/gpu",
        "-p",
        "no:xdist",
        f"--junitxml={report}",
        "-p",
        "no:cacheprovider",
    ]
    line += ["-k", "not stages and not encoders"] if settings.reduced else []
    # Reduced, they say something of the tests, and nothing of cards.
    environment = {**os.environ, "MADKIT_CARD": "cpu" if settings.reduced else "cuda"}
    done = subprocess.run(line, cwd=ROOT, env=environment, check=False)
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    cases = list(suite.iter("testcase"))
    wrong = [c.attrib["name"] for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = [c.attrib["name"] for c in cases if c.find("skipped") is not None]
    if wrong or done.returncode:
        sys.exit(f"{len(wrong)} of {len(cases)} tests fail: {', '.join(wrong) or f'status {done.returncode}'}")
    return {"passed": len(cases) - len(skipped), "skipped": skipped}


def _rows(facts: dict[str, Facts]) -> list[Row]:
    return [
        Row("tests that need a card", f"{of['passed']} pass, {len(of['skipped'])} are skipped") for of in facts.values()
    ]


CUDA = Section(
    name="cuda",
    processes={"tests": {"tests": _measure}},
    rows=_rows,
    seconds=110,
    needs=("pytest",),
    sources=("tests/gpu", "tests/conftest.py"),
)
