"""Killed at a moment, and the same command again; signals; two processes at once on one run folder."""

import json
import shutil
import signal

from campaign.case import Accepted, Case, Either, Killed, Refused, Signalled, Whatever
from campaign.faults import kill_at_rename, signal_after
from campaign.finished import FITTED, PREDICTED, TESTED
from campaign.steps import fit, predict, test

_STAGES = {"fit": (fit, FITTED, None), "predict": (predict, PREDICTED, "fitted"), "test": (test, TESTED, "predicted")}

#: A part of the name of what is written, and the how many-th time.
_WRITES = {
    "fit": [
        ("last.ckpt", 1), ("best.ckpt", 1), ("history.parquet", 1), ("adapter", 1),
        ("fit.json", 1),
    ],
    "predict": [
        ("rows.parquet", 1), ("shard-00000", 1), ("shard-00004", 1), ("current.json", 1),
        ("predict.json", 1),
    ],
    "test": [
        ("state.safetensors", 1), ("results.parquet", 1),
        ("summary.json", 1),
    ],
}  # fmt: skip


def _killed(stage, name, count, *, after):
    step, finished, start = _STAGES[stage]
    when = "after" if after else "before"
    fault = kill_at_rename(name, after=after, count=count)
    # Where a file is not written in one piece under another name any more, the kill does not come; the end has to be
    # right all the same.
    return Case(
        f"{stage} killed {when} {name} {count}",
        (step(Either(Killed(), Whatever()), faults=(fault,)), step(finished)),
        start=start,
    )


def _killed_twice(stage, first, second):
    step, finished, start = _STAGES[stage]
    kills = [step(Whatever(), faults=(kill_at_rename(name),)) for name in (first, second)]
    return Case(f"{stage} killed before {first} and then before {second}", (*kills, step(finished)), start=start)


def _signal(stage, name, sign, *codes, says=""):
    """A signal in the middle: an end in order within seconds, and the same command continues."""
    step, finished, start = _STAGES[stage]
    fault = kill_at_rename(name, sign=sign)
    end = Signalled(*codes, says=says)
    return Case(
        f"{stage} gets {sign.name} at {name}",
        (step(end, faults=(fault,)), step(finished)),
        start=start,
    )


def _no_leftovers(place):
    left = [p.name for p in place.run.rglob("*") if "partial" in p.name or p.name.endswith((".tmp", ".lock"))]
    return ("unclear", f"left behind: {left[:3]}") if left else None


def _leftovers(stage, name):
    step, finished, start = _STAGES[stage]
    return Case(
        f"what {stage} left half-written at {name} is swept up",
        (step(Whatever(), faults=(kill_at_rename(name),)), step(finished), step(Accepted(_no_leftovers))),
        start=start,
    )


def _remove(*names):
    def do(place):
        for name in names:
            found = list(place.run.glob(name))
            assert found, name
            for path in found:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return do


def _unfinish(place):
    """The state that a kill after the last shard leaves."""
    _remove("predict.json", "features/*/current.json")(place)
    for path in place.run.glob("features/*/*/manifest.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "complete": False}))


def _missing(stage, start, *names):
    step, finished, _ = _STAGES[stage]
    return Case(f"{stage} where {' and '.join(names)} is gone", (step(finished),), (_remove(*names),), start)


def _asked_for(seed):
    def check(place):
        text = json.dumps(json.loads((place.run / "detection" / "summary.json").read_text()))
        return None if f'"seed": {seed}' in text else ("wrong", f"the summary is not of seed {seed}")

    return check


def _stale(name, first, second, *more):
    """Settings A, B, A, and then the results of A."""
    a, b = first.split(), second.split()
    return Case(
        name,
        (predict(Accepted(), *a), predict(Accepted(), *b), predict(Accepted(), *a), test(TESTED, *more)),
        start="fitted",
    )


CASES = [
    *(_killed(s, n, c, after=False) for s, writes in _WRITES.items() for n, c in writes),
    *(
        _killed(s, n, 1, after=True)
        for s, n in (
            ("fit", "last.ckpt"), ("fit", "adapter"), ("predict", "shard-00004"), ("predict", "manifest.json"),
            ("predict", "current.json"), ("predict", "predict.json"), ("test", "results.parquet"),
        )
    ),
    _killed_twice("fit", "last.ckpt", "adapter"),
    _killed_twice("predict", "shard-00002", "current.json"),
    _killed_twice("test", "state.safetensors", "summary.json"),
    _signal("fit", "last.ckpt", signal.SIGTERM, 143, -15),
    _signal("predict", "shard-00001", signal.SIGTERM, 143, -15),
    _signal("test", "state.safetensors", signal.SIGTERM, 143, -15),
    _signal("fit", "last.ckpt", signal.SIGINT, 2, 130, says="interrupted"),
    _signal("predict", "shard-00001", signal.SIGINT, 2, 130, says="interrupted"),
    _signal("test", "state.safetensors", signal.SIGINT, 2, 130, says="interrupted"),
    _leftovers("fit", "last.ckpt"),
    _leftovers("predict", "shard-00001"),
    _leftovers("test", "results.parquet"),
    Case("predict where nothing but the marks of its end is missing", (predict(PREDICTED), test(TESTED)), (_unfinish,), "predicted"),
    Case("fit where the adapter was never exported", (fit(FITTED),), (_remove("adapter", "fit.json"),), "fitted"),
    _missing("fit", "fitted", "adapter"),
    _missing("fit", "fitted", "fit.json"),
    _missing("fit", "fitted", "adapter/adapter_model.safetensors"),
    _missing("fit", "fitted", "adapter/adapter_config.json"),
    _missing("fit", "fitted", "checkpoints", "fit.json"),
    _missing("fit", "fitted", "history.parquet"),
    _missing("predict", "predicted", "predict.json"),
    _missing("predict", "predicted", "features/activations/current.json"),
    _missing("predict", "predicted", "features/activations/*/rows.parquet"),
    _missing("predict", "predicted", "features/activations/*/shard-00001.safetensors"),
    _missing("predict", "predicted", "features/answers/*/manifest.json"),
    _missing("predict", "predicted", "controls"),
    _missing("test", "tested", "detection/summary.json"),
    _missing("test", "tested", "detection/detectors"),
    _missing("test", "tested", "detection/results.parquet"),
    _stale("seed 0, seed 1, seed 0", "--data.seed 0", "--data.seed 1"),
    _stale("template A, B, A", "--data.template compact", "--data.template standardized"),
    _stale("fewer prompts and all of them again", "--data.max_test 24", "--data.max_test 20"),
    _stale("float32, bfloat16, float32", "--model.dtype auto", "--model.dtype bfloat16"),
    Case(
        "fit with lr A, B, A",
        (fit(Accepted()), fit(Accepted(), "--model.optimizer.lr", "0.1"), fit(FITTED)),
    ),
    Case(
        "test after a predict with other settings",
        (predict(Accepted(), "--data.seed", "5"), test(Accepted(_asked_for(5)))),
        start="predicted",
    ),
    Case("the same fit again", (fit(FITTED),), start="fitted"),
    Case("the same predict again", (predict(PREDICTED),), start="predicted"),
    Case("the same test again", (test(TESTED),), start="tested"),
    Case("two fits at once", (fit(Either(FITTED, Refused("another|other process|lock|in use|runs")), at_once=2), fit(FITTED))),
    Case(
        "two predicts at once",
        (predict(Either(PREDICTED, Refused("another|other process|lock|in use|runs")), at_once=2), predict(PREDICTED)),
        start="fitted",
    ),
    Case(
        "two tests at once",
        (test(Either(TESTED, Refused("another|other process|lock|in use|runs")), at_once=2), test(TESTED)),
        start="predicted",
    ),
    Case(
        "predict killed after a second",
        (predict(Whatever(), faults=(signal_after(0.8, signal.SIGKILL),)), predict(PREDICTED)),
        start="fitted",
    ),
    Case("fit killed after a second", (fit(Whatever(), faults=(signal_after(1.2, signal.SIGKILL),)), fit(FITTED))),
]  # fmt: skip
