"""Result cards: they say what the results say, know when they no longer do, and stand side by side."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from fabricated import write_run

from madkit.cli.command import main
from madkit.figures.cards import Card, card_of, missing, outdated


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, its benign control, and a run of another dataset."""
    root = tmp_path_factory.mktemp("made") / "runs"
    for place, dataset in ((root, "addition"), (root, "nli"), (root / "m" / "benign", "addition")):
        run = write_run(place if place == root else place.parent, "m" if place == root else "benign", dataset)
        summary = json.loads((run / "detection" / "summary.json").read_text())
        prompts = {"dataset": dataset, "sizes": {"test": 120}, "shard_size": 512, "source": "/home/ann/questions.jsonl"}
        summary["identity"] = {"base": "b" * 16, "tokenizer": "c" * 16, "prompts": prompts}
        (run / "detection" / "summary.json").write_text(json.dumps(summary))
        if place != root:  # whose folder says that it is a control of m
            results = pd.read_parquet(run / "detection" / "results.parquet").assign(model="m")
            results.to_parquet(run / "detection" / "results.parquet")
    return root


@pytest.fixture
def runs(made, tmp_path):
    return shutil.copytree(made, tmp_path / "runs")


def test_a_card_says_what_the_results_say(runs):
    run = runs / "m" / "addition"
    card = card_of(run, by="Ann")
    results = pd.read_parquet(run / "detection" / "results.parquet")
    of_all = results[(results["subset"] == "all") & (results["aggregation"] == "mean") & results["adapter"]]
    assert {row["score"] for row in card.detectors} == {"mahalanobis", "lof"}
    for row in card.detectors:
        (expected,) = of_all[of_all["score"] == row["score"]].to_dict("records")
        for name, columns in {"auroc": ("auroc", "low", "high"), "tpr": ("tpr", "tpr_low", "tpr_high")}.items():
            found = [row[name][key] for key in ("value", "low", "high")]
            np.testing.assert_allclose(found, [expected[column] for column in columns], atol=1e-6)
        assert row["n_statements"] == expected["n_statements"] and row["needs"] == expected["needs"]
        assert row["control"] is not None and row["benign"] is not None
    assert "ann" not in card.json() and card.prompts["source"] == "questions.jsonl"  # no path of this machine
    assert "by Ann" in card.markdown() and "TPR at 1% FPR" in card.markdown()


def test_an_interval_that_is_not_known_is_none(runs):
    path = runs / "m" / "addition" / "detection" / "summary.json"
    for quirkiness, shown, lacks in (
        ({"value": 2.0, "low": 1.0, "high": 3.0}, "2.000 [1.000, 3.000]", False),
        ({"value": 2.0, "low": float("nan"), "high": float("nan")}, "2.000", True),  # of prompts of one statement
    ):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"quirkiness": quirkiness}))
        card = card_of(runs / "m" / "addition")
        assert f"{shown}. Each number" in card.markdown() and "NaN" not in card.json()
        assert ("how quirky the model is, with its interval" in missing(card)) == lacks


def test_a_card_is_read_as_it_was_written(runs, tmp_path):
    card = card_of(runs / "m" / "nli")
    path = tmp_path / "card.json"
    path.write_text(card.json())
    assert Card.read(path).json() == card.json()


def test_recipes_that_ask_the_same_have_one_digest_wherever_they_ran(runs):
    first, second = runs / "m" / "addition", runs / "m" / "nli"
    asked = {"model": {"init_args": {"base": "/a", "lr": 1.0}}, "trainer": {"devices": 1}}
    (first / "fit.yaml").write_text(yaml.safe_dump(asked))
    asked["model"]["init_args"]["base"], asked["trainer"]["devices"] = "/b", 8
    (second / "fit.yaml").write_text(yaml.safe_dump(asked))
    assert card_of(first).digests["fit recipe"] == card_of(second).digests["fit recipe"]
    asked["model"]["init_args"]["lr"] = 2.0
    (second / "fit.yaml").write_text(yaml.safe_dump(asked))
    assert card_of(first).digests["fit recipe"] != card_of(second).digests["fit recipe"]


def test_what_is_missing_or_no_longer_so_is_said(runs, capsys):
    assert main(["card", str(runs / "m" / "addition"), "--by", "Ann"]) == 0
    card = Card.read(runs / "m" / "addition" / "card.json")
    assert not any("who made it" in line or "benign" in line for line in missing(card))
    assert "who made it: --by" in missing(card_of(runs / "m" / "nli"))
    assert any("a benign control" in line for line in missing(card_of(runs / "m" / "nli")))
    assert outdated(card, card_of(runs / "m" / "addition")) == []
    file = runs / "m" / "addition" / "detection" / "results.parquet"
    pd.read_parquet(file).assign(auroc=0.5).to_parquet(file)
    capsys.readouterr()
    assert main(["card", "--check", str(runs / "m" / "addition")]) == 1
    assert "what the run is now (results)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 0}, "no card of format 1"),
        ({"detectors": [{"feature": "a", "score": "b", "setting": "online", "auroc": "high"}]}, "damaged"),
        ({"surprise": 1}, "damaged"),
        ({"by": None}, "damaged"),
    ],
)
def test_a_card_that_is_none_is_refused_in_one_line(runs, tmp_path, capsys, change, words):
    path = tmp_path / "cards" / "card.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**json.loads(card_of(runs / "m" / "nli").json()), **change}))
    assert main(["card", str(path), "--check"]) == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]


def test_cards_of_several_people_are_compared_without_their_runs(runs, tmp_path, capsys):
    cards = tmp_path / "cards"
    for who in ("Ann", "Bea <b>"):
        assert main(["card", str(runs / "m" / "addition"), "--by", who, "--out", str(cards / who[:3])]) == 0
    path = cards / "Bea" / "m" / "addition" / "card.json"
    content = json.loads(path.read_text())
    for row in content["detectors"]:
        row["auroc"] = {"value": 0.01, "low": 0.0, "high": 0.02}
    path.write_text(json.dumps(content))
    shutil.rmtree(runs)
    out = tmp_path / "figures"
    assert main(["figures", str(cards), "--out", str(out)]) == 0
    text = (out / "table_cards.md").read_text()
    assert "| AUROC | Ann: m | Bea &lt;b>: m |" in text
    assert "have the same base and prompts, and intervals apart for activations" in text
    table = pd.read_csv(out / "table_cards.csv")
    assert set(table["by"]) == {"Ann", "Bea <b>"} and table.groupby("by").size().nunique() == 1
    assert "Result cards" in (out / "report.html").read_text()
