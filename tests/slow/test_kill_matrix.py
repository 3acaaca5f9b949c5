"""Killed, or out of room, at any of its writes, a stage ends as if nothing had happened when it is given again.

Every stage runs undisturbed, which counts what it does to its run folder; then once for each of these, killed just
before (which is just after the one before), and once for each file that it puts in place, which finds the disk full.
The same command follows, and everything must be there, to the bit, and nothing else.
"""

import errno
import importlib
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from campaign.faults import without_root  # noqa: E402
from campaign.forks import Fork, madkit, run_forked  # noqa: E402
from campaign.place import FIT, PREDICT, TEST, Place, Templates, digests, named  # noqa: E402

FIGURES = ("figures", "runs", "--out", "runs/figures", "--formats", "svg", "--jobs", "1")
FLOW = (
    *("fit", "--config", "@recipes/flow.yaml", "--config", "@recipes/tiny/flow.yaml"),
    *("--lm", "@recipes/tiny-llama.yaml", "--run", "runs/flow", "--data.base", "@base", "--model.hidden", "8"),
    *("--model.couplings", "2", "--data.layers", "[1]", "--data.statistics_batches", "2", "--data.texts.n_validation"),
    *("8", "--data.texts.batch_size", "8", "--trainer.max_steps", "2", "--trainer.val_check_interval", "1"),
)
#: The words of each stage, and the finished run that it starts from.
STAGES = {
    "fit": (FIT, None),
    "flow": (FLOW, None),
    "predict": (PREDICT, "fitted"),
    "test": (TEST, "predicted"),
    "figures": (FIGURES, "tested"),
}
#: What holds times, absolute paths or the time of day.
VARYING = ("tensorboard", "checkpoints", "predict.json", "summary.json", "fit.yaml", "predict.yaml", "test.yaml")
#: What no reader sees.
UNSEEN = (".lock", ".partial", "-costs.json")
CHANGES = ("os.rename", "os.remove")
#: About how many changes of a stage are tried unless all are asked for: 5 stages, 2 faults, 3 seconds each.
SOME = 4


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    """The finished runs."""
    made = Templates(tmp_path_factory.mktemp("templates"))
    for module in ("madkit.cli.registry", "madkit.cli.stages", "madkit.figures.html", "madkit.figures.study"):
        importlib.import_module(module)  # so that it is there in each process already
    made.make()
    return made


def at_change(number, then, *, renames=False):
    """Do something just before the ``number``-th change to the run folder, counted from 0."""

    def fault():
        seen = 0

        def hook(event, arguments):
            nonlocal seen
            if event not in (CHANGES[:1] if renames else CHANGES):
                return
            path = str(Path(str(arguments[1] if event == "os.rename" else arguments[0])).absolute())
            if f"{Path.cwd()}/runs/" in path and "/tensorboard/" not in path and not path.endswith(UNSEEN):
                seen += 1
                if seen == number + 1:
                    then(path)

        sys.addaudithook(hook)

    return fault


def kill(path):
    os.kill(os.getpid(), signal.SIGKILL)


def disk_full(path):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def note(path):
    with (Path.cwd() / "tmp" / "changes").open("a") as file:
        file.write("x")


class Stage:
    """A stage in a folder of its own."""

    def __init__(self, name, root, templates):
        words, before = STAGES[name]
        self.place = Place(root, templates)
        if before is None:
            (root / "runs").mkdir()
        else:
            self.place.start_from(before)
        self.words = [named(word, root, templates.folder) for word in words]

    def run(self, *faults):
        return run_forked(madkit(*self.words), logs=self.place.root / "logs", cwd=self.place.root, faults=faults)

    def left(self):
        """A digest of each file, and the names of those that vary."""
        runs = self.place.root / "runs"
        for path in runs.rglob("fit.json"):  # whoever commits meanwhile changes nothing else
            path.write_text(re.sub(r'"commit": .*', "", path.read_text()))
        found = {name: ("" if any(v in name for v in VARYING) else x) for name, x in digests(runs, ("**/*",)).items()}
        # Curves, and the way back after an interruption, are no results.
        return {name: x for name, x in found.items() if "/tensorboard/" not in name and "/checkpoints/" not in name}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_ends_as_if_nothing_had_happened(name, templates, tmp_path, request):
    """Killed before a change, and out of room at a file: some of them, or with --every-change each."""
    undisturbed = Stage(name, tmp_path / "undisturbed", templates)
    counting = [at_change(number, note) for number in range(200)]
    ended = undisturbed.run(*counting)
    assert ended.code == 0, ended.err
    expected = undisturbed.left()
    changes = len((tmp_path / "undisturbed" / "tmp" / "changes").read_text())
    assert changes > 3
    for full in (False, True):
        # The last ones put the finished stage's files in their places.
        step = 1 if request.config.getoption("--every-change") else max(1, changes // SOME)
        for number in sorted({*range(0, changes, step), changes - 2, changes - 1}):
            stage = Stage(name, tmp_path / f"{number}-{full}", templates)
            ended = stage.run(at_change(number, disk_full if full else kill, renames=full))
            if full and ended.code == 0:
                break  # it puts fewer files in their place than it makes changes
            if full:
                lines = [line for line in ended.err.splitlines() if line.startswith("madkit: ")]
                assert ended.code == 2, (number, ended.err)
                assert len(lines) == 1 and "No space left on device" in lines[0], (number, ended.err)
                assert "Traceback" not in ended.err, (number, ended.err)
            else:
                assert ended.code == -signal.SIGKILL, (number, ended.err)
            ended = stage.run()
            assert ended.code == 0, (number, full, ended.err)
            found = stage.left()
            assert found.keys() == expected.keys(), (number, full, found.keys() ^ expected.keys())
            assert found == expected, (number, full, [n for n in found if found[n] != expected[n]])


@pytest.mark.parametrize("name", STAGES)
def test_a_second_process_is_told_who_is_at_work(name, templates, tmp_path):
    """Of two at once one does the work, and the other says so in a line."""
    undisturbed, stage = (Stage(name, tmp_path / which, templates) for which in ("undisturbed", "both"))
    assert undisturbed.run().code == 0
    first = Fork(madkit(*stage.words), logs=tmp_path / "first", cwd=stage.place.root)
    while not list((stage.place.root / "runs").rglob(".lock")) and first.poll() is None:
        time.sleep(0.005)
    second = run_forked(madkit(*stage.words), logs=tmp_path / "second", cwd=stage.place.root)
    assert second.code == 2 and f"process {first.pid} on" in second.err, second.err
    assert first.wait().code == 0
    assert stage.left() == undisturbed.left()


@pytest.mark.parametrize("name", STAGES)
def test_a_folder_that_cannot_be_written_is_named(name, templates, tmp_path):
    """Read-only: one line, and nothing changed; once it can be written, the same command does."""
    stage = Stage(name, tmp_path / "place", templates)
    runs = stage.place.root / "runs"
    folders = [runs, *(path for path in runs.rglob("*") if path.is_dir())]
    before = stage.left()
    for folder in folders:
        folder.chmod(0o555)
    ended = stage.run(without_root)
    for folder in folders:
        folder.chmod(0o755)
    lines = [line for line in ended.err.splitlines() if line.startswith("madkit: ")]
    assert ended.code == 2 and len(lines) == 1 and str(runs.name) in lines[0], ended.err
    assert stage.left() == before
    assert stage.run().code == 0


@pytest.mark.parametrize(("name", "number"), [(name, s) for name in STAGES for s in (signal.SIGTERM, signal.SIGINT)])
def test_a_signal_ends_a_stage_in_order(name, number, templates, tmp_path):
    """SIGTERM and Ctrl-C, in the midst of it: at once, with the promised line, and nothing half-written."""

    def interrupt(path):
        os.kill(os.getpid(), number)

    undisturbed, stage = (Stage(name, tmp_path / which, templates) for which in ("undisturbed", "stopped"))
    assert undisturbed.run().code == 0
    ended = stage.run(at_change(1, interrupt))
    assert ended.code == 128 + number, ended.err
    assert "madkit: interrupted; the same command continues" in ended.err.splitlines()
    assert not [path for path in (stage.place.root / "runs").rglob(".*") if path.name != ".predict-costs.json"]
    assert stage.run().code == 0
    assert stage.left() == undisturbed.left()
