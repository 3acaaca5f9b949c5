"""The page of thresholds: its table and the sentence below it are those of `table_thresholds.csv`."""

import importlib.util
import itertools
from pathlib import Path

import pandas as pd
import pytest

PATH = Path(__file__).resolve().parents[2] / "docs" / "shift.py"
spec = importlib.util.spec_from_file_location("docs_shift", PATH)
shift = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shift)


@pytest.fixture
def table():
    """Two models, each detector and way: rates that differ for each; the aggregation that is not shown is all wrong."""
    names = ("feature", "score", "model", "method", "statistic")
    every = itertools.product(shift.DETECTORS, ("a", "b"), shift.METHODS, ("false_alarms", "tpr"))
    rows = pd.DataFrame([dict(zip(names, (*pair, *rest), strict=True)) for pair, *rest in every])
    rows["value"] = [
        0.02 + 0.0001 * index if name == "false_alarms" else 0.8 for index, name in enumerate(rows["statistic"])
    ]
    missed = (rows["score"] == "conditional_t") & (rows["model"] == "b") & (rows["method"] == "recalibrated")
    rows.loc[missed & (rows["statistic"] == "tpr"), "value"] = 0.1
    rows.loc[missed & (rows["statistic"] == "false_alarms"), "value"] = 0.2
    return pd.concat([rows.assign(aggregation="mean"), rows.assign(aggregation="max", value=0.999)], ignore_index=True)


def test_the_table_has_each_detector_of_each_model(table):
    head, rule, *rows, blank, _ = shift.lines(table)
    assert len(rows) == 2 * len(shift.DETECTORS) and blank == ""
    assert all(row.count("|") == head.count("|") == rule.count("|") for row in rows)
    (row,) = [row for row in rows if row.startswith("| paired conditional t | b |")]
    assert "**.200, .10**" in row and row.count(".80") == len(shift.METHODS) - 1
    assert ".999" not in "".join(rows)


def test_the_sentence_counts_pairs_and_names_the_worst(table):
    *_, text = shift.lines(table)
    words = " ".join(text.split())
    kept = table[(table["aggregation"] == "mean") & (table["method"] == "recalibrated")]
    alarms = kept[kept["statistic"] == "false_alarms"]["value"]
    assert (
        f"Of {len(alarms)} pairs of a detector and a model, re-calibration keeps false alarms at {alarms.mean():.1%} on"
        in words
    )
    assert (
        f"{(alarms <= 0.03).sum()} pairs are at 3% or below, and the worst is at 20.0% (paired conditional t b)"
        in words
    )
    assert f"for {len(alarms) - 1} of them, and at worst 0.70 less (paired conditional t b)." in words


def test_the_page_has_a_place_for_it():
    page = shift.PAGE.read_text()
    assert page.count(shift.BEGIN) == page.count(shift.END) == 1
    assert page.index(shift.BEGIN) < page.index("| paired conditional t |") < page.index(shift.END)
