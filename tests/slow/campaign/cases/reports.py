"""`madkit figures`, `data` and `monitor`: their options, and folders that hold something else."""

import shutil

from campaign.case import Accepted, Case, Refused
from campaign.cases.stores import _no, _rows
from campaign.steps import command


def figures(expect, *more, **options):
    """Draw the run."""
    return command(expect, "figures", "runs", "--out", "out", "--jobs", "1", "--formats", "svg", *more, **options)


def _same_twice(place):
    """The same results give the same bytes."""
    from campaign.place import digests

    first, second = (digests(place.root / name, ("*",)) for name in ("out/a", "out/b"))
    other = [name for name in first if first[name] != second.get(name) and name != "sources.json"]
    return ("wrong", f"other bytes in {other[:3]}") if other or not first else None


def results(change):
    """A changed table of results."""
    return _rows(change, "detection/results.parquet", checksums=True)


CASES = [
    Case("figures of a folder that is not there", (command(Refused("nowhere"), "figures", "nowhere", "--out", "out"),)),
    Case("figures of an empty folder", (command(Refused("empty"), "figures", "empty", "--out", "out"),), (lambda p: (p.root / "empty").mkdir(),)),
    Case("figures of a file", (command(Refused("file.txt"), "figures", "file.txt", "--out", "out"),), (lambda p: p.write("file.txt", "x"),)),
    Case("figures of nothing", (command(Refused("runs"), "figures", "--out", "out"),)),
    Case("an unknown format", (figures(Refused("formats", "gif"), "--formats", "gif"),), (), "tested"),
    Case("jobs of -1", (figures(Refused("jobs", "-1"), "--jobs", "-1"),), (), "tested"),
    Case("jobs of a word", (figures(Refused("jobs", "many"), "--jobs", "many"),), (), "tested"),
    Case("an option that figures lacks", (figures(Refused("--formts", "formats"), "--formts", "svg"),), (), "tested"),
    Case("out is a file", (command(Refused("taken"), "figures", "runs", "--out", "taken", "--jobs", "1"),), (lambda p: p.write("taken", "x"),), "tested"),
    Case("figures of one's own that are not there", (figures(Refused("mine.py"), "--with", "mine.py"),), (), "tested"),
    Case("figures of one's own that fail to import", (figures(Refused("mine.py", "line 1|ZeroDivision"), "--with", "mine.py"),), (lambda p: p.write("mine.py", "1 / 0\n"),), "tested"),
    Case("figures of one's own that are no Python", (figures(Refused("mine.py", "Syntax"), "--with", "mine.py"),), (lambda p: p.write("mine.py", "def (:\n"),), "tested"),
    Case("figures of one's own that fail", (figures(Refused("mine", "KeyError|nothing"), "--with", "mine.py"),), (lambda p: p.write("mine.py", "from madkit.figures.registry import artist\n\n\n@artist('detection')\ndef mine(results):\n    raise KeyError('nothing')\n    yield\n"),), "tested"),
    Case(
        "the same run in two folders",
        (command(Refused("addition", "two|both|twice|same"), "figures", "runs", "again", "--out", "out", "--jobs", "1", "--formats", "svg"),),
        (lambda p: shutil.copytree(p.root / "runs", p.root / "again" / "runs"),),
        "tested",
    ),
    Case("results with NaN", (figures(Refused("results.parquet", "madkit test|auroc|NaN")),), (results(lambda t: t.assign(auroc=float("nan"))),), "tested"),
    Case("results with areas beyond 1", (figures(Refused("results.parquet", "madkit test|auroc|1")),), (results(lambda t: t.assign(auroc=t["auroc"] + 7)),), "tested"),
    Case("results without rows", (figures(Refused("results.parquet", "madkit test|empty|rows")),), (results(lambda t: t.iloc[:0]),), "tested"),
    Case("results without prompts", (figures(Refused("prompts.parquet")),), (_no("detection/prompts.parquet"),), "tested"),
    Case("the same bytes twice", (command(Accepted(), "figures", "runs", "--out", "out/a", "--jobs", "1", "--formats", "svg"), command(Accepted(_same_twice), "figures", "runs", "--out", "out/b", "--jobs", "1", "--formats", "svg")), (), "tested"),
    Case("data without a command", (command(Refused("chekc", "check"), "data", "chekc", "x"),)),
    Case("data check of nothing", (command(Refused("source"), "data", "check"),)),
    Case("data show of an unknown split", (command(Refused("split", "tset", "test"), "data", "show", "addition", "--split", "tset", "--task_options", '{"n_train": 200, "n_validation": 100}'),)),
    Case("data show of -1 prompts", (command(Refused("count", "-1"), "data", "show", "addition", "--count", "-1", "--task_options", '{"n_train": 200, "n_validation": 100}'),)),
    Case("data show of an unknown dataset", (command(Refused("dataset", "additon", "addition"), "data", "show", "additon"),)),
    Case("data build in an unknown format", (command(Refused("format", "xml"), "data", "build", "addition", "--out", "out/x", "--format", "xml"),)),
    Case("data build over a folder", (command(Refused("out", "there|new"), "data", "build", "addition", "--out", "full"),), (lambda p: p.write("full/x", "x"),)),
    Case("data build to nowhere", (command(Refused("out"), "data", "build", "addition"),)),
    Case("data build of a table that is not there", (command(Refused("nowhere.csv"), "data", "build", "sciq", "--raw", "nowhere.csv", "--out", "out/x"),)),
    Case("data difficulty without models", (command(Refused("models"), "data", "difficulty", "sciq", "--out", "out/x"),)),
    Case("data difficulty by a model that is not there", (command(Refused("nowhere"), "data", "difficulty", "addition", "--models", "./nowhere", "--out", "out/x", "--task_options", '{"n_train": 100, "n_validation": 40}'),)),
    Case("monitor of a folder that is not there", (command(Refused("nowhere"), "monitor", "nowhere", limit=20),)),
]  # fmt: skip
