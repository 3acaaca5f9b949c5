"""Figures and tables: what is drawn, whether its numbers are right, same input and same bytes."""

import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import write_run

from madkit.errors import ConfigError, MadkitError, StoreError
from madkit.figures import draw, style
from madkit.figures.catalogue import ARTISTS
from madkit.figures.published import LLAMA, MISTRAL, published
from madkit.figures.results import load

REFERENCE = Path(__file__).resolve().parents[1].parent / "shared" / "reference"


# ---------------------------------------------------------------- what is drawn

COMPARED = {"table_comparisons.csv", "table_comparisons.md"}
TABLES = COMPARED | {
    f"{name}.{kind}" for name in ("table1", "table_aggregation", "table_rare_alarms") for kind in ("csv", "md")
}
TABLES |= {"table1.tex"}
BESIDES = {"report.html", "sources.json"}
FROM_RESULTS = "fig01-02 fig05-06 fig07 fig09-10 fig11 fig12 fig13 fig14 forest critical heat roc scores pca"
EVERYTHING = {*FROM_RESULTS.split(), *TABLES, "training"} - {"critical"}  # ranks need two datasets


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for model in ("tiny-llama", "tiny-mistral"):
        for dataset in ("nli", "addition"):
            write_run(root, model, dataset, layers=2, n=80)
    return root


@pytest.fixture(scope="module")
def drawn(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw([runs], tmp_path_factory.mktemp("figures"), formats=("png",))


@pytest.fixture(scope="module")
def table(drawn: list[Path]) -> pd.DataFrame:
    return pd.read_csv(drawn[0].parent / "table1.csv")


def test_every_figure_is_drawn_whole(drawn: list[Path]) -> None:
    per_model = ["fig01-02_auroc_online", "fig05-06_log_odds", "fig09-10_losses", "training", "heat_map", "scores"]
    per_model += ["roc_online", "pca_activations"]
    stems = {f"{name}_{model}" for name in per_model for model in ("tiny-llama", "tiny-mistral")}
    stems |= {"fig07_auroc_vs_quirkiness_activations", "fig11_auroc_vs_separation_activations", "forest_auroc"}
    stems |= {"fig12_logit_separation_vs_separation", "fig13_logit_variance_vs_separation", "critical_difference"}
    stems |= {"fig14_logit_separation_vs_logit_variance"}
    assert {path.name for path in drawn} == {f"{stem}.png" for stem in stems} | TABLES | BESIDES
    # Its presence says: all is drawn.
    assert [path.name for path in drawn[-3:]] == ["table1.csv", "table1.tex", "table1.md"]
    assert {path.name for path in drawn[0].parent.iterdir()} == {path.name for path in drawn}  # no temporary file
    for path in drawn:
        if path.suffix == ".png":
            content = path.read_bytes()
            assert content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB`\x82")
            other = "tiny-mistral" if "tiny-llama" in path.name else "tiny-llama"
            own = {"tiny-llama", "tiny-mistral"} - {other} if "tiny-" in path.name else {"tiny-llama", "tiny-mistral"}
            for model in ("tiny-llama", "tiny-mistral"):
                assert (f"{model}/nli".encode() in content) == (model in own)  # the folders it was drawn from


@pytest.mark.parametrize(
    ("part", "lost"),
    [
        ("history.parquet", "training"),
        ("detection/prompts.parquet", "fig05-06 roc scores pca"),
        ("detection/scores.parquet", "roc scores"),
        ("detection/pca.parquet", "pca"),
        ("detection/separation.parquet", "fig11 fig12 fig13 fig14"),
        ("detection/summary.json", "fig07 fig09-10"),
        ("detection/comparisons.parquet", "table_comparisons.csv table_comparisons.md"),
        ("detection/results.parquet", f"{FROM_RESULTS} {' '.join(TABLES)}"),
    ],
)
def test_a_missing_part_leaves_out_only_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, lost: str
) -> None:
    run = write_run(tmp_path, "m", "addition", layers=2, n=60)
    (run / part).unlink()
    assert families(sheets_of([tmp_path])) == EVERYTHING - set(lost.split())


def sheets_of(folders: list[Path]) -> dict[str, Any]:
    """What would be written, without the time to render it."""
    results = load(folders)
    with style.applied():
        return {sheet.name: sheet.body for artist in ARTISTS for sheet in artist.draw(results)}


def families(sheets: dict[str, Any]) -> set[str]:
    return {name if name.startswith("table") else name.split("_")[0] for name in sheets}


def test_no_control_one_layer_no_aggregate_and_no_answers(tmp_path: Path) -> None:
    run = write_run(tmp_path, "m", "addition", layers=1)
    edit(run, "results.parquet", lambda t: t[(t["feature"] == "activations") & (t["site"] != "aggregate")])
    edit(run, "prompts.parquet", lambda t: t.assign(log_odds=np.nan))
    sheets = sheets_of([tmp_path])
    gone = {"fig05-06", "table_aggregation.csv", "table_aggregation.md"}
    assert families(sheets) == EVERYTHING - gone
    row = pd.read_csv(StringIO(sheets["table1.csv"])).set_index("detector").loc["activations lof"]
    source = pd.read_parquet(run / "detection" / "results.parquet").query("score == 'lof' and subset == 'all'")
    assert row["auroc_all"] == pytest.approx(source["auroc"].item())
    assert row["n_datasets_all"] == 1 and row["control_n_datasets_all"] == 0 and np.isnan(row["control_auroc_all"])


def test_offline_scores_get_their_own_figure(tmp_path: Path) -> None:
    run = write_run(tmp_path, "m", "addition", layers=2)
    edit(run, "results.parquet", lambda t: t.assign(setting=np.where(t["score"] == "lof", "offline", "online")))
    assert families(sheets_of([tmp_path])) == EVERYTHING | {"fig03-04"}  # and a page of ROC curves of its own


def test_two_models_never_share_a_file(tmp_path: Path) -> None:
    for model, folder in (("org/one", "a"), ("org-one", "b")):
        run = write_run(tmp_path / folder, model.replace("/", "-"), "nli", layers=2)
        edit(run, "results.parquet", lambda t, model=model: t.assign(model=model))
    results = load([tmp_path])
    assert len({results.slug(model) for model in results.models}) == 2


def test_the_curves_are_the_results(runs: Path) -> None:
    figure = sheets_of([runs])["fig01-02_auroc_online_tiny-llama"]
    panel = next(ax for ax in figure.axes if ax.get_title() == "nli")  # the first row: activations
    source = pd.read_parquet(runs / "tiny-llama" / "nli" / "detection" / "results.parquet")
    source = source.query("score == 'lof' and subset == 'all' and aggregation != 'max'")
    for feature in ("activations", "base_activations"):
        expected = source[source["feature"] == feature]
        curve = expected[expected["site"] != "aggregate"].sort_values("layer")["auroc"].to_numpy()
        assert any(np.array_equal(line.get_ydata(), curve) for line in panel.lines)
        whole = expected[expected["site"] == "aggregate"]["auroc"].to_numpy()
        assert any(np.array_equal(line.get_ydata(), whole) for line in panel.lines)


# ---------------------------------------------------------------- the table


def test_table_averages_the_aggregated_rows(runs: Path, table: pd.DataFrame) -> None:
    for _, row in table.iterrows():
        files = [runs / row["model"] / name / "detection" / "results.parquet" for name in ("addition", "nli")]
        source = pd.concat(map(pd.read_parquet, files))
        source = source[(source["aggregation"] == "mean") & (source["score"] == row["score"])]
        for prefix, feature in (("", "activations"), ("control_", "base_activations")):
            for subset in ("all", "agree", "disagree"):
                rows = source[(source["feature"] == feature) & (source["subset"] == subset)]
                assert row[f"{prefix}auroc_{subset}"] == pytest.approx(rows["auroc"].sum() / 2, abs=1e-12)
                assert row[f"{prefix}n_datasets_{subset}"] == 2
                assert row[f"{prefix}low_{subset}"] < row[f"{prefix}auroc_{subset}"] < row[f"{prefix}high_{subset}"]
    assert len(table) == 4


def test_table_shows_the_published_numbers(table: pd.DataFrame, drawn: list[Path]) -> None:
    lof = table[table["detector"] == "activations lof"].set_index("model")
    assert set(lof["published_llama_all"]) == {0.762} and set(lof["published_llama_disagree"]) == {0.768}
    assert lof.loc["tiny-llama", "published_same_all"] == pytest.approx((1.0 + 0.558) / 2)
    assert lof.loc["tiny-mistral", "published_same_model"] == MISTRAL
    text = (drawn[0].parent / "table1.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 * (2 + 2)
    for model_lines in (lines[:4], lines[4:]):
        assert len({line.count("|") for line in model_lines}) == 1
    value = lof.loc["tiny-llama", "auroc_all"]
    line = next(line for line in lines if line.startswith("| activations lof | online | 2 |"))
    assert f"{value:.3f} [" in line and "0.762 (10)" in line and "| 3 |" in line  # 2 ms to read, 1 ms to score


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the published tables are not beside this checkout")
def test_published_numbers_equal_their_sources() -> None:
    averages = pd.read_csv(REFERENCE / "mad_local_volume_blog_table1.csv")
    for _, row in averages.iterrows():
        for subset in ("all", "agree", "disagree"):
            column = "auroc_avg" if subset == "all" else f"auroc_{subset}"
            assert published(LLAMA, row["features_score"], "online", subset) == (
                row[column],
                row["n_datasets"],
            )
    each = pd.read_csv(REFERENCE / "mad_update1_mistral_by_dataset.csv")
    for (setting, feature, score), rows in each.groupby(["setting", "features", "score"]):
        for subset, end in (("all", ""), ("agree", "_agree"), ("disagree", "_disagree")):
            values = rows[f"aggregated_auc_roc{end}"].dropna()
            ours = published(MISTRAL, f"{feature} {score}", setting, subset)
            assert (ours is None) == values.empty
            if ours is not None:
                assert ours == (pytest.approx(values.mean(), abs=1e-6), len(values))
    llama = pd.read_csv(REFERENCE / "mad_paper_tables_llama_mistral.csv").query("model == @LLAMA")
    for _, row in llama.dropna(subset=["agg_auroc"]).iterrows():
        name = f"{row['features'].replace('nflow', 'flow')} {row['score']}"
        assert published(LLAMA, name, row["setting"], "all", frozenset({row["dataset"]})) == (
            row["agg_auroc"],
            1,
        )


# ---------------------------------------------------------------- the same input, the same bytes


def test_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "m", "addition", layers=2, n=60)
    code = "import sys; from madkit.figures import draw; draw([sys.argv[1]], sys.argv[2], ('png', 'pdf'))"
    code += "; assert 'torch' not in sys.modules and 'lightning' not in sys.modules"
    # Another process with another hash seed: no set or dict order may reach the files.
    command = [sys.executable, "-c", code, str(tmp_path / "runs"), str(tmp_path / "one")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    written = draw([tmp_path / "runs"], tmp_path / "two", ("png", "pdf"))
    assert len(written) == 14 * 2 + len(TABLES) + len(BESIDES)
    for path in written:
        assert (tmp_path / "one" / path.name).read_bytes() == path.read_bytes(), path.name


def test_importing_is_quick() -> None:
    code = "import sys, madkit.figures; print({'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "set()"


def test_progress_names_every_file_and_old_files_are_replaced(tmp_path: Path) -> None:
    run = write_run(tmp_path, "m", "addition", layers=2)
    for name in ("prompts.parquet", "separation.parquet", "summary.json"):
        (run / "detection" / name).unlink()
    (run / "history.parquet").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "table1.md").write_text("old")
    seen: list[Path] = []
    written = draw([run], tmp_path / "out", formats=("svg",), progress=seen.append)
    assert seen == written and all(path.is_file() for path in written)
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in draw([run], tmp_path / "out", formats=("svg",))] == before
    assert "activations lof" in (tmp_path / "out" / "table1.md").read_text()


# ---------------------------------------------------------------- errors


def edit(run: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = run / "detection" / name
    change(pd.read_parquet(path)).to_parquet(path)


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "old schema": (lambda run: edit(run, "results.parquet", lambda t: t.drop(columns="low")), "low"),
    "no rows": (lambda run: edit(run, "results.parquet", lambda t: t.iloc[:0]), "no rows"),
    "two datasets": (
        lambda run: edit(run, "results.parquet", lambda t: t.assign(dataset=["x", *t["dataset"][1:]])),
        "several",
    ),
    "half a file": (
        lambda run: (run / "detection" / "results.parquet").write_bytes(b"PAR1"),
        "cannot be read",
    ),
    "not JSON": (lambda run: (run / "detection" / "summary.json").write_text("{"), "not JSON"),
    "old summary": (
        lambda run: (run / "detection" / "summary.json").write_text('{"quirkiness": {"value": 1}}'),
        "value, low or high",
    ),
    "twice": (lambda run: write_run(run.parents[1] / "copy", "m", "addition", layers=1), "both hold"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_folder_is_one_line(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path, "m", "addition", layers=1, n=40)
    damage, words = BREAKS[name]
    damage(run)
    with pytest.raises(StoreError, match=words) as caught:
        draw([tmp_path], tmp_path / "out")
    assert "\n" not in str(caught.value) and str(run.name) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_nothing_to_draw_is_one_line(tmp_path: Path) -> None:
    for folders in ([tmp_path], [tmp_path / "nowhere"], []):
        with pytest.raises(MadkitError) as caught:
            draw(folders, tmp_path / "out")
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="gif"):
        draw([tmp_path], tmp_path / "out", formats=("gif",))


def test_one_folder_named_twice_is_one_run(tmp_path: Path) -> None:
    run = write_run(tmp_path, "m", "addition", layers=1, n=40)
    assert len(load([tmp_path, run, run / "detection", tmp_path / "m"]).folders) == 1


# ---------------------------------------------------------------- the other tables


def test_the_best_site_is_chosen_on_the_other_datasets(runs: Path, drawn: list[Path]) -> None:
    found = pd.read_csv(drawn[0].parent / "table_aggregation.csv")
    for (model, feature, score), rows in found.groupby(["model", "feature", "score"]):
        own, other = (
            pd.read_parquet(runs / model / name / "detection" / "results.parquet").query(
                f"feature == {feature!r} and score == {score!r} and subset == 'all' and aggregation == ''"
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
    assert "fisher" not in (drawn[0].parent / "table_aggregation.md").read_text()


def test_rare_alarms_are_averages_of_the_results(runs: Path, drawn: list[Path]) -> None:
    found = pd.read_csv(drawn[0].parent / "table_rare_alarms.csv")
    assert set(found["statistic"]) == {"auroc", "partial_auroc", "tpr", "average_precision"}
    files = [runs / "tiny-llama" / name / "detection" / "results.parquet" for name in ("addition", "nli")]
    query = "feature == 'activations' and score == 'lof' and subset == 'agree'"
    source = pd.concat(map(pd.read_parquet, files)).query(f"{query} and aggregation == 'mean'")
    for statistic in ("partial_auroc", "tpr", "average_precision"):
        line = found.query(f"model == 'tiny-llama' and {query} and statistic == @statistic")
        assert line["value"].item() == pytest.approx(source[statistic].mean())
        assert line["low"].item() <= line["value"].item() <= line["high"].item()


def test_comparisons_count_what_the_adjusted_tests_decide(drawn: list[Path]) -> None:
    tests = pd.read_csv(drawn[0].parent / "table_comparisons.csv")
    shown = tests.query(
        "model == 'tiny-mistral' and aggregation == 'mean' and subset == 'all' "
        "and a == 'activations/mahalanobis' and b == 'activations/lof'"
    )
    assert len(shown) == 2
    decided = shown[shown["p_holm"] < 0.05]["difference"]
    first, second = int((decided > 0).sum()), int((decided < 0).sum())
    text = (drawn[0].parent / "table_comparisons.md").read_text().split("## tiny-mistral")[1].split("<!--")[0]
    line = next(line for line in text.splitlines() if "mahalanobis against activations lof" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:] == [f"{shown['difference'].mean():+.3f}", str(first), str(second), str(2 - first - second)]
    assert "base" not in text


def test_curves_of_heads_are_not_among_those_in_nats(tmp_path: Path) -> None:
    write_run(tmp_path, "m", "addition", layers=2, n=60)
    for kind, metric in (("flow", "val/bits_per_dim"), ("sae", "val/fvu")):
        (tmp_path / "m" / kind).mkdir()
        rows = [(step, name, 3.0) for step in (1, 2) for name in ("train/loss", metric)]
        history = pd.DataFrame(rows, columns=["step", "metric", "value"]).assign(run=f"m/{kind}")
        history.to_parquet(tmp_path / "m" / kind / "history.parquet")
    titles = {ax.get_title() for ax in sheets_of([tmp_path])["training_m"].axes}
    assert "addition" in titles and not {"flow", "sae"} & titles
