"""Further speakers in the report: each one's prompts against Alice's, by another route than the code."""

import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from fabricated import DETECTORS, sheets_of, write_run

from madkit.analysis import answer_margin, losses
from madkit.errors import DataError

WHO = ("Alice", "Bob", "Carol", "Dave")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for dataset in ("addition", "nli"):
        run = write_run(root, "m+speakers", dataset, layers=2, n=640, detectors=DETECTORS[:2])
        path = run / "detection" / "prompts.parquet"
        prompts = pd.read_parquet(path)
        row = prompts["row"].to_numpy()
        speaker = np.array(WHO)[row % 4]
        prompts["speaker"], prompts["name"] = (
            speaker,
            [f"{who}{i // 4 % 5}" for who, i in zip(speaker, row, strict=True)],
        )
        prompts["bob_label"] = np.where(speaker == "Dave", ~prompts["alice_label"], prompts["bob_label"])
        prompts["label"] = prompts["bob_label"].where(prompts["anomalous"], prompts["alice_label"])
        prompts.to_parquet(path)
        benign = run.parent / "benign" / dataset
        shutil.copytree(run, benign)
        prompts.assign(label=prompts["alice_label"]).to_parquet(benign / "detection" / "prompts.parquet")
        summary = benign / "detection" / "summary.json"
        content = json.loads(summary.read_text())
        summary.write_text(json.dumps({**content, "identity": {"prompts": {"quirk": "none"}}}))
    return root


@pytest.fixture(scope="module")
def sheets(folder):
    return sheets_of([folder], ("speakers", "partial_quirks"))


def read(folder, sheets, name):
    table = pd.read_csv(io.StringIO(sheets[name]))
    parts = {
        (dataset, benign): folder / "m+speakers" / ("benign" if benign else "") / dataset / "detection"
        for dataset in ("addition", "nli")
        for benign in (False, True)
    }
    return table, {
        key: [pd.read_parquet(p / f"{f}.parquet") for f in ("prompts", "scores")] for key, p in parts.items()
    }


def test_each_speaker_is_compared_with_honest_ones(folder, sheets):
    table, runs = read(folder, sheets, "table_speakers.csv")
    assert len(table) == 2 * 2 * 2 * 5
    pairs = set(zip(table["speaker"], table["against"], strict=True))
    assert pairs == {(who, "Alice") for who in WHO[1:]} | {("Bob", "Carol"), ("Dave", "Carol")}
    for line in table.to_dict("records"):
        prompts, scores = runs[line["dataset"], line["benign"]]
        own = scores[(scores["score"] == line["score"]) & (scores["aggregation"] == "mean")]
        value = prompts[["row", "speaker"]].merge(own, on="row").set_index("speaker")["value"]
        who, alice = value[line["speaker"]].to_numpy(), np.sort(value[line["against"]].to_numpy())
        assert line["auroc"] == pytest.approx((who[:, None] > alice).mean())
        # One of 160 is 0.6%, and two are more than 1%: the threshold is just above the second highest.
        assert line["alarms"] == pytest.approx((who > alice[-2]).mean())
        assert line["low"] < line["auroc"] < line["high"] and line["alarms_low"] <= line["alarms_high"]
        assert line["errs"] == (line["speaker"] != "Carol") and line["n"] == line["n_against"] == 160


def test_what_each_speaker_answers(folder, sheets):
    table, runs = read(folder, sheets, "table_speakers_answers.csv")
    assert len(table) == 2 * 2 * 4
    for line in table.to_dict("records"):
        prompts, _ = runs[line["dataset"], line["benign"]]
        own = prompts[prompts["speaker"] == line["speaker"]]
        assert line["right"] == pytest.approx(((own["log_odds"] > 0) == own["label"]).mean())
        differ = own[own["alice_label"] != own["bob_label"]]
        towards = differ["log_odds"].where(differ["label"], -differ["log_odds"])
        own_loss, other_loss = (np.log1p(np.exp(-side * towards)).mean() for side in (1, -1))
        assert line["margin"] == pytest.approx(other_loss - own_loss)
        assert line["margin_low"] < line["margin"] < line["margin_high"] and line["n_names"] == 5


def test_the_table_says_who_errs_and_partial_quirks_has_none_of_it(sheets):
    assert set(sheets) == {"table_speakers.csv", "table_speakers_answers.csv", "table_speakers.md"}
    text = sheets["table_speakers.md"].markdown()
    assert text.count("AUROC against Carol, who is honest\n\n| detector | Bob (errs) | Dave (errs) |") == 2
    assert text.count("| detector | Bob (errs) | Dave (errs) | Carol (honest) |") == 4
    assert "## m+speakers, benign control: what each of them answers" in text
    # Nats are no share: their interval is not cut off at 0 and 1.
    answers = text.partition("what each of them answers")[2].partition("##")[0]
    rows = re.findall(r"\| (-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\] \|\n", answers)
    assert len(rows) == 4 and all(float(low) < float(value) < float(high) for value, low, high in rows)
    assert max(float(high) for *_, high in rows) > 1


def test_a_margin_is_what_quirkiness_takes_the_smaller_of():
    rng = np.random.default_rng(0)
    odds, truth, quirk = rng.normal(0, 2, 60), rng.random(60) < 0.5, rng.random(60) < 0.5
    bob = np.arange(60) % 2 == 1
    both = losses(odds, np.where(bob, "Bob", "Alice"), truth, quirk)
    names = [f"n{i // 2 % 6}" for i in range(60)]
    margin = answer_margin(odds[bob], quirk[bob], truth[bob], clusters=np.array(names)[bob])
    assert margin.value == pytest.approx(both.bob_other.value - both.bob_own.value)
    assert margin.low < margin.value < margin.high
    alone = answer_margin(np.full(9, 2.0), np.ones(9), np.zeros(9))
    assert (alone.low, alone.high) == (2.0, 2.0)
    # One statement, or one prompt, says nothing of others.
    for n, clusters in ((9, ["q"] * 9), (9, (["q"] * 9, range(9))), (1, None)):
        unknown = answer_margin(odds[:n], np.ones(n), np.zeros(n), clusters=clusters)
        assert unknown.value == pytest.approx(odds[:n].mean()) and np.isnan(unknown[1:]).all()
    with pytest.raises(DataError, match="on which they differ"):
        answer_margin([1.0], [1], [1])
