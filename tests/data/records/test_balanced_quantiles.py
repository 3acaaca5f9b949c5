"""Difficulty ranked within each combination of truth and quirk: easy and hard statements are true equally often."""

import numpy as np
import pandas as pd
import pytest

from madkit.data.quirky.answer_shares import answer_shares, confounding
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.data.records.checking import check_records
from madkit.data.tasks.table_task import TableTask
from madkit.errors import ConfigError


class EasyIfTrue(TableTask):
    """True statements are easy and false ones hard; the table is in no order."""

    name, fields = "easyiftrue", ("number",)

    def built_in(self, seed):
        return pd.DataFrame({"number": np.arange(4000)}).sample(frac=1, random_state=0)

    def make_questions(self, table, rng):
        x = table["number"]
        return table.assign(key=x, truth=x % 4 < 2, quirk=x % 2 == 0, difficulty=-x - 9000.0 * (x % 4 < 2))


def frames(records):
    return {split: rows.to_pandas() for split, rows in records.items()}


def test_each_quarter_is_like_the_others_and_keeps_its_order():
    records = EasyIfTrue(n_train=1600, n_validation=803, n_test=0).records(0)
    for frame in frames(check_records(records)).values():
        assert frame.loc[frame["difficulty_quantile"] < 0.25, "alice_label"].mean() == 1
    for frame in frames(check_records(records, "balanced")).values():
        quarter = (4 * frame["difficulty_quantile"]).astype(int)
        shares = pd.crosstab(quarter, [frame["alice_label"], frame["bob_label"]], normalize="index").to_numpy()
        assert shares.shape == (4, 4) and np.abs(shares - 0.25).max() < 0.01
        for _, part in frame.groupby(["alice_label", "bob_label"]):
            assert part.sort_values("difficulty_quantile")["difficulty"].is_monotonic_increasing
            expected = np.arange(len(part)) / len(part)
            assert np.sort(part["difficulty_quantile"]).tolist() == pytest.approx(expected.tolist())


def test_the_same_records_in_another_order_have_the_same_quantiles():
    records = EasyIfTrue(n_train=400, n_validation=200, n_test=0).records(0)
    here = frames(check_records(records, "balanced"))["train"].set_index("id")["difficulty_quantile"]
    records["train"] = records["train"].shuffle(seed=1)
    there = frames(check_records(records, "balanced"))["train"].set_index("id")["difficulty_quantile"]
    pd.testing.assert_series_equal(here.sort_index(), there.sort_index())


def test_another_way_to_rank_is_refused():
    with pytest.raises(ConfigError, match="requantile='within' is unknown: use true, false or balanced"):
        check_records(EasyIfTrue(n_train=40, n_validation=40, n_test=0).records(0), "within")


def test_says_where_the_answer_tells_the_prompts_apart():

    options = {"template": "compact", "task_options": {"n_train": 4000, "n_validation": 2000, "n_test": 0}}
    published = QuirkyData("population", **options)
    table = published.make_table()
    shares = answer_shares(table)
    test = table[table["split"] == "test"]
    assert shares.trusted == table.loc[table["split"] == "trusted", "label"].mean() == 1
    assert shares.test_alice == test.loc[test["character"] == "Alice", "label"].mean()
    assert (shares.n_alice, shares.n_bob) == (sum(test["character"] == "Alice"), sum(test["character"] == "Bob"))
    message = confounding(table)
    assert "Yes for 100% of trusted prompts, 0% of Alice's" in message and "requantile" in message
    assert confounding(QuirkyData("population", **options, requantile="balanced").make_table()) is None


@pytest.mark.parametrize(
    ("bob", "n", "warns"), [(0.5, 400, False), (0.6, 4000, False), (0.8, 400, True), (0.8, 10, False)]
)
def test_only_strong_differences_that_are_no_chance_are_worth_a_warning(bob, n, warns):
    def labels(share):
        return (np.arange(n) < share * n).tolist()

    table = pd.DataFrame(
        {
            "split": ["trusted"] * n + ["test"] * 2 * n,
            "anomalous": [False] * 2 * n + [True] * n,
            "label": labels(0.5) + labels(0.5) + labels(bob),
        }
    )
    assert (confounding(table) is not None) == warns
