"""Runs of several seeds: one number per dataset, intervals that know of seeds, and whose the spread is."""

import shutil
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from fabricated import sheets_of, write_run

from madkit.figures.results.loading import load_results
from madkit.statistics import Interval, nested_mean_interval, variance_components

FAMILIES = ("table1", "comparisons", "critical_difference", "aggregations", "rare_alarms", "seeds")
DATASETS, SEEDS = ("addition", "nli", "sentiment"), (0, 1, 2)
KEYS = ["model", "feature", "score", "setting"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for seed in SEEDS:
        for dataset in DATASETS:
            made = write_run(root / "made", "tiny-llama", dataset, layers=2, n=60, seed=seed)
            name = f"tiny-llama@{seed}" if seed else "tiny-llama"
            (root / "runs" / name).mkdir(parents=True, exist_ok=True)
            made.rename(root / "runs" / name / dataset)
    return root / "runs"


@pytest.fixture(scope="module")
def sheets(runs: Path) -> dict:
    return sheets_of([runs], FAMILIES)


def results_of(runs: Path, score: str) -> list[list[Interval]]:
    """The AUROCs of each dataset, one per seed."""
    found = []
    for dataset in DATASETS:
        files = [
            runs / (f"tiny-llama@{s}" if s else "tiny-llama") / dataset / "detection/results.parquet" for s in SEEDS
        ]
        chosen = f"adapter and score == '{score}' and subset == 'all' and aggregation == 'mean'"
        rows = pd.concat(map(pd.read_parquet, files)).query(chosen)
        found.append([Interval(*row) for row in rows[["auroc", "low", "high"]].to_numpy(float).tolist()])
    return found


@pytest.mark.parametrize("score", ["lof", "mahalanobis"])
def test_averages_and_components_are_those_of_all_seeds(runs: Path, sheets: dict, score: str) -> None:
    each = results_of(runs, score)
    assert [len(seeds) for seeds in each] == [3, 3, 3]
    mean, parts = nested_mean_interval(each), variance_components(each)
    for name, ends in (
        ("table1.csv", ["auroc_all", "low_all", "high_all"]),
        ("table_seeds.csv", ["auroc", "low", "high"]),
    ):
        row = pd.read_csv(StringIO(sheets[name])).query(f"score == '{score}' and setting == 'online'").iloc[0]
        assert row["model"] == "tiny-llama" and row[ends].tolist() == pytest.approx(mean)
    assert row["seed_share"] == pytest.approx(parts.seed_share)
    assert row["between_seeds"] ** 2 == pytest.approx(parts.seeds) and (row["n_datasets"], row["n_runs"]) == (3, 9)
    rows = pd.read_csv(StringIO(sheets["table_aggregation.csv"])).query(f"adapter and score == '{score}'")
    assert rows.set_index("aggregation").loc["mean", ["value", "low", "high"]].tolist() == pytest.approx(mean)
    assert (rows["n_datasets"] == 3).all()


def test_table1_says_how_much_of_the_spread_is_between_seeds(sheets: dict) -> None:
    text = sheets["table1.md"].markdown()
    line = next(line for line in text.splitlines() if line.startswith("- *Seeds*"))
    shares = pd.read_csv(StringIO(sheets["table_seeds.csv"]))["seed_share"]
    assert "0, 1, 2" in line and f"a median of {shares.median():.0%}" in line
    assert "| tiny-llama |" not in text  # a heading, and one table for all seeds
    assert text.count("\n## ") == 1


def test_what_is_drawn_of_single_runs_is_of_the_first_seed(runs: Path) -> None:
    results = load_results([runs])
    assert results.models == ["tiny-llama"] and set(results.seeds) == {1, 2}
    assert {folder.parent.name for folder in results.folders_of(None)} == {"tiny-llama"}
    assert len(results.everything) == 9
    alone = load_results([runs / "tiny-llama@1"])
    assert alone.first_seed == 1 and not alone.seeds and alone.models == ["tiny-llama"]


def test_one_seed_is_drawn_as_without_seeds(runs: Path) -> None:
    found = sheets_of([runs / "tiny-llama"], FAMILIES)
    assert not any(name.startswith("table_seeds") for name in found)
    assert (
        "*Seeds*" not in found["table1.md"].markdown()
        and "seed" not in next(found["table_comparisons.csv"]).split("\n")[0]
    )


def test_a_model_and_a_dataset_without_the_first_seed_are_drawn(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "tiny-llama", tmp_path / "tiny-llama")
    shutil.rmtree(tmp_path / "tiny-llama" / "sentiment")
    for seed in (1, 2):
        shutil.copytree(runs / f"tiny-llama@{seed}", tmp_path / f"tiny-llama@{seed}")
    (tmp_path / "tiny-mistral@1").mkdir()
    for dataset in DATASETS[:2]:
        made = write_run(tmp_path / "made", "tiny-mistral", dataset, layers=2, n=60, seed=1)
        made.rename(tmp_path / "tiny-mistral@1" / dataset)
    results = load_results([tmp_path])
    assert results.models == ["tiny-llama", "tiny-mistral"] and set(results.datasets) == set(DATASETS)
    drawn = sheets_of([tmp_path], (*FAMILIES, "forest", "quirkiness"))
    assert {"forest_auroc", "critical_difference", "table1.md"} <= set(drawn)
    runs_of = pd.read_csv(StringIO(drawn["table_seeds.csv"])).groupby("model")["n_runs"].unique()
    assert {model: list(numbers) for model, numbers in runs_of.items()} == {"tiny-llama": [8]}
