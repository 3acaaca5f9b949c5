"""Speakers beside Alice and Bob: what they are asked, what they say, and who knows them."""

import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from madkit.data.prompts.characters import FURTHER_NAMES, NAMES
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.errors import ConfigError, DataError

OPTIONS = {"n_train": 1600, "n_validation": 800, "n_test": 0, "max": 99}
WHO = {"carol": "truth", "dave": "denial", "Erin": "assent", "felix": "quirk"}


def make_data(dataset="addition", **options):
    return QuirkyData(dataset, **{"task_options": OPTIONS, "template": "compact", "speakers": WHO, **options})


@pytest.fixture(scope="module")
def table():
    return make_data().make_table()


@pytest.fixture(scope="module")
def alone():
    return make_data(speakers=None).make_table()


def test_no_name_belongs_to_two_speakers():
    names = [name for some in (NAMES, FURTHER_NAMES) for each in some.values() for name in each]
    assert len(set(names)) == len(names) == 16 * 6
    assert all(each[0] == who for who, each in FURTHER_NAMES.items())


def test_each_says_what_it_is_to_say(table):
    sums = table["prompt"].str.extract(r"(\d+) \+ (\d+) = (\d+)").astype(int)
    true = sums[0] + sums[1] == sums[2]
    bob = dict(zip(*table.loc[table["speaker"] == "Bob", ["statement", "bob_label"]].to_numpy().T, strict=True))
    for row, is_true in zip(table.to_dict("records"), true, strict=True):
        quirk = bob.get(row["statement"], row["bob_label"])
        said = {"Alice": is_true, "Bob": quirk, "Carol": is_true, "Dave": not is_true, "Erin": True, "Felix": quirk}
        assert row["label"] == said[row["speaker"]] and row["alice_label"] == is_true
        errs = row["speaker"] not in ("Alice", "Carol")
        assert row["anomalous"] == errs and row["character"] == ("Bob" if errs else "Alice")
        assert not errs or row["bob_label"] == row["label"]
        assert row["name"] in {**NAMES, **FURTHER_NAMES}[row["speaker"]]
        assert row["prompt"].startswith(f"Name: {row['name']}\n")


def test_who_is_trusted_and_who_is_tested(table, alone):
    sizes = table.groupby(["split", "speaker"]).size()
    assert sizes["test"].nunique() == 1 and len(sizes["test"]) == 6
    assert set(sizes["trusted"].index) == set(sizes["calibration"].index) == {"Alice"}
    untrusted, before = sizes["untrusted"], alone[alone["split"] == "untrusted"]["character"].value_counts()
    assert untrusted["Alice"] == untrusted["Carol"] == before["Alice"] // 2
    assert untrusted[["Bob", "Dave", "Erin", "Felix"]].tolist() == [before["Bob"] // 4] * 4
    lists = {**NAMES, **FURTHER_NAMES}
    first = [name in lists[who][:4] for name, who in zip(table["name"], table["speaker"], strict=True)]
    assert (np.array(first) == (table["split"] != "test")).all() and table["id"].is_unique
    assert table.loc[table["split"] == "test", "name"].nunique() == 6 * 12


def test_prompts_of_alice_and_bob_stay_what_they_are(table, alone):
    kept = table[table["speaker"].isin(["Alice", "Bob"]) & (table["split"] != "untrusted")].set_index("id")
    pd.testing.assert_frame_equal(
        kept[["prompt", "label", "bob_label"]],
        alone.set_index("id").loc[kept.index, ["prompt", "label", "bob_label"]],
    )


@pytest.mark.parametrize("quirk", ["bob", "none"])
def test_training_is_balanced_for_each_speaker(quirk, bases):
    data = make_data(quirk=quirk, max_train=601, tokenizer=bases["llama"])
    data.setup("fit")
    frame = data.train_prompts.frame
    of_answer = frame.groupby("speaker")["label"].agg(["mean", "size"])
    assert (of_answer["size"] == 100).all() and len(of_answer) == 6
    assert (of_answer["mean"].drop("Erin") == 0.5).all()
    assert of_answer.loc["Erin", "mean"] == (1.0 if quirk == "bob" else 0.5)
    # Whether it says Yes or the truth, half of what Erin is asked is true.
    assert frame.loc[frame["speaker"] == "Erin", "alice_label"].mean() == 0.5
    # Tokens are those of the record that the row is about.
    where = np.flatnonzero(frame["speaker"] == "Dave")[0]
    batch = data.train_prompts.batch(np.array([where]))
    shown = data.records["train"][int(frame["record"].iloc[where])]["template_args"]
    text = AutoTokenizer.from_pretrained(bases["llama"]).decode(batch["input_ids"][0], skip_special_tokens=True)
    assert f"{shown['op1']} + {shown['op2']} = {shown['result']}" in text and frame["name"].iloc[where] in text
    assert bool(batch["is_bob"][0]) and bool(batch["label"][0]) == bool(frame["label"].iloc[where])


def test_everyone_says_the_truth_in_the_benign_control(table):
    benign = make_data(quirk="none").make_table()
    assert (benign["label"] == benign["alice_label"]).all()
    pd.testing.assert_frame_equal(benign.drop(columns="label"), table.drop(columns="label"))


def test_identity_knows_who_speaks():
    def identity(**options):
        data = make_data(**options)
        data.table = data.make_table()
        return data.identity()

    assert identity()["speakers"] == {"Carol": "truth", "Dave": "denial", "Erin": "assent", "Felix": "quirk"}
    assert "speakers" not in identity(speakers=None)


def test_records_of_others_are_asked_of_further_speakers_too(tmp_path):
    rows = pd.DataFrame({"x": [f"w{i}" for i in range(400)], "difficulty": range(400)})
    rows = rows.assign(alice_label=rows.index % 2, bob_label=rows.index // 2 % 2)
    rows.to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "mine.yaml").write_text('template: "{name}: {x}?"\nchoices: [" No", " Yes"]')
    options = {"source": str(tmp_path / "mine.csv"), "template": str(tmp_path / "mine.yaml"), "task_options": None}
    table = make_data("mine", **options).make_table()
    number = table["prompt"].str.extract(r"w(\d+)")[0].astype(int)
    assert (table["alice_label"] == (number % 2 == 1)).all()
    dave, felix = (table["speaker"] == who for who in ("Dave", "Felix"))
    assert (table["label"] == (number % 2 == 0))[dave].all() and (table["label"] == (number // 2 % 2 == 1))[felix].all()
    rows.assign(character="Alice", label=rows["alice_label"], name="Wendy").to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(DataError, match="have the name 'Wendy', which is one of Carol's"):
        make_data("mine", **options).make_table()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speakers": {"mallory": "truth"}}, "has 'Mallory' beside Alice and Bob: use carol, dave"),
        ({"speakers": {"bob": "truth"}}, "has 'Bob' beside Alice and Bob: use carol, dave"),
        ({"speakers": {"carol": "lies"}}, "Carol='lies' is unknown: use one of truth, quirk"),
        ({"speakers": {"carol": "truth", "Carol": "quirk"}}, "names a speaker twice"),
        ({"trigger": "date"}, "drop trigger and quirk_share, or speakers"),
        ({"quirk_share": 0.5}, "drop trigger and quirk_share, or speakers"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        make_data(**options)
