"""Where the time of `make figures` goes.

    make figures LAUNCH="python benchmarks/pipeline.py times.jsonl"
    python benchmarks/pipeline.py times.jsonl --report

As a launcher it runs one command and writes down its CPU time (user and system, with all of its children), its time by
the clock and when it began. The report adds up commands of a kind, and cuts a chain into its stages by when each wrote
its last file: `start-up` is what passes before `fit` has written its recipe. It needs a run that was made in one go.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

#: What a stage writes last.
LAST = {"start-up": "fit.yaml", "fit": "fit.json", "predict": "predict.json", "test": "detection/results.parquet"}


def launch(log: str, words: list[str]) -> int:
    began = time.time()
    status = subprocess.call(words)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, ended = used.ru_utime + used.ru_stime, time.time()
    line = {"words": words[1:], "began": began, "ended": ended, "cpu": cpu, "status": status}
    with Path(log).open("a") as file:
        file.write(json.dumps(line) + "\n")
    return status


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1] if name in words else ""


def kind_of(words: list[str]) -> str:
    text = " ".join(words)
    for mark, kind in (
        ("poser/", "family of POSER: base, twelve models, measuring"),
        ("/benign", "benign control: fit, predict, test"),
        ("flow.yaml", "flow"),
        ("sae.yaml", "sparse autoencoder"),
        ("base.yaml", "base model"),
    ):
        if mark in text:
            return kind
    return "quirky run: fit, predict, test"


def stages(line: dict) -> dict[str, float]:
    """Seconds by the clock of each stage of a chain."""
    words = line["words"]
    if words[0] != "run" or "poser/" in " ".join(words):
        return {}
    folder = Path(option(words, "--run"), option(words, "--data.dataset"))
    seconds, since = {}, line["began"]
    for stage, name in LAST.items():
        until = (folder / name).stat().st_mtime
        seconds[stage], since = until - since, until
    return seconds


def report(log: str) -> None:
    lines = [json.loads(text) for text in Path(log).read_text().splitlines()]
    kinds: dict[str, list[dict]] = defaultdict(list)
    for line in lines:
        kinds[kind_of(line["words"])].append(line)
    total = sum(line["cpu"] for line in lines)
    print("| command | runs | CPU seconds of all | share | seconds of one: " + ", ".join(LAST) + " |")
    print("|---|---:|---:|---:|---|")
    for kind, part in sorted(kinds.items(), key=lambda item: -sum(line["cpu"] for line in item[1])):
        cpu = sum(line["cpu"] for line in part)
        cut = [seconds for line in part if (seconds := stages(line))]
        each = (
            ", ".join(f"{sum(s[name] for s in cut) / len(cut):.1f}" for name in LAST)
            if cut
            else f"{cpu / len(part):.1f}"
        )
        print(f"| {kind} | {len(part)} | {cpu:.0f} | {cpu / total:.0%} | {each} |")
    clock = max(line["ended"] for line in lines) - min(line["began"] for line in lines)
    print(f"\n{total:.0f} CPU seconds in {clock:.0f} seconds by the clock, drawing not counted.")
    if failed := [" ".join(line["words"]) for line in lines if line["status"]]:
        print(f"Failed: {failed}")


if __name__ == "__main__":
    if "--report" in sys.argv:
        report(sys.argv[1])
    else:
        sys.exit(launch(sys.argv[1], sys.argv[2:]))
