"""The table of a store's prompts: what is missing is named at once, and what nobody knows stands as that."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from madkit.errors import DataError
from madkit.store.feature_store import FeatureStore
from madkit.store.prompt_rows import COLUMNS, check_prompt_rows, complete_prompt_rows
from madkit.store.shards import cut_shards

FEW = pd.DataFrame({"split": ["trusted", "test", "test"], "anomalous": [None, 0, 1]})


def test_a_split_and_a_label_are_enough():
    rows = complete_prompt_rows(FEW)
    check_prompt_rows(rows)
    assert rows["row"].tolist() == [0, 1, 2] and rows["statement"].nunique() == 3
    assert rows["anomalous"].tolist() == [False, False, True] and rows["character"].tolist()[1:] == ["Alice", "Bob"]
    assert not {"alice_label", "bob_label", "label"} & set(rows)


def test_trusted_prompts_alone_need_no_label():
    assert list(complete_prompt_rows(pd.DataFrame({"split": ["trusted"] * 2}))) == ["split", "row"]


def test_what_is_given_is_kept_and_what_follows_from_it_is_added():
    given = FEW.assign(statement="s", extra=5, alice_label=[np.nan, 1, 1], bob_label=[np.nan, 0, 0])
    rows = complete_prompt_rows(given)
    assert rows["statement"].eq("s").all() and rows["extra"].eq(5).all()
    assert rows["label"].tolist()[1:] == [True, False]
    assert complete_prompt_rows(FEW.assign(difficulty=["", "2", "3"]))["difficulty"].tolist()[1:] == [2, 3]


def test_labels_that_are_given_are_kept_of_all_prompts():
    labels = {"alice_label": [1, 1, 1], "bob_label": [1, 0, 0]}
    rows = complete_prompt_rows(FEW.assign(**labels, label=[1, 0, 1]))
    assert rows["alice_label"].tolist() == [True] * 3 and rows["bob_label"].tolist() == [True, False, False]
    assert rows["label"].tolist() == [True, False, True]


def test_all_that_is_missing_is_named_before_anything_is_written(tmp_path):
    rows = pd.DataFrame({"row": range(3), "split": "test"})
    with pytest.raises(DataError) as caught:
        FeatureStore.create(tmp_path / "store", {}, ["a"], cut_shards(rows["split"], 3), rows)
    for column in COLUMNS:
        assert (f"{column.name}, " in f"{caught.value}, ") == (column.needed == "test")
    assert "\n" not in str(caught.value) and not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": "exam"}, r"rows\['split'\] holds \['exam'\]: give one of trusted"),
        ({"anomalous": 2}, r"rows\['anomalous'\] holds \[2.*give booleans"),
        ({"anomalous": ["no", "maybe", "yes"]}, r"rows\['anomalous'\] holds"),
        ({"difficulty": "hard"}, r"rows\['difficulty'\] holds what is no number"),
        ({"statement": None}, r"rows\['statement'\] is missing for 2 of 2 test prompts"),
        ({"character": "Carol"}, r"rows\['character'\] holds \['Carol'\]: give Alice and Bob"),
    ],
)
def test_what_a_column_cannot_hold_is_refused(change, said):
    with pytest.raises(DataError, match=said) as caught:
        complete_prompt_rows(FEW.assign(**change))
    assert "\n" not in str(caught.value)


def test_rows_are_numbered_in_order():
    for change, said in (({"row": [1, 0, 2]}, "is not 0 to 2 in order"), ({"row": 0}, "is not 0 to 2 in order")):
        with pytest.raises(DataError, match=said):
            check_prompt_rows(complete_prompt_rows(FEW).assign(**change))
    with pytest.raises(DataError, match="rows lack row and split"):
        check_prompt_rows(pd.DataFrame({"prompt": ["a"]}))
    with pytest.raises(DataError, match="rows lack anomalous"):
        complete_prompt_rows(pd.DataFrame({"split": ["test"]}))


@pytest.mark.parametrize("name", ["statement", "name"])
def test_distractors_say_what_belongs_together(name):
    rows = pd.concat([FEW, pd.DataFrame({"split": ["distractor"] * 2})], ignore_index=True)
    assert complete_prompt_rows(rows)["statement"].nunique() == 5
    given = ["a", "b", "c", None, "e"]  # as of two tables, one of which does not have the column
    with pytest.raises(DataError, match=rf"rows\['{name}'\] is missing for 1 of 2 distractors: fill it"):
        complete_prompt_rows(rows.assign(**{name: given}))
    check_prompt_rows(complete_prompt_rows(rows.assign(**{name: [None, *given[:3], "e"]})))


def test_the_page_has_every_column():
    page = (Path(__file__).resolve().parents[2] / "docs" / "activations.md").read_text(encoding="utf-8")
    for c in COLUMNS:
        assert f"| `{c.name}` | {c.kind} | {c.needed} | {c.meaning} | {c.unknown} |" in page
