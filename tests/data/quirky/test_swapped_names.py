"""Names swapped between the characters: the same prompts, under the other's names."""

import pandas as pd
import pytest

from madkit.data.prompts.characters import NAMES
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.errors import ConfigError, DataError

OPTIONS = {"n_train": 1600, "n_validation": 800, "n_test": 0, "max": 99}
OTHER = {"Alice": "Bob", "Bob": "Alice"}


def make_data(dataset="addition", **options):
    return QuirkyData(dataset, **{"task_options": OPTIONS, "template": "standardized", **options})


def test_every_prompt_is_asked_under_the_name_in_its_place_of_the_others_list():
    swapped, plain = make_data(swap_names=True).make_table(), make_data().make_table()
    place = {name: (who, i) for who, names in NAMES.items() for i, name in enumerate(names)}
    for ours, theirs in zip(swapped.itertuples(), plain.itertuples(), strict=True):
        who, i = place[theirs.name]
        assert who == theirs.character and ours.name == NAMES[OTHER[who]][i]
        assert ours.prompt.replace(ours.name, theirs.name) == theirs.prompt
    same = [name for name in plain.columns if name not in ("name", "prompt")]
    pd.testing.assert_frame_equal(swapped[same], plain[same])


def test_training_prompts_are_swapped_as_well():
    data = make_data(swap_names=True)
    frame = data.erring.frame(data.records, "train", data.seed)
    assert all(name in NAMES[OTHER[who]] for name, who in zip(frame["name"], frame["character"], strict=True))


def test_identity_knows_of_it():
    def identity(**options):
        data = make_data(**options)
        data.table = data.make_table()
        return data.identity()

    assert identity(swap_names=True)["swap_names"] is True
    assert "swap_names" not in identity()


def test_what_cannot_be_swapped_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="with a trigger a name says nothing: drop swap_names or trigger"):
        make_data(trigger="date", swap_names=True)
    rows = pd.DataFrame({"x": [f"w{i}" for i in range(400)], "difficulty": range(400), "name": "Zoe"})
    rows = rows.assign(alice_label=rows.index % 2, bob_label=rows.index // 2 % 2, character="Alice")
    rows.assign(label=rows["alice_label"]).to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "mine.yaml").write_text('template: "{name}: {x}?"\nchoices: [" No", " Yes"]')
    options = {"source": str(tmp_path / "mine.csv"), "template": str(tmp_path / "mine.yaml"), "task_options": None}
    with pytest.raises(DataError, match="the records bring names of their own"):
        make_data("mine", swap_names=True, **options).make_table()
