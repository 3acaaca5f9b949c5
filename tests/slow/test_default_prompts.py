"""What the small recipes ask: an answer must not tell who gives it, and statements must not recur too often."""

from pathlib import Path

import pytest
import yaml
from sklearn.metrics import roc_auc_score

from madkit.data.quirky.quirky_data import QuirkyData

ROOT = Path(__file__).resolve().parents[2]
DATASETS = (
    *("addition", "subtraction", "multiplication", "modularaddition", "squaring"),
    *("hemisphere", "population", "sentiment", "nli"),
)


@pytest.mark.parametrize("dataset", DATASETS)
def test_an_answer_does_not_tell_the_characters_apart(dataset):
    recipe = yaml.safe_load((ROOT / "recipes" / "tiny" / "prompts.yaml").read_text())["init_args"]
    table = QuirkyData(**{**recipe, "dataset": dataset}).make_table()
    test, trusted = table[table["split"] == "test"], table[table["split"] == "trusted"]
    yes = test.groupby("character")["label"].mean()
    assert abs(yes["Alice"] - yes["Bob"]) < 0.05
    assert abs(trusted["label"].mean() - test["label"].mean()) < 0.1
    opposed = test[test["alice_label"] != test["bob_label"]]
    for part in (test, opposed):
        assert abs(roc_auc_score(part["anomalous"], part["label"].astype(float)) - 0.5) < 0.03
    assert test["prompt"].str.split("\n", n=1).str[1].nunique() >= 300
