"""`make gpu` at sizes that mean nothing: every section measures, what was measured is kept, and the table says it."""

import json
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from gpu import command, machine, record, runner  # noqa: E402
from gpu.processes import run_limited  # noqa: E402
from gpu.section import Row, Section, Settings  # noqa: E402
from gpu.sections import SECTIONS  # noqa: E402
from gpu.table import table  # noqa: E402
from gpu.worker import NotRun, work  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

#: What the sections find that start processes of their own; tests/slow lets them.
SMOLLM2 = {
    "seconds": {"fit": 40.2, "predict": 20.0, "test": 30.0}, "steps": 160, "metrics": {"val/loss": 0.011},
    "quirkiness": 5.5, "detectors": {"activations, mahalanobis, mean": {"auroc": 0.9, "tpr": 0.4}}, "folder": "runs",
}  # fmt: skip
FOUND = {"cuda": {"passed": 60, "skipped": []}, "smollm2": SMOLLM2, "smollm2-benign": SMOLLM2}


def here(section, process, parts, settings, out, log):
    """Do a process' parts in this one, without what takes long."""
    if section.name in FOUND:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({part: {"state": "done", "facts": FOUND[section.name]} for part in parts}))
        return 0
    work(section, process, [part for part in parts if "checkpointing" not in part], settings, out)
    return 3


@pytest.mark.filterwarnings("ignore")
def test_every_section_measures_and_is_in_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert command.main(["--reduced", "--runs", str(tmp_path)], here) == 1
    known = json.loads((tmp_path / "reduced.json").read_text())
    assert known["machine"]["card"] == "no card" and known["machine"]["torch"]
    for section in SECTIONS:
        states = {name: part["state"] for name, part in known["sections"][section.name].items()}
        left_out = {name for name in section.parts if "checkpointing" in name}
        assert states == {name: "failed" if name in left_out else "done" for name in section.parts}
    page = (tmp_path / "reduced.md").read_text()
    assert page.startswith("# Measured on no card\n\nSizes are reduced")
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    assert {line.split("`")[1] for line in lines} == {section.name for section in SECTIONS}
    assert all(line.count("|") == 6 and "nan" not in line for line in lines)
    for name, start in {
        "tuning": "a LoRA step, batch 2 | ",
        "extraction": "activations and answers, 2 prompts of 6 tokens | ",
        "sae": "an SAE's step, d = 16, 128 latents, loss: both | ",
        "volume": "volumes of 4 prompts, one direction | ",
        "scores": "mahalanobis, 64 + 64 rows, d = 16 | ",
        "smollm2": "`nli`, 5 side by side: fit 40 s, predict 20 s, test 30 s | 160 steps, loss 0.011, quirkiness 5.50",
        "cuda": "tests that need a card | 60 pass",
    }.items():
        assert any(line.startswith(f"| `{name}` | {start}") for line in lines), name
    assert "- `tuning`, madkit, checkpointing: failed: the process ended with status 3" in page
    assert "tuning, madkit: done" in capsys.readouterr().out


def make_section(name="a", seconds=60, together=False, **parts):
    processes = {process: {process: part} for process, part in parts.items()}
    rows = lambda facts: [Row(part, str(of["value"])) for part, of in facts.items()]  # noqa: E731
    return Section(name, processes, rows, seconds, together=together)


def measured(value):
    return lambda settings: {"value": value}


def out_of_memory(settings):
    class OutOfMemoryError(RuntimeError):
        """As torch's."""

    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nmore")


def not_there(settings):
    raise NotRun("weights are not installed")


def quits(settings):
    sys.exit("some words\nvectors differ")


def launch(section, process, parts, settings, out, log):
    work(section, process, parts, settings, out)
    return 0


@pytest.fixture
def run(tmp_path):
    """Run sections into one record, as calls of one command do."""

    def call(*sections, budget=100.0, how=launch, machine=None):
        held = record.Record(tmp_path / "card.json", machine or {"card": "x", "reduced": True})
        runner.run(held, sections, tmp_path, budget, True, how)
        return held

    return call


def needs_a_package(settings):
    import no_such_package  # noqa: F401


def test_what_fails_is_written_down_and_the_rest_is_done(run, capsys):
    section = make_section(
        good=measured(1),
        memory=out_of_memory,
        absent=not_there,
        package=needs_a_package,
        ends=quits,
        wrong=lambda settings: 1 / 0,
        last=measured(2),
    )
    held = run(section)
    assert {name: of["value"] for name, of in held.facts(section).items()} == {"good": 1, "last": 2}
    assert held.failures(section) == {
        "memory": "out of memory: OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB.",
        "absent": "not run: weights are not installed",
        "package": "not run: no_such_package is not installed",
        "ends": "failed: vectors differ",
        "wrong": "failed: ZeroDivisionError: division by zero",
    }
    page = table(held, [section])
    assert "| `a` | good | 1 |  |  |" in page and "- `a`, memory: out of memory" in page
    assert "Not tried yet" not in page
    assert held.failed(section) and not run(make_section("b", absent=not_there)).failed(
        make_section("b", absent=not_there)
    )


def test_what_is_done_is_not_done_again_until_the_program_changes(run, monkeypatch):
    calls = []
    section = make_section(part=lambda settings: calls.append(1) or {"value": len(calls)})
    run(section), run(section)
    assert len(calls) == 1
    assert run(section, machine={"card": "y", "reduced": True}).facts(section)["part"]["value"] == 2
    run(section)  # what is of another card does not count
    assert len(calls) == 3
    monkeypatch.setattr(record, "program", lambda section: "other text")
    held = run(section)
    assert held.facts(section)["part"]["value"] == 4 and "Of another state" not in table(held, [section])
    monkeypatch.undo()
    assert "Of another state of the program: `a`." in table(held, [section])


def test_a_failure_does_not_replace_a_result(run):
    held = run(make_section(part=measured(1)))
    held.add(make_section(part=measured(1)), {"part": {"state": "failed", "why": "later"}})
    assert held.facts(make_section(part=measured(1)))["part"]["value"] == 1


def test_time_is_shared_and_what_is_left_is_said(run, capsys):
    def late(section, process, parts, settings, out, log):
        assert settings.seconds < 60
        return

    section, other = make_section(part=measured(1)), make_section("b", part=measured(1))
    held = run(section, budget=50, how=late)
    assert held.failures(section)["part"].startswith("out of time: ended after 4")
    held = run(section, other, budget=10, how=late)
    assert held.failures(other) == {"part": "not run: no time left; give the command again"}


def test_processes_run_side_by_side_where_a_section_says_so(run):
    began = []

    def waits(settings):
        began.append(1)
        until = time.monotonic() + 10
        while len(began) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        return {"value": len(began)}

    section = make_section(together=True, one=waits, two=waits)
    assert {of["value"] for of in run(section).facts(section).values()} == {2}


def test_a_process_is_ended_with_what_it_started(tmp_path):
    line = ["sh", "-c", f"(sleep 30; touch {tmp_path}/later) & echo begun; wait"]
    start = time.monotonic()
    assert run_limited(line, tmp_path / "log", 0.3) is None
    assert time.monotonic() - start < 5 and (tmp_path / "log").read_text() == "begun\n"
    assert run_limited(["sh", "-c", "exit 4"], tmp_path / "log", 5) == 4


def test_without_a_card_it_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(machine, "card", lambda: None)
    assert command.main([]) == 2
    assert (
        capsys.readouterr().err == "no GPU that torch can use: DEVICE=cpu make gpu tries everything at reduced sizes\n"
    )


def test_results_are_named_after_the_card():
    assert machine.slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


def test_the_settings_of_a_process_travel(tmp_path, monkeypatch):
    seen = []
    section = make_section(one=lambda settings: seen.append(settings) or {"value": 1})
    monkeypatch.setattr(command, "SECTIONS", [section])
    monkeypatch.setattr(runner, "run_limited", lambda line, log, seconds: command.main(line[3:]))
    settings = Settings(True, tmp_path, 12.0)
    assert runner.in_own_process(section, "one", ["one"], settings, tmp_path / "o.json", tmp_path / "log") == 0
    assert seen == [settings] and json.loads((tmp_path / "o.json").read_text())["one"]["facts"] == {"value": 1}
