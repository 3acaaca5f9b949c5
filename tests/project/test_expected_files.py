"""Files that others' tools read: they say what is so, and name commands, files and versions that there are."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from pins import PINNED

import madkit

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(workflow):
    """What the steps of a workflow run."""
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    return [step["run"] for step in steps if "run" in step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_name_targets_and_scripts_that_there_are(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}  # a job asks for more by itself
    for command in commands(workflow):
        for words in re.findall(r"\bmake ((?:[a-z-]+ ?)+)", command):
            assert set(words.split()) <= TARGETS
        assert not command.startswith(".") or (ROOT / command).is_file()


def test_only_a_tag_publishes_and_no_token_is_kept():
    text = (ROOT / ".github/workflows/publish.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` as true
    assert workflow["jobs"]["publish"]["permissions"] == {"id-token": "write"} and "secrets." not in text


def test_python_versions_are_those_that_the_package_names():
    versions = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]["tests"]["strategy"]["matrix"]
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert versions["python"] == named


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == madkit.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what the schema requires


@pytest.mark.parametrize("name", ["AGENTS.md", "docs/llms.txt", "SECURITY.md"])
def test_what_assistants_and_finders_read_names_what_there_is(name):
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / name).parent.joinpath(target).is_file(), target
    for command in re.findall(r"`madkit ([a-z]+)", text):
        from madkit.cli.command import STAGES
        from madkit.cli.commands import COMMANDS

        assert command in {*STAGES, "run", *(known.split()[0] for known in COMMANDS)}, command
    for path in re.findall(r"\b((?:docs|examples)/[\w./]+\w)", text):
        assert (ROOT / path).exists(), path


def test_containers_copy_files_that_there_are():
    for folder in (ROOT / ".devcontainer", ROOT / ".devcontainer" / "cuda"):
        assert "make env" in json.loads((folder / "devcontainer.json").read_text())["postCreateCommand"]
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1] for line in lines if line.startswith("COPY")]
    assert copied and all((ROOT / path).exists() for path in copied)
    extras = set(re.findall(r"/madkit\[([\w,]+)\]", "\n".join(lines))[0].split(","))
    assert all(re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE) for extra in extras)


def test_the_lock_has_the_versions_that_are_pinned_and_the_dependencies_that_are_named():
    """After a change `make lock` makes it so."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    locked = {package["name"]: package.get("version") for package in packages}
    both = PINNED.keys() & locked.keys()
    assert len(both) > 100 and {name: locked[name] for name in both} == {name: PINNED[name] for name in both}
    (own,) = [package for package in packages if package["name"] == "madkit-lm"]
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*named["dependencies"], *(word for extra in named["optional-dependencies"].values() for word in extra)]
    known = {_requirement(entry["name"] + entry.get("specifier", "")) for entry in own["metadata"]["requires-dist"]}
    assert {_requirement(word) for word in wanted} == known
    assert all("pypi.org" in str(p["source"]) for p in packages if p is not own)  # of everybody's index


def _requirement(word):
    from packaging.requirements import Requirement

    requirement = Requirement(word)
    return re.sub("[-_.]+", "-", requirement.name).lower(), frozenset(map(str, requirement.specifier))
