"""Every command that the pages show is understood: its options exist, and its recipes are there and fit together."""

import functools
import importlib
import re
import shlex
from pathlib import Path

import pytest

from madkit.cli import stages
from madkit.cli.chain import hand_on, split
from madkit.cli.command import STAGES, main
from madkit.cli.commands import COMMANDS
from madkit.cli.function_command import run_function

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "recipes/README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
#: What stands for a value in a loop of the shell.
VALUES = {"$dataset": "addition"}


def commands():
    """The commands in blocks and in running text; not those of one word, or with dots, which leave something out."""
    found = {}
    for page in PAGES:
        outside, fenced = [], False
        for line in (ROOT / page).read_text().replace("\\\n", " ").splitlines():
            if line.startswith("```"):
                fenced = not fenced
            elif not fenced:
                outside.append(line)
            elif line.strip().startswith("madkit "):
                found.setdefault(line.partition(" #")[0].strip(), page)
        for span in re.findall(r"`(madkit [^`]+)`", "\n".join(outside)):
            if " --" in span and "help" not in span:
                found.setdefault(span, page)
    return {stage: page for line, page in found.items() if "..." not in line for stage in stages_of(line)}


def stages_of(line):
    """The command, or those of which a chain consists."""
    words = line.split()
    return (
        [shlex.join(["madkit", *stage]) for stage in hand_on(split(words[2:]))]
        if words[1] == "run"
        else [" ".join(words)]
    )


def test_the_pages_show_commands():
    lines = list(commands())
    assert len(lines) > 20 and {line.split()[1] for line in lines} >= {*STAGES} - {"validate"} | {"data", "figures"}


@pytest.mark.parametrize("line", [line for line in commands() if line.split()[1] not in STAGES])
def test_other_commands(line, monkeypatch):
    words = [VALUES.get(word, word) for word in shlex.split(line)[1:]]
    name = max((name for name in COMMANDS if words[: len(name.split())] == name.split()), key=len)
    path, summary = COMMANDS[name]
    module, _, attribute = path.rpartition(".")
    function = getattr(importlib.import_module(module), attribute)
    called = []
    recorded = functools.wraps(function)(lambda **options: called.append(options) or 0)
    monkeypatch.setattr(f"{module}.{attribute}", recorded)
    assert run_function(name, path, summary, words[len(name.split()) :]) == 0
    assert called
    if name == "data difficulty":
        assert called[0]["source"] and called[0]["models"] and called[0]["out"]


def different_stages():
    """Those of which the parser has something to say: not again where another dataset or run folder is named."""
    found = {}
    for line in commands():
        words = [VALUES.get(word, word) for word in shlex.split(line)[1:]]
        plain = {"--data.dataset"} | ({"--run"} if words[0] != "predict" else set())  # where the LM is named
        found.setdefault(tuple(word for i, word in enumerate(words) if words[i - 1] not in plain), line)
    return [line for line in found.values() if line.split()[1] in STAGES]


@pytest.mark.parametrize("line", different_stages())
def test_stages(line, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    made = []
    monkeypatch.setattr(stages.Stages, "instantiate_classes", lambda self: made.append(self.config))
    monkeypatch.setattr(stages.Stages, "_run_subcommand", lambda self, subcommand: None)
    words = [VALUES.get(word, word) for word in shlex.split(line)[1:]]
    if words[0] == "predict" and not any("recipes/published/" in word for word in words):
        # What is in the run folder otherwise, which only the stage before would make.
        words += ["--lm", f"recipes/{Path(words[words.index('--run') + 1]).parts[1]}.yaml"]
    assert main(words) == 0, capsys.readouterr().err
    assert made
