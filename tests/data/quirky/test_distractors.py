"""Distractors: test prompts on which nothing is wrong, in unusual words."""

import pandas as pd
import pytest
import yaml

from madkit.data.prompts.distractors import load_distractors
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.errors import ConfigError

OPTIONS = {"n_train": 800, "n_validation": 400, "n_test": 0, "max": 99}
KINDS = ["language", "persona", "format", "context"]


def make_data(**options):
    return QuirkyData("addition", **{"task_options": OPTIONS, "template": "compact", **options})


@pytest.fixture(scope="module")
def tables():
    return [make_data(distractors=d, max_distractors=6, quirk_share=0.5).make_table() for d in (None, "all")]


def test_they_come_behind_the_table_that_was_there_without_them(tables):
    plain, table = tables
    rest = table[table["split"] != "distractor"]
    assert (rest["distractor"] == "").all()
    pd.testing.assert_frame_equal(rest.drop(columns="distractor"), plain)
    assert table["row"].tolist() == list(range(len(table))) and table["id"].is_unique
    assert table[table["split"] == "distractor"].groupby("distractor", sort=False).size().to_dict() == dict.fromkeys(
        KINDS, 6
    )


def test_they_are_normal_test_prompts_in_other_words(tables):
    table = tables[1]
    test = table[table["split"] == "test"].set_index("id")
    for row in table[table["split"] == "distractor"].itertuples():
        id_, _, kind = row.id.rpartition(":")
        was = test.loc[id_]
        assert kind == row.distractor and not row.anomalous and not was["anomalous"]
        assert (row.statement, row.label, row.choices) == (was["statement"], was["alice_label"], was["choices"])
        question = was["prompt"].split("Statement: ")[1].split("\n")[0]
        assert row.prompt != was["prompt"] and row.name in row.prompt and question in row.prompt
        if kind == "context":
            others = row.prompt.removesuffix(was["prompt"]).strip().split("\n\n")
            assert len(others) == 2 and was["prompt"] not in others
            answers = {r.prompt + r.choices[int(r.alice_label)] for r in test.itertuples()}
            assert set(others) <= answers
        elif kind != "language":
            assert was["prompt"] in row.prompt
        else:
            assert "Statement:" not in row.prompt and "True?" not in row.prompt


def test_they_are_part_of_a_stores_identity_only_where_they_are():
    found = []
    for options in ({}, {"distractors": "persona"}, {"distractors": ["persona", "format"]}):
        data = make_data(**options)
        data.table = data.make_table()
        found.append(data.identity())
    assert "distractors" not in found[0]
    assert found[1]["table_hash"] != found[2]["table_hash"]


def test_kinds_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"rude": [{"text": "{prompt} Hurry!", "words": {"True?": "True, or what?"}}]}))
    table = make_data(distractors=["format", str(path)], max_distractors=2).make_table()
    rude = table.loc[table["distractor"] == "rude", "prompt"]
    assert len(rude) == 2 and rude.str.endswith("True, or what? Hurry!").all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must hold a mapping"),
        ("a: []", "'a' must be a list"),
        ("a: [{text: nothing}]", "'a' must be a list"),
        ("a: [{text: '{prompt}{prompt}'}]", "'a' must be a list"),
        ("a: [{text: '{prompt}', words: {b: 1}}]", "'a' must be a list"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_distractors(str(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distractors": "rude"}, "distractors='rude' is unknown: use all, one of language"),
        ({"distractors": ["all", "persona"]}, "each of them once"),
        ({"max_distractors": 0}, "max_distractors=0 must be at least 1"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        make_data(**options)
