"""`madkit watch`: from files to alarms."""

import json

import numpy as np
import pandas as pd
import pytest

from madkit import Monitor
from madkit.cli.command import main

ALL = [f"Statement: {i} + {j} = {i + j}" for i in range(20) for j in range(19)]
TRUSTED, FRESH = (list(part) for part in np.split(np.random.default_rng(0).permutation(ALL), [300]))
ODD = ["= = = = + + + +", "Yes No Yes No Yes"]


@pytest.fixture(scope="module")
def folder(bases, tmp_path_factory):
    """A folder with a monitor and files of prompts."""
    folder = tmp_path_factory.mktemp("watch")
    pd.DataFrame({"prompt": TRUSTED}).to_json(folder / "trusted.jsonl", orient="records", lines=True)
    pd.DataFrame({"text": [*TRUSTED[:4], *ODD]}).to_csv(folder / "new.csv", index=False)
    (folder / "odd.txt").write_text("\n".join(f"Yes No {i} Yes No {i}" for i in range(40)))
    (folder / "cut.jsonl").write_text('{"prompt": "whole"}\n{"prompt": "cut \\ud83d"}\n')
    words = [
        "--model",
        str(bases["llama"]),
        "--trusted",
        str(folder / "trusted.jsonl"),
        "--out",
        str(folder / "monitor"),
    ]
    assert main(["watch", "fit", *words]) == 0
    return folder


def test_fitting_says_what_it_does_and_promises(folder, bases, capsys):
    words = ["--model", str(bases["llama"]), "--trusted", str(folder / "trusted.jsonl"), "--calibration", "0.2"]
    words += ["--detector", '{"feature": "activations", "score": {"class_path": "LocalOutlierFactor"}}']
    words += ["--features", '[{"class_path": "Activations", "init_args": {"step": 1}}]', "--dtype", "float32"]
    assert main(["watch", "fit", *words, "--out", str(folder / "lof")]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(folder / "lof")
    assert "p-values are among 60 others" in printed.err
    assert "The smallest false-alarm rate that it can promise is 0.0164" in printed.err
    assert "model.layers.1, model.layers.2, model.layers.3, model.layers.4" in printed.err


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_scores_are_those_of_the_monitor_in_python(folder, suffix, capsys):
    out = folder / f"scored.{suffix}"
    words = ["watch", "score", str(folder / "monitor"), str(folder / "new.csv"), "--column", "text", "--out", str(out)]
    assert main([*words, "--fpr", "0.05"]) == 0
    printed = capsys.readouterr()
    table = {"parquet": pd.read_parquet, "csv": pd.read_csv, "jsonl": lambda p: pd.read_json(p, lines=True)}[suffix](
        out
    )
    expected = Monitor.load(folder / "monitor").score([*TRUSTED[:4], *ODD], fpr=0.05)
    assert table["prompt"].tolist() == [*TRUSTED[:4], *ODD]
    for column in ("score", "p_value", "alarm", "model.layers.4"):
        assert table[column].tolist() == pytest.approx(expected[column].tolist(), rel=1e-12)
    assert table["alarm"].tolist()[4:] == [True, True]
    assert printed.out.splitlines()[-1].startswith("row 5  p = 0.0")
    assert "of 6 prompts alarm; 0.3 would if all were like the trusted ones" in printed.err


def test_an_alarm_can_be_asked_to_be_unusual_now_too(folder, capsys):
    words = ["watch", "score", str(folder / "monitor"), str(folder / "odd.txt"), "--fpr", "0.05"]
    assert main(words) == 0
    assert "40 of 40 prompts alarm" in capsys.readouterr().err
    assert main([*words, "--recalibrate", str(folder / "odd.txt")]) == 0
    assert int(capsys.readouterr().err.splitlines()[-1].split()[0]) < 10


def test_drift_is_said_in_words(folder, capsys):
    assert (
        main(["watch", "check", str(folder / "monitor"), str(folder / "odd.txt"), "--out", str(folder / "c.json")]) == 0
    )
    text = capsys.readouterr().out
    assert text.startswith("Drift: 40 different recent prompts with 100 held-out trusted ones (p = 0.0005;")
    assert "They are more unusual to the model" in text and "at 2 of 2 sites" in text
    assert json.loads((folder / "c.json").read_text())["drifted"] is True
    (folder / "fresh.txt").write_text("\n".join(FRESH))
    assert main(["watch", "check", str(folder / "monitor"), str(folder / "fresh.txt"), "--rate", "0.002"]) == 0
    assert capsys.readouterr().out.startswith("No drift found")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit"], "model is missing: give --model"),
        (
            ["fit", "--model", "nowhere", "--trusted", "{folder}/trusted.jsonl", "--out", "{folder}/x"],
            "model='nowhere'",
        ),
        (
            ["fit", "--model", "{base}", "--trusted", "{folder}/none.txt", "--out", "{folder}/x"],
            "none.txt' is not there",
        ),
        (
            ["fit", "--model", "{base}", "--trusted", "{folder}/new.csv", "--out", "{folder}/x"],
            "has no column `prompt`",
        ),
        (
            ["fit", "--model", "{base}", "--trusted", "{folder}/odd.txt", "--out", "{folder}"],
            "holds no monitor: name a",
        ),
        (
            ["fit", "--model", "{base}", "--trusted", "x.txt", "--out", "y", "--labels", "z"],
            "there is no option '--label",
        ),
        (["score", "{folder}/none", "{folder}/odd.txt"], "holds no monitor (monitor.json): make one"),
        (
            ["score", "{folder}/monitor", "{folder}/odd.txt", "--fpr", "0.001"],
            "fpr=0.001 needs 999 calibration prompts",
        ),
        (
            ["score", "{folder}/monitor", "{folder}/odd.txt", "--out", "x.xls"],
            "must end in one of .parquet, .csv, .jsonl",
        ),
        (["check", "{folder}/monitor", "{folder}/odd.txt", "--rate", "0"], "rate=0.0 is no rate of false findings"),
        (["score", "{folder}/monitor", "{folder}/cut.jsonl"], "prompts: number 2 holds '\\ud83d' at place 4"),
    ],
)
def test_mistakes_are_answered_in_a_line(folder, bases, words, message, capsys):
    capsys.readouterr()
    assert main(["watch", *(word.format(folder=folder, base=bases["llama"]) for word in words)]) == 2
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert printed.startswith("madkit: ") and message in printed


def test_help_needs_no_model(capsys):
    assert main(["watch"]) == 0
    assert "has drifted away" in capsys.readouterr().out
    for command in ("fit", "score", "check"):
        assert main(["watch", command, "--help"]) == 0
        assert "trusted" in capsys.readouterr().out
