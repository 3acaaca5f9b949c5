"""The help of the stages, as the parser prints it, kept in files: it takes no imports, and says what options there are.

``python -m madkit.cli.store_help`` writes the files. They belong to one version of Lightning; with another one nothing
is known beforehand, and the parser says it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

STAGES = ("fit", "validate", "test", "predict")
#: Where the files are.
FOLDER = Path(__file__).with_name("known")
#: The file that names the version of Lightning that they belong to.
VERSION = "lightning-version"


@cache
def help_of(stage: str) -> str | None:
    """What ``madkit STAGE --help`` prints; None where that is not known beforehand."""
    if (FOLDER / VERSION).read_text(encoding="utf-8").strip() != version("lightning"):
        return None
    return (FOLDER / f"{stage}.txt").read_text(encoding="utf-8")


@cache
def known_options(stage: str) -> frozenset[str]:
    """The names of a stage's options, such as ``trainer.max_epochs``, without those of classes; empty if unknown."""
    lines = [line for line in (help_of(stage) or "").splitlines() if line.lstrip().startswith("-")]
    return frozenset(name for line in lines for name in re.findall(r"(?<!\S)--([\w.]+)", line))


@cache
def known_kinds(stage: str) -> Mapping[str, str]:
    """The type, ``int``, ``float`` or ``bool``, of each option that takes that and nothing else (but null)."""
    text = " ".join((help_of(stage) or "").split())
    kinds = re.findall(
        r" --([\w.]+) (?:[A-Z_]+|{true,false}) (?:(?! --).)*?\(type: (?:Optional\[)?(int|float|bool)\]?, default: ",
        text,
    )
    return dict(kinds)


@cache
def known_words(stage: str) -> Mapping[str, Sequence[str]]:
    """The words of each option of a stage that takes one of them, or a number, and nothing else (but null)."""
    text = " ".join((help_of(stage) or "").split())
    choices = r"\(type: (?:Union\[)?((?:Literal\[[^\]]*\](?:, )?)+)(?:null\])?, default: "
    found = re.findall(rf" --([\w.]+) [A-Z_]+ (?:(?! --).)*?{choices}", text)
    return {option: re.findall(r"'([^']*)'", words) for option, words in found}


@cache
def known_classes(stage: str, section: str) -> frozenset[str]:
    """The names of the classes that the model or the data of a stage may be; empty if unknown."""
    text = " ".join((help_of(stage) or "").split())
    listed = re.search(rf" --{section} CONFIG .*?known subclasses: ([^)]*)\)", text)
    return frozenset(path.rpartition(".")[2] for path in listed.group(1).split(", ")) if listed else frozenset()
