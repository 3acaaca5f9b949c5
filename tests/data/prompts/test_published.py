"""What is known of the published adapters' words, and how they are read from a copy of their repository."""

from pathlib import Path

import pytest
import yaml

from madkit.cli.command import main
from madkit.data.prompts import published
from madkit.data.prompts.template_files import load_templates
from madkit.data.tasks import DATASETS
from madkit.errors import ConfigError, DataError

# The forms that the published modules have: texts side by side, sums with a number of the class, other classes.
MODULE = """
from somewhere import QuirkyDataset, StatementTemplate as ST

class BinaryDataset(QuirkyDataset):
    template_arg_names = ["op1", "op2", "result"]

class SumsDataset(BinaryDataset):
    mod = 7
    statement_templates = [
        ST(context="", statement="{op1} + {op2} = {result} (mod " + str(mod) + ")."),
        ST(context="Said by {character}: "
           "sums.", statement="{result} = {op1} + {op2}"),
    ]
"""


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of a repository like the published one, whose wordings are known."""
    folder = tmp_path / "copy" / "elk_generalization" / "datasets"
    folder.mkdir(parents=True)
    (folder / "sums_dataset.py").write_text(MODULE)
    first = (
        "Name: {name}\n\n\n\n***STATEMENT:*** {op1} + {op2} = {result} (mod 7).\n\nIs the statement factually correct?"
    )
    second = (
        "Name: {name}\n\nSaid by {name}: sums.\n\n***STATEMENT:*** {result} = {op1} + {op2}\n\n"
        "Is the statement factually correct?"
    )
    digests = frozenset(published.Template(text, (" No", " Yes")).digest for text in (first, second))
    monkeypatch.setattr(published, "wordings", lambda: {"sums": digests})
    return tmp_path / "copy"


def test_the_list_of_each_dataset_is_one_of_its_published_wordings():
    assert set(published.wordings()) == set(DATASETS)
    assert {len(digests) for digests in published.wordings().values()} == {10, 11}
    fields = ["op1", "op2", "result", "city", "admin_name", "country", "title", "review", "premise", "hypothesis"]
    fields += ["question", "support", "answer", "author"]
    for name in DATASETS:
        (template,) = load_templates("published", name, fields)
        assert template.digest in published.wordings()[name]


def test_wordings_become_template_files(copy, tmp_path, capsys):
    assert main(["data", "templates", str(copy), "--out", str(tmp_path / "out")]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "out" / "sums.yaml"
    assert len(yaml.safe_load((tmp_path / "out" / "sums.yaml").read_text())) == 2
    templates = load_templates(str(tmp_path / "out" / "sums.yaml"), "sums", ["op1", "op2", "result"])
    assert {template.digest for template in templates} == published.wordings()["sums"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("{result} = {op1}", "{result}={op1}", "other wordings of 'sums'"),
        ('context=""', "context=open('/etc/passwd').read()", "is no text"),
        ("class SumsDataset", "class Sums Dataset", "SyntaxError"),
    ],
)
def test_other_files_are_refused_and_nothing_in_them_is_run(copy, before, after, message):
    file = copy / "elk_generalization" / "datasets" / "sums_dataset.py"
    file.write_text(file.read_text().replace(before, after))
    with pytest.raises(DataError, match=message):
        published.read_published(copy)


def test_another_folder_is_no_copy(tmp_path):
    with pytest.raises(ConfigError, match="name a copy of https://github.com/"):
        published.read_published(tmp_path)


@pytest.mark.parametrize(
    ("adapter", "dataset"),
    [
        ("EleutherAI/Meta-Llama-3.1-8B-nli-random-standardized-many-random-names", "nli"),
        ("EleutherAI/Mistral-7B-v0.1-squaring-random-standardized@main", "squaring"),
        ("/cache/models--EleutherAI--Mistral-7B-v0.1-sciq-random-standardized/snapshots/0a1b", "sciq"),
        ("adapters/Meta-Llama-3.1-8B-nli-random-standardized-many-random-names/", "nli"),
        ("EleutherAI/Mistral-7B-v0.1-nli-random", None),
        ("mine/x-poems-random-standardized", None),
        ("EleutherAI/Mistral-7B-v0.1-nli-random-standardized-weak-only", None),
    ],
)
def test_a_published_adapter_is_known_by_its_name(adapter, dataset):
    assert published.dataset_of(adapter) == dataset
