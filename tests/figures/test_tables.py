"""Tables: averages, published numbers, the best detector, what it costs."""

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated import TABLES, sheets_of, tables_of, write_run

from madkit.figures import draw
from madkit.figures.html.summary import summary
from madkit.figures.published.numbers import MISTRAL, published_auroc
from madkit.figures.results import selection
from madkit.figures.results.loading import load_results
from madkit.figures.tables.averages import average

SAMPLE = Path(__file__).parent / "published_sample.csv"
"""Some of the numbers that the sources print, copied from them."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for model in ("tiny-llama", "tiny-mistral"):
        for dataset in ("nli", "addition"):
            write_run(root, model, dataset, layers=2, n=80)
    return root


@pytest.fixture(scope="module")
def written(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tables."""
    return tables_of([runs], tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def table(written: Path) -> pd.DataFrame:
    return detectors(pd.read_csv(written / "table1.csv"))


def detectors(table: pd.DataFrame) -> pd.DataFrame:
    """Without the rows at the foot, which show how far the answer alone goes."""
    return table[table["setting"] != "own answer"]


def test_own_answer_is_at_the_foot_of_the_tables(runs: Path, written: Path) -> None:
    table = pd.read_csv(written / "table1.csv")
    own = table[table["setting"] == "own answer"]
    assert own["detector"].tolist() == ["own answer (label)", "own answer (log odds)"] * 2
    files = [runs / "tiny-llama" / name / "detection" / "results.parquet" for name in ("addition", "nli")]
    source = pd.concat(map(pd.read_parquet, files)).query("setting == 'own answer' and subset == 'all'")
    assert own["auroc_all"].iloc[0] == pytest.approx(source["auroc"].mean())
    for section in (written / "table1.md").read_text().split("\n## ")[1:]:
        lines = [line for line in section.splitlines() if line.startswith("|")]
        assert all(line.startswith("| own answer") for line in lines[-2:])
        assert not any("own answer" in line for line in lines[2:-2])
    assert {"forest_auroc", "heat_map_tiny-llama"} <= set(sheets_of([runs], ("forest", "heat_map")))


def test_within_answers_stands_beside_the_plain_auroc(runs: Path, written: Path, table: pd.DataFrame) -> None:
    lof = table[(table["model"] == "tiny-llama") & (table["score"] == "lof")].iloc[0]
    files = [runs / "tiny-llama" / name / "detection" / "results.parquet" for name in ("addition", "nli")]
    source = pd.concat(map(pd.read_parquet, files)).query(
        "adapter and score == 'lof' and subset == 'all' and aggregation == 'mean'"
    )
    assert lof["within_auroc_all"] == pytest.approx(source["auroc_within"].mean())
    found = pd.read_csv(written / "table_within_answers.csv")
    own = found.query("model == 'tiny-llama' and not control and score == 'lof' and subset == 'all'")
    assert sorted(own["auroc_within"]) == pytest.approx(sorted(source["auroc_within"]))
    text = (written / "table1.md").read_text()
    assert "50% of the pairs of a dataset" in text
    # Bold is the difference whose interval leaves out zero, and no other.
    differ = found.query("subset == 'all' and (within_difference_low > 0 or within_difference_high < 0)")
    rows = (written / "table_within_answers.md").read_text().split("\n- ")[0]
    assert rows.count("**") == 2 * len(differ)


def test_table_averages_the_aggregated_rows(runs: Path, table: pd.DataFrame) -> None:
    for _, row in table.iterrows():
        files = [runs / row["model"] / name / "detection" / "results.parquet" for name in ("addition", "nli")]
        source = pd.concat(map(pd.read_parquet, files))
        source = source[(source["aggregation"] == "mean") & (source["score"] == row["score"])]
        source = source[source["feature"] == "activations"]
        for prefix, adapter in (("", True), ("control_", False)):
            for subset in ("all", "agree", "disagree"):
                rows = source[(source["adapter"] == adapter) & (source["subset"] == subset)]
                assert row[f"{prefix}auroc_{subset}"] == pytest.approx(rows["auroc"].sum() / 2, abs=1e-12)
                assert row[f"{prefix}n_datasets_{subset}"] == 2
                assert row[f"{prefix}low_{subset}"] < row[f"{prefix}auroc_{subset}"] < row[f"{prefix}high_{subset}"]
        alarms = source[source["adapter"] & (source["subset"] == "all")]["false_alarms"]
        assert row["false_alarms_low"] < row["false_alarms"] < row["false_alarms_high"]
        assert row["false_alarms"] == pytest.approx(alarms.mean()) and row["nominal"] == 0.01
    assert len(table) == 4


def test_runs_whose_interval_is_not_known_are_in_no_average(tmp_path: Path) -> None:
    rows = pd.DataFrame({"dataset": list("abc"), "auroc": [0.6, 0.8, 0.2], "low": [0.5, 0.7, np.nan]})
    rows["high"] = [0.7, 0.9, np.nan]
    assert average(rows) == average(rows[:2]) and average(rows[2:]) is None


@pytest.mark.parametrize(("low", "is_weak"), [(0.5, False), (-0.1, True), (float("nan"), True)])
def test_a_quirk_of_unknown_strength_is_not_surely_there(tmp_path: Path, low: float, is_weak: bool) -> None:
    run = write_run(tmp_path, "m", "addition")
    path = run / "detection" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quirkiness": {"value": 1.0, "low": low, "high": low}}))
    (sentence,) = [line for line in summary(load_results([run])) if "quirkiness coefficients" in line]
    assert ("not surely quirky: addition" in sentence) == is_weak


def test_where_calibration_prompts_are_few_the_column_says_of_which_rate_it_is(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", "tiny-llama", "addition", layers=1)
    path = run / "detection" / "results.parquet"
    pd.read_parquet(path).assign(nominal=0.02).to_parquet(path)
    text = sheets_of([tmp_path], ["table1"])["table1.md"].markdown()
    assert "there the column is of a nominal 2.0%: tiny-llama addition." in text
    pd.read_parquet(path).assign(nominal=np.nan, false_alarms=np.nan).to_parquet(path)
    assert "no trusted prompts were held out" in sheets_of([tmp_path], ["table1"])["table1.md"].markdown()


def test_table_shows_the_published_numbers(table: pd.DataFrame, written: Path) -> None:
    lof = table[table["detector"] == "activations lof"].set_index("model")
    assert set(lof["published_llama_all"]) == {0.762} and set(lof["published_llama_disagree"]) == {0.768}
    assert lof.loc["tiny-llama", "published_same_all"] == pytest.approx((1.0 + 0.558) / 2)
    assert lof.loc["tiny-mistral", "published_same_model"] == MISTRAL
    text = (written / "table1.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 * (2 + 2 + 2)
    for model_lines in (lines[:6], lines[6:]):
        assert len({line.count("|") for line in model_lines}) == 1
    value = lof.loc["tiny-llama", "auroc_all"]
    line = next(line for line in lines if line.startswith("| activations lof |"))
    head = [cell.strip() for cell in lines[0].split("|")]
    assert line.split("|")[head.index("setting")].strip() == "online"
    leading = head[
        1 : head.index("TPR at 1% FPR, all")
    ]  # both lead the table, and what is published stands beside ours
    assert leading[:2] == ["detector", "AUROC, all"] and all(name.startswith("published") for name in leading[2:])
    caught = lof.loc["tiny-llama", "tpr_at_1_percent"]
    assert f"{caught:.3f} [" in line.split("|")[head.index("TPR at 1% FPR, all")]
    needs = table.set_index(["feature", "setting"])["needs"]
    assert set(needs["activations", "online"]) == {"trusted prompts"}
    assert f"{value:.3f} [" in line and "0.762 (10)" in line and "| 3 |" in line  # 2 ms to read, 1 ms to score


def test_published_numbers_are_those_that_the_sources_print() -> None:
    sample = pd.read_csv(SAMPLE)
    for row in sample.itertuples():
        datasets = None if row.dataset == "average" else frozenset({row.dataset})
        number = published_auroc(row.model, row.detector, row.setting, row.subset, datasets)
        assert number == (row.auroc, row.n_datasets), row
    # Where no average is printed, it is the mean over all datasets.
    mistral = sample.query("model == @MISTRAL and detector == 'activations lof' and setting == 'online'")
    for subset, rows in mistral.groupby("subset"):
        expected = (pytest.approx(rows["auroc"].mean(), abs=1e-6), len(rows))
        assert published_auroc(MISTRAL, "activations lof", "online", subset) == expected
    assert published_auroc(MISTRAL, "activations lof", "ceiling", "all") is None


def test_the_best_site_is_chosen_on_the_other_datasets(runs: Path, written: Path) -> None:
    found = pd.read_csv(written / "table_aggregation.csv")
    for (model, feature, adapter, score), rows in found.groupby(["model", "feature", "adapter", "score"]):
        own, other = (
            pd.read_parquet(runs / model / name / "detection" / "results.parquet").query(
                f"feature == {feature!r} and adapter == {adapter} and score == {score!r} "
                "and subset == 'all' and aggregation == ''"
            )
            for name in ("addition", "nli")
        )
        picked = [
            here[here["site"] == there.loc[there["auroc"].idxmax(), "site"]]["auroc"].item()
            for here, there in ((own, other), (other, own))
        ]
        value = rows[rows["aggregation"] == "site chosen elsewhere"]["value"].item()
        assert value == pytest.approx(np.mean(picked))
        assert set(rows["aggregation"]) == {"mean", "max", "site chosen elsewhere"}
    assert "fisher" not in (written / "table_aggregation.md").read_text()


def test_an_aggregation_of_ones_own_is_in_the_table(tmp_path: Path) -> None:
    run = write_run(tmp_path, "m", "addition", layers=2, n=40)
    path = run / "detection" / "results.parquet"
    results = pd.read_parquet(path)
    results["aggregation"] = results["aggregation"].replace("max", "median")
    results.to_parquet(path)
    sheets = sheets_of([tmp_path], TABLES)
    assert set(pd.read_csv(StringIO(sheets["table_aggregation.csv"]))["aggregation"]) == {"mean", "median"}
    head, _ = sheets["table_aggregation.md"].tables["m"]
    assert head == ["detector", "mean", "median", "site chosen elsewhere"]


def test_rare_alarms_are_averages_of_the_results(runs: Path, written: Path) -> None:
    found = pd.read_csv(written / "table_rare_alarms.csv")
    assert set(found["statistic"]) == {"auroc", "partial_auroc", "tpr", "average_precision", "false_alarms"}
    files = [runs / "tiny-llama" / name / "detection" / "results.parquet" for name in ("addition", "nli")]
    query = "feature == 'activations' and adapter and score == 'lof' and subset == 'agree'"
    source = pd.concat(map(pd.read_parquet, files)).query(f"{query} and aggregation == 'mean'")
    for statistic in ("partial_auroc", "tpr", "average_precision"):
        line = found.query(f"model == 'tiny-llama' and {query} and statistic == @statistic")
        assert line["value"].item() == pytest.approx(source[statistic].mean())
        assert line["low"].item() <= line["value"].item() <= line["high"].item()


def test_comparisons_count_what_the_adjusted_tests_decide(written: Path) -> None:
    tests = pd.read_csv(written / "table_comparisons.csv")
    shown = tests.query(
        "model == 'tiny-mistral' and aggregation == 'mean' and subset == 'all' "
        "and a == 'activations/mahalanobis' and b == 'activations/lof' and adapter_a and adapter_b"
    )
    assert len(shown) == 2
    decided = shown[shown["p_holm"] < 0.05]["difference"]
    first, second = int((decided > 0).sum()), int((decided < 0).sum())
    text = (written / "table_comparisons.md").read_text().split("## tiny-mistral")[1].split("<!--")[0]
    line = next(line for line in text.splitlines() if "mahalanobis against activations lof" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:] == [f"{shown['difference'].mean():+.3f}", str(first), str(second), str(2 - first - second)]
    assert "base" not in text


def test_detectors_are_measured_against_the_best_published_one(written: Path) -> None:
    found = pd.read_csv(written / "table_detectors.csv")
    tests = pd.read_csv(written / "table_comparisons.csv").query("aggregation == 'mean' and subset == 'all'")
    tests = tests[tests["adapter_a"] & tests["adapter_b"]]
    for model, lines in found.groupby("model"):
        (best,) = lines[lines["best_published"]].to_dict("records")
        assert best["auroc"] == lines[lines["published"]]["auroc"].max() and np.isnan(best["difference"])
        (other,) = lines[~lines["best_published"]].to_dict("records")
        pairs = tests[tests["model"] == model]
        sign = 1 if other["score"] == "mahalanobis" else -1  # the first of each pair
        differences = sign * pairs["difference"]
        assert other["difference"] == pytest.approx(differences.mean())
        assert other["difference"] == pytest.approx(other["auroc"] - best["auroc"])
        # What speaks of other datasets too is less sure than what speaks of these.
        assert other["difference_low"] < other["same_datasets_low"] < other["difference"]
        assert other["difference"] < other["same_datasets_high"] < other["difference_high"]
        decided = pairs["p_holm"] < 0.05
        counts = [(differences > 0).sum(), (decided & (differences > 0)).sum(), (decided & (differences < 0)).sum()]
        assert [other[name] for name in ("higher", "better", "worse")] == counts and other["n_runs"] == 2
    shown = (written / "table_detectors.md").read_text()
    assert shown.count("| the best published |") == 2 and shown.count(" of 2 |") == 2 * 3


def test_best_is_what_the_paired_test_over_datasets_says(runs: Path, table: pd.DataFrame) -> None:
    from scipy.stats import norm

    decided = set()
    for _, row in table.iterrows():
        for subset in ("all", "agree", "disagree"):
            tests = pd.concat(
                pd.read_parquet(runs / row["model"] / name / "detection" / "comparisons.parquet").query(
                    f"aggregation == 'mean' and subset == {subset!r} and a == 'activations/mahalanobis' "
                    "and b == 'activations/lof' and adapter_a and adapter_b"
                )
                for name in ("addition", "nli")
            )
            mean = tests["difference"].mean() * (1 if row["score"] == "mahalanobis" else -1)
            error = np.sqrt((((tests["high"] - tests["low"]) / 2 / norm.ppf(0.975)) ** 2).sum()) / 2
            # One pair of detectors: nothing to adjust for.
            expected = mean > 0 and 2 * norm.sf(abs(mean) / error) < 0.05
            assert row[f"best_{subset}"] == expected
            decided.add(bool(expected))
    assert decided  # at least looked at


def test_no_detector_is_best_on_noise_and_a_clear_one_is(tmp_path: Path) -> None:
    found = []
    for strong in (0.0, 50.0):
        kinds = [("activations", "mahalanobis", "online", strong, True), ("activations", "lof", "online", 0.0, True)]
        root = tmp_path / str(strong)
        for dataset in ("addition", "nli"):
            write_run(root, "m", dataset, layers=1, n=200, detectors=kinds)
        sheets = sheets_of([root], TABLES)
        found.append(detectors(pd.read_csv(StringIO(sheets["table1.csv"]))).set_index("score")["best_all"].to_dict())
        assert ("**" in "".join(sheets["table1.md"].markdown().split("\n- ")[:1])) == (strong > 0)
        assert (r"\textbf" in sheets["table1.tex"]) == (strong > 0)
    assert found == [{"mahalanobis": False, "lof": False}, {"mahalanobis": True, "lof": False}]


def test_a_cost_is_reading_and_scoring_where_both_were_measured(tmp_path: Path) -> None:
    one, other = (write_run(tmp_path, "m", name, layers=1, n=40) for name in ("addition", "nli"))
    table = detectors(pd.read_csv(StringIO(sheets_of([tmp_path], TABLES)["table1.csv"])))
    assert table["milliseconds_per_prompt"].tolist() == pytest.approx([3.0, 3.0])
    (one / "predict.json").unlink()
    sheets = sheets_of([tmp_path], TABLES)
    assert pd.read_csv(StringIO(sheets["table1.csv"]))["milliseconds_per_prompt"].isna().all()
    assert "not measured for 2 of the detectors" in sheets["table1.md"].markdown()
    assert other.is_dir()


def test_names_of_others_break_no_table_and_no_figure(tmp_path: Path) -> None:
    model, dataset = "=1+1 | <img src=x onerror=f> [a](b)", "a$b^$c_%#&~{}"
    write_run(tmp_path / "runs", model, dataset, layers=2, n=80)
    written = {path.name: path for path in draw([tmp_path / "runs"], tmp_path / "out", formats=("svg",))}
    assert any(name.startswith("training_") or name.startswith("fig") for name in written)
    table = pd.read_csv(written["table1.csv"])
    assert set(table["model"]) == {f"'{model}"} and set(table["datasets"]) == {dataset}
    assert pd.api.types.is_float_dtype(table["low_all"])
    text, _, origin = written["table1.md"].read_text().rpartition("<!--")
    assert origin.count("-->") == 1
    assert "<img" not in text and "](b)" not in text and model.split(" |")[0] in text
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    origin, *body = written["table1.tex"].read_text().splitlines()
    assert origin.startswith("% Drawn by") and body[0].startswith("% needs")


def test_the_best_detector_is_named_for_what_is_at_hand(written: Path) -> None:
    found = pd.read_csv(written / "table_detectors.csv")
    text = (written / "which_detector.md").read_text()
    for model, lines in found.groupby("model"):
        best = lines.loc[lines["auroc"].idxmax()]
        assert f"**{model}**: use *{best['detector']}* (AUROC {best['auroc']:.3f} [" in text
        shown = text.split(f"## {model}\n")[1].split("\n## ")[0].split("\n<!--")[0]
        assert f"| - | {best['detector']} | {best['auroc']:.3f} [" in shown  # it needs trusted prompts only
    assert text.index("**tiny-llama**") < text.index("## tiny-llama")


def test_pictures_show_the_first_models_and_tables_all(
    runs: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "MOST_MODELS", 1)
    results = load_results([runs])
    shown = selection.first_models(results)
    assert shown.models == ["tiny-llama"] and shown.run_folders.keys() == {
        ("tiny-llama", name) for name in ("nli", "addition")
    }
    assert selection.first_models(shown) is shown  # nothing more is left out
    for name, sheet in sheets_of([runs], ["forest", "losses"]).items():
        assert "mistral" not in name and sheet.get_label().endswith(" (the first 1 of 2 models)")
    assert summary(results)[1].startswith("Pictures show the first 1 of 2 models; the tables have all.")
    assert sheets_of([runs], ["table1"])["table1.csv"] == (written / "table1.csv").read_text()


def test_ways_to_set_a_threshold_are_averages_over_datasets(tmp_path: Path) -> None:
    assert not sheets_of([write_run(tmp_path / "none", "m", "nli", layers=1)], ["thresholds"])
    rows = [
        {
            **{"feature": "delta", "adapter": True, "score": "lof", "aggregation": way, "method": method},
            **{"setting": "offline", "needs": "trusted prompts", "share": share, "nominal": 0.01},
            **{"false_alarms": rate, "false_alarms_low": rate / 2, "false_alarms_high": rate * 2},
            **{"tpr": 1 - rate, "tpr_low": 0.5, "tpr_high": 1.0},
        }
        for way in ("mean", "zscore")
        for method, share, rate in (("trusted", np.nan, 0.3), ("stream", 0.0, 0.04), ("stream", 0.05, 0.02))
    ]
    for dataset, factor in (("nli", 1.0), ("addition", 0.5)):
        folder = write_run(tmp_path / "runs", "m", dataset, layers=1) / "detection"
        table = pd.DataFrame(rows)
        columns = [name for name in table if str(name).startswith("false_alarms")]
        table[columns] *= factor
        table.to_parquet(folder / "thresholds.parquet")
    sheets = sheets_of([tmp_path / "runs"], ["thresholds"])
    found = pd.read_csv(StringIO(sheets["table_thresholds.csv"]))
    assert len(found) == 2 * 3 * 2 and set(found["n_datasets"]) == {2}
    line = found.query("aggregation == 'mean' and method == 'stream' and share == 0.05 and statistic == 'false_alarms'")
    assert line["value"].item() == pytest.approx(0.015) and line["low"].item() < 0.015 < line["high"].item()
    _, cells = sheets["table_thresholds.md"].tables["m"]
    assert cells == [["delta lof", "0.225 / 0.700", "-", "-", "0.015 / 0.980", "-", "-", "-"]]
