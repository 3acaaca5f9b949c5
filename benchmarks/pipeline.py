"""Where the time of `make figures` goes.

    make figures LAUNCH="python benchmarks/pipeline.py times.jsonl"
    python benchmarks/pipeline.py times.jsonl --report

As a launcher it runs one command and writes down its CPU time (user and system, with all of its children), its time by
the clock and when it began. The report adds up commands of a kind, and cuts a chain into its stages by when each wrote
its last file; `start-up` is what passes before `fit` has written its recipe. It needs a run that was made in one go, on
as many cores as there were commands side by side.
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
LAST = {"fit": "fit.json", "predict": "predict.json", "test": "detection/results.parquet"}


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
        ("flow.yaml", "flow"),
        ("sae.yaml", "sparse autoencoder"),
        ("base.yaml", "base model"),
    ):
        if mark in text:
            return kind
    return "run with its control"


def stages(line: dict) -> dict[str, float]:
    """Seconds by the clock of each stage of a chain."""
    words, seconds, since = line["words"], {}, line["began"]
    if words[0] != "run" or "poser/" in " ".join(words):
        return {}
    run = dataset = ""
    for stage in " ".join(words[1:]).split(" then "):
        name, *rest = stage.split()
        run, dataset = option(rest, "--run") or run, option(rest, "--data.dataset") or dataset
        folder, control = Path(run, dataset), "benign: " * ("/benign" in run)
        if not seconds:
            began = (folder / "fit.yaml").stat().st_mtime
            seconds["start-up"], since = began - since, began
        until = (folder / LAST[name]).stat().st_mtime
        seconds[control + name], since = until - since, until
    return seconds


def report(log: str) -> None:
    lines = [json.loads(text) for text in Path(log).read_text().splitlines()]
    kinds: dict[str, list[dict]] = defaultdict(list)
    for line in lines:
        kinds[kind_of(line["words"])].append(line)
    total = sum(line["cpu"] for line in lines)
    print("| | how many | CPU seconds of all | share | of one |\n|---|---:|---:|---:|---:|")
    for kind, part in sorted(kinds.items(), key=lambda item: -sum(line["cpu"] for line in item[1])):
        cpu = sum(line["cpu"] for line in part)
        print(f"| {kind} | {len(part)} | {cpu:.0f} | {cpu / total:.0%} | {cpu / len(part):.1f} |")
        cut = [seconds for line in part if (seconds := stages(line))]
        for name in cut[0] if cut else ():
            mean = sum(each.get(name, 0.0) for each in cut) / len(cut)
            print(f"| - {name}, by the clock | | | | {mean:.1f} |")
    clock = max(line["ended"] for line in lines) - min(line["began"] for line in lines)
    print(f"\n{total:.0f} CPU seconds in {clock:.0f} seconds by the clock, drawing not counted.")
    if failed := [" ".join(line["words"]) for line in lines if line["status"]]:
        print(f"Failed: {failed}")


if __name__ == "__main__":
    if "--report" in sys.argv:
        report(sys.argv[1])
    else:
        sys.exit(launch(sys.argv[1], sys.argv[2:]))
