"""No room on the disk, no right to write or to read."""

import errno

from campaign.case import Case, Either, Refused
from campaign.faults import largest_file, no_room_for, without_root
from campaign.finished import FITTED, PREDICTED, TESTED
from campaign.steps import command, fit, predict, test

_STAGES = {"fit": (fit, FITTED, None), "predict": (predict, PREDICTED, "fitted"), "test": (test, TESTED, "predicted")}
_ROOM = "space|room|full|quota|too large|disk|written"


def full(stage, name, code=errno.ENOSPC):
    """A file cannot be written for want of room; with room again the same command continues.

    Arrow opens its files by itself, where the fault does not strike: then the result has to be there at once.
    """
    step, finished, start = _STAGES[stage]
    what = errno.errorcode[code]
    return Case(
        f"{stage} gets {what} at {name}",
        (step(Either(Refused(_ROOM), finished), faults=(no_room_for(name, code),)), step(finished)),
        start=start,
    )


def small(stage, size):
    """No file may grow beyond a size."""
    step, finished, start = _STAGES[stage]
    return Case(
        f"{stage} with files of at most {size} bytes",
        (step(Refused(_ROOM), faults=(largest_file(size),)), step(finished)),
        start=start,
    )


def _mode(pattern, mode):
    def do(place):
        found = sorted(place.root.glob(pattern))
        assert found, pattern
        for path in found:
            path.chmod(mode)

    return do


def denied(name, step, pattern, mode, *says, start, or_else=None):
    """A file or folder that may not be read or written; `or_else` is made in its place."""
    refused = Refused("permission|read-only|not allowed|right|denied|damaged", *says)
    return Case(
        name,
        (step(Either(refused, *([or_else] if or_else else [])), faults=(without_root,)),),
        (_mode(pattern, mode),),
        start,
    )


def _figures(expect, **options):
    return command(expect, "figures", "runs", "--out", "out/figures", "--jobs", "1", "--formats", "svg", **options)


CASES = [
    full("fit", "fit.yaml"),
    full("fit", "last.ckpt"),
    full("fit", "adapter"),
    full("fit", "history.parquet"),
    full("fit", "tfevents"),
    full("predict", "manifest.json"),
    full("predict", "predict.json", errno.EDQUOT),
    full("predict", "rows.parquet", errno.EDQUOT),
    full("test", "results.parquet"),
    full("test", "config.json", errno.EDQUOT),
    full("test", "summary.json"),
    small("fit", 20_000),
    small("predict", 3_000),
    small("test", 3_000),
    Case(
        "fit into runs that may not be written",
        (fit(Refused("permission|read-only|not allowed|right|denied", "runs"), faults=(without_root,)),),
        (lambda p: (p.root / "runs").mkdir(mode=0o555),),
    ),
    denied("predict into a folder that may not be written", predict, "runs/addition", 0o555, "runs/addition", start="fitted"),
    denied("test into a folder that may not be written", test, "runs/addition", 0o555, "runs/addition", start="predicted"),
    denied("test into results that may not be written", test, "runs/addition/detection", 0o555, "detection", start="tested", or_else=TESTED),
    denied("an adapter that may not be read", predict, "runs/addition/adapter/*", 0o000, "adapter", start="fitted"),
    denied("a shard that may not be read", test, "runs/addition/features/activations/*/shard-*", 0o000, "shard-0000", start="predicted"),
    denied("a manifest that may not be read", test, "runs/addition/features/activations/*/manifest.json", 0o000, "manifest", start="predicted"),
    denied("a recipe that may not be read", predict, "runs/addition/fit.yaml", 0o000, "fit.yaml", start="fitted"),
    denied("a mark that may not be read", fit, "runs/addition/fit.json", 0o000, "fit.json", start="fitted", or_else=FITTED),
    denied("figures of results that may not be read", _figures, "runs/addition/detection/results.parquet", 0o000, "results.parquet", start="tested"),
    Case("figures without room", (_figures(Refused(_ROOM), faults=(no_room_for("report.html"),)),), (), "tested"),
    Case("data build without room", (command(Refused(_ROOM), "data", "build", "addition", "--out", "out/x", "--task_options", '{"n_train": 100, "n_validation": 40, "max": 99}', faults=(no_room_for("out/"),)),)),
]  # fmt: skip
